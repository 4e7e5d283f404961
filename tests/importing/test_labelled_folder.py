"""Folders as people have them: which images get which labels, and from where."""

from __future__ import annotations

import json
import os
import sys

import pytest

from cnnlib.errors import SampleError
from cnnlib.importing.labelled_folder import read_labelled_folder
from cnnlib.importing.source_folder import read_source_folder
from tests.importing.helpers import EXPECTED, LABELS, NUMBERED, lines

# --- what is no list of labels ---

NAMED = [f"{label}_{i}.png" for i, label in enumerate(LABELS)]
JUNK = {
    "orders.csv": "id,customer,amount\n" + "".join(f"{i},Bob{i},9\n" for i in range(11)),
    "history.csv": "epoch,loss,acc\n" + "".join(f"{i},0.{i}3,0.9{i}\n" for i in range(11)),
    "vocab.json": json.dumps({c: i for i, c in enumerate("0123456789abc")}),
    "charmap.txt": "".join(f"{i} {c}\n" for i, c in enumerate("0123456789a")),
    "config.json": json.dumps({"width": 160, "length": 4}),
    "requirements.txt": "torch=2\nnumpy=1\n",
    "README.txt": "colors = 3\nlines = 5\nsome words of a text\n",
    "todo.txt": "1 buy milk\n2 sell it\n",
    "classes.txt": "\n".join("0123456789a") + "\n",
    "empty.csv": "",
    "long.json": '{"text": "' + "x" * 5000 + '"}',
    "deep.json": "[" * 100_000,
    "number.csv": "9" * 5000 + ",a\n",
    "split.csv": "file,split\n" + "".join(f"{n},train\n" for n in NAMED),
    "sizes.csv": "file,width,height\n"
    + "".join(f"{n},100,6{i % 9}\n" for i, n in enumerate(NAMED)),
    "md5.txt": "".join(f"{i:032x}  {name}\n" for i, name in enumerate(NAMED)),
    "urls.csv": "".join(f"{name},https://somewhere/{name}\n" for name in NAMED),
    "train.txt": "\n".join(NAMED),
    "predictions.csv": "file,prediction,confidence\n"
    + "".join(f"{n},ab{n[0]},0.7\n" for n in NAMED),
}


@pytest.mark.parametrize("name", JUNK)
@pytest.mark.parametrize("above", [False, True])
def test_other_files_do_not_veto_good_names(folder, name, above):
    root = folder(*NAMED)
    ((root.parent if above else root) / name).write_text(JUNK[name])
    found = read_labelled_folder(root)
    assert list(found.labels.values()) == [name.partition("_")[0] for name in found.labels]
    assert len(found.labels) == 11


@pytest.mark.parametrize("name", JUNK)
def test_other_files_give_numbered_images_no_labels(folder, name):
    root = folder(*NUMBERED)
    (root / name).write_text(JUNK[name])
    with pytest.raises(SampleError, match="has a label, such as"):
        read_labelled_folder(root)


@pytest.mark.parametrize("name", JUNK)
def test_other_files_do_not_veto_a_good_list(folder, name):
    root = folder(*NUMBERED, good__csv=lines("{file},{label}"))
    (root / name).write_text(JUNK[name])
    assert read_labelled_folder(root).labels == EXPECTED


def test_boxes_next_to_images_are_no_labels(folder):
    texts = {f"{name[:-4]}__txt": "0 0.5 0.5 0.2 0.4\n" for name in NAMED}
    found = read_labelled_folder(folder(*NAMED, **texts))
    assert len(found.labels) == 11 and found.rule is not None


@pytest.mark.parametrize("differ", [1, 11])
def test_list_that_contradicts_the_names(folder, differ):
    rows = "".join(
        f"{name},{name[:4] if i >= differ else 'zz' + str(i % 10) + 'z'}\n"
        for i, name in enumerate(NAMED)
    )
    root = folder(*NAMED, labels__csv=rows)
    if differ == 1:
        found = read_labelled_folder(root)
        assert found.labels[NAMED[0]] == "zz0z" and "1 differ from what is before" in found.taken[1]
    else:
        with pytest.raises(SampleError, match="do not agree on 11 of 11 images") as error:
            read_labelled_folder(root)
        assert "--labels before" in str(error.value) and "labels.csv'" in str(error.value)


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes need POSIX")
def test_formats_that_are_not_read_and_links_are_said(folder, tmp_path):
    root = folder(*NAMED, "more.heic", "x.jp2")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link_1.png").touch()
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "circle").symlink_to(root)
    os.mkfifo(root / "pipe")
    found = read_labelled_folder(root)
    assert found.labels["linked/link_1.png"] == "link" and len(found.labels) == 12
    assert "2 images of formats that are not read, convert them: more.heic" in found.left_out[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_no_text_have_no_label(folder):
    root = folder(*NAMED)
    (root / os.fsdecode(b"\xcc\xec_1.png")).touch()
    assert len(read_labelled_folder(root).labels) == 11


def test_images_that_no_list_names_have_labels_in_their_names(folder):
    own = [f"A{i}B{i}_1.png" for i in range(9)]
    found = read_labelled_folder(folder(*NUMBERED, *own, labels__csv=lines("{file},{label}")))
    assert found.labels == EXPECTED | {name: name[:4] for name in own}
    assert found.listed == 11


def test_many_images_without_labels_are_counted(folder):
    texts = [f"{a}{b}{c}" for a in "abcd" for b in "efgh" for c in "ijkl"]
    others = [f"{i}.jpg" for i in range(500)]
    found = read_labelled_folder(folder(*(f"{t}.png" for t in texts), *others))
    assert sorted(found.labels.values()) == sorted(texts)
    assert found.unlabelled == others
    assert "500 images without a label: 0.jpg, 1.jpg, 2.jpg and 497 more" in found.left_out[0]


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({"labels": "before", "separator": "-"}, "ab"),
        ({"labels": "after", "separator": "-"}, "ef"),
        ({"labels": "2", "separator": "-"}, "cd"),
        ({"labels": "stem"}, "ab-cd-ef"),
        ({"labels": "folder"}, "xy"),
        ({"separator": "-"}, "ab"),
        ({"separator": "-cd-"}, "ab"),
    ],
)
def test_options_choose_where_labels_are(folder, options, label):
    found = read_labelled_folder(folder("xy/ab-cd-ef.png"), **options)
    assert list(found.labels.values()) == [label]


def test_option_names_a_list(folder, tmp_path):
    (tmp_path / "my list.dat").write_text(lines("{file},{label}", "filename,words"))
    root = folder(*NUMBERED, labels__csv=lines("{file},x"))
    assert read_labelled_folder(root, labels=str(tmp_path / "my list.dat")).labels == EXPECTED
    with pytest.raises(SampleError, match="none.csv: there is no such file; other choices are"):
        read_labelled_folder(root, labels=str(tmp_path / "none.csv"))


def test_two_ways_to_read_names_are_shown_with_their_options(folder):
    names = [f"{a}-{b}.png" for a, b in zip(LABELS, LABELS[::-1], strict=True)]
    with pytest.raises(SampleError) as error:
        read_labelled_folder(folder(*names))
    said = str(error.value)
    assert "--labels before --separator '-'" in said and "--labels after --separator '-'" in said
    assert "5gn8-f1sh.png is '5gn8'" in said and "5gn8-f1sh.png is 'f1sh'" in said
    assert "0o0o" not in said  # in both ways the same


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("123 ", "123"),
        (" 123", "123"),
        ("cafe\u0301", "café"),
        ("１２３", "１２３"),
        ("a b", "a b"),
    ],
)
def test_labels_are_spelled_in_one_way(folder, label, expected):
    root = folder("0.png", "1.png", labels__csv=f'0.png,"{label}"\n1.png,xyz\n')
    assert read_labelled_folder(root).labels["0.png"] == expected
    (root / "labels.csv").unlink()
    name = f"{label}_1.gif"
    assert read_labelled_folder(folder(name), separator="_").labels[name] == expected


def test_files_of_other_programs_are_left_alone(folder):
    root = folder("ab_1.png", ".hidden/x_1.png", "__MACOSX/ab_1.png", "._ab_1.png", ".DS_Store")
    (root / "cd_1").write_bytes(b"\x89PNG\r\n\x1a\n....")
    (root / "notes").write_text("no image")
    source = read_source_folder(root)
    assert source.images == ["ab_1.png", "cd_1"] and source.others == ["notes"]


def test_no_image_is_said(folder, tmp_path):
    with pytest.raises(SampleError, match="no image in .* or the folders in it"):
        read_labelled_folder(folder("notes.txt"))
    with pytest.raises(SampleError, match=r"has a label, such as .*img_0.png. Put the label into"):
        read_labelled_folder(folder(*(f"img_{i}.png" for i in range(20))))


def test_images_that_a_chosen_list_does_not_name_have_no_labels_by_chance(folder):
    names = [f"{t}.png" for t in ("x7k2q", "p0o9i", "q8w7e", "z1x2c", "m5n6b", "a3s4d")]
    rows = "".join(f"{name},{label}\n" for name, label in zip(names[:3], LABELS, strict=False))
    root = folder(*names, my__csv=rows)
    for options in ({}, {"labels": "my.csv"}):
        found = read_labelled_folder(root, **options)
        assert sorted(found.labels) == sorted(names[:3])
        assert "their names say something else; --labels stem takes it" in found.taken


def test_list_of_one_folder_names_no_images_of_another(folder):
    root = folder(*(f"train/{i}.png" for i in range(5)), *(f"test/{i}.png" for i in range(5, 8)))
    rows = "".join(f"{i}.png,{label}\n" for i, label in enumerate(LABELS[:8]))
    (root / "train/labels.csv").write_text(rows)
    assert sorted(read_labelled_folder(root).labels) == [f"train/{i}.png" for i in range(5)]
    (root / "train/labels.csv").unlink()
    rows = "".join(f"train/{i}.png,{t}\ntest/{i}.png,{t[::-1]}\n" for i, t in enumerate(LABELS))
    (root / "labels.csv").write_text(rows)
    assert len(read_labelled_folder(root).labels) == 8


def test_accents_of_macos_are_those_of_the_list(folder):
    names = [f"e\u0301{i}.png" for i in range(4)]
    rows = "".join(f"\u00e9{i}.png,{label}\n" for i, label in enumerate(LABELS[:4]))
    found = read_labelled_folder(folder(*names, labels__csv=rows))
    assert list(found.labels.values()) == LABELS[:4]


def test_texts_next_to_images_can_be_chosen(folder):
    texts = {f"{name[:-4]}__txt": label[::-1] for name, label in zip(NAMED, LABELS, strict=True)}
    root = folder(*NAMED, **texts)
    with pytest.raises(SampleError, match="--labels 'texts'"):
        read_labelled_folder(root)
    found = read_labelled_folder(root, labels="texts")
    assert sorted(found.labels.values()) == sorted(label[::-1] for label in LABELS)


def test_list_above_can_be_chosen(folder):
    root = folder(*NUMBERED)
    (root.parent / "labels.csv").write_text(lines("caps/{file},{label}"))
    assert read_labelled_folder(root, labels=str(root.parent / "labels.csv")).labels == EXPECTED


def test_unreadable_texts_do_not_veto_names(folder):
    texts = {f"{name[:-4]}__txt": b"\x81\x8d\xff\n" for name in NAMED}
    assert len(read_labelled_folder(folder(*NAMED, **texts)).labels) == 11


def test_other_files_of_another_encoding_do_no_harm(folder):
    rows = lines("{file},{label}").encode("utf-16")
    root = folder(*NUMBERED, labels__csv=rows, notes__txt=b"\xff\xfe\x00")
    assert read_labelled_folder(root, encoding="utf-16").labels == EXPECTED


def test_mark_of_utf_8_is_no_part_of_the_first_name(folder):
    rows = lines("{file},{label}").encode("utf-8-sig")
    found = read_labelled_folder(folder(*NUMBERED, labels__csv=rows), encoding="utf-8")
    assert found.labels == EXPECTED


def test_second_part_may_be_the_last(folder):
    found = read_labelled_folder(folder("0_5gn8.png", "1_aB3x.png"), labels="2")
    assert list(found.labels.values()) == ["5gn8", "aB3x"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_link_to_itself_is_left_out(folder):
    root = folder(*NAMED)
    (root / "loop").symlink_to(root / "loop")
    assert len(read_labelled_folder(root).labels) == 11


@pytest.mark.parametrize("name", ["@eaDir/0/SYNOFILE_THUMB_M.png", "#recycle/4.png", "Thumbs.db"])
def test_what_systems_add_is_left_out(folder, name):
    found = read_labelled_folder(folder(*(f"{t}.png" for t in LABELS), name))
    assert sorted(found.labels.values()) == sorted(LABELS) and found.left_out == []


def test_names_in_two_styles_are_offered_with_their_options(folder):
    names = [f"{t}_{i}.png" for i, t in enumerate(2 * LABELS)]
    names += [f"{t[::-1]}-{i}.png" for i, t in enumerate(2 * LABELS)]
    with pytest.raises(SampleError) as error:
        read_labelled_folder(folder(*names))
    assert "22 of 44 images may have one before the first '_' of the name, --labels" in str(
        error.value
    )


def test_folders_that_may_be_labels_are_offered(folder):
    with pytest.raises(SampleError, match=r"--labels folder: 00/0.png is '00'"):
        read_labelled_folder(folder(*(f"{i % 20:02d}/{i}.png" for i in range(60))))


def test_bytes_that_are_not_text_matter_in_labels_alone(folder):
    names = [f"{t}_{i}\udcb8\udcb1.png" for i, t in enumerate(LABELS)]
    assert sorted(read_labelled_folder(folder(*names)).labels.values()) == sorted(LABELS)


def test_labels_that_are_not_text_are_said_with_what_helps(folder):
    with pytest.raises(SampleError, match=r"8 names that are not UTF-8: .*convmv -f gbk"):
        read_labelled_folder(folder(*(f"\udcb8\udcb1{i}_{i}.png" for i in range(8))))


def test_archives_are_to_be_unpacked(folder):
    with pytest.raises(SampleError, match="name a folder with images; unpack captchas.zip"):
        read_labelled_folder(folder("captchas.zip"))
