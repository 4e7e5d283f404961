"""Folders as people have them: labels in names and in lists of any kind."""

from __future__ import annotations

import json

import pytest

from cnnlib.errors import SampleError
from cnnlib.importing.labelled_folder import read_labelled_folder
from cnnlib.importing.source_folder import read_source_folder

LABELS = ["5gn8", "aB3x", "77qp", "k2M9", "zz11", "0o0o", "p4ss", "W8rd", "n0pe", "y3ah", "f1sh"]


@pytest.fixture
def folder(tmp_path):
    """Return fill(*names, **texts) -> the folder: images without content, and texts of files."""

    def fill(*names, **texts):
        root = tmp_path / "caps"
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        for name, text in texts.items():
            data = text if isinstance(text, bytes) else text.encode()
            (root / name.replace("__", ".")).write_bytes(data)
        return root

    return fill


NUMBERED = [f"{i}.jpg" for i in range(11)]
EXPECTED = dict(zip(NUMBERED, LABELS, strict=True))
PAIRS = list(EXPECTED.items())


def lines(pattern, header="", end="\n"):
    rows = [pattern.format(file=file, id=file[:-4], label=label) for file, label in PAIRS]
    return end.join([header] * bool(header) + rows) + end


LISTS = {
    "label.csv": lines("{file},{label}", "filename,words"),
    "ids.csv": lines("{id},{label}", "ID,label"),
    "ids without header.csv": lines("{id},{label}"),
    "labels.txt": lines("{file}\t{label}"),
    "train.tsv": lines("{file}\t{label}", "image\tcaptcha"),
    "semicolons.csv": lines("{file};{label}", "name;value"),
    "bars.txt": lines("{file}|{label}"),
    "blanks.txt": lines("{file} {label}"),
    "label first.txt": lines("{label},{file}"),
    "colons.txt": lines("{file}: {label}"),
    "paths.csv": lines("images/train/{file},{label}"),
    "windows.csv": lines("C:\\data\\caps\\{file},{label}", "path,text", "\r\n"),
    "quoted.csv": lines('"{file}","{label}"'),
    "more columns.csv": lines("7,{file},100,60,{label}", "index,file,width,height,answer"),
    "more without header.csv": lines("{file},100,{label},60"),
    "chinese.csv": lines("{file},{label}", "文件名,标签"),
    "alone.txt": "\n".join(LABELS) + "\n",
    "alone without end.txt": "\r\n".join(LABELS),
    "objects.json": json.dumps([{"file": f, "label": t, "size": [100, 60]} for f, t in PAIRS]),
    "pairs.json": json.dumps(PAIRS),
    "mapping.json": json.dumps(EXPECTED, indent=1),
    "ids.json": json.dumps({f[:-4]: t for f, t in PAIRS}),
    "nested mapping.json": json.dumps({f: {"text": t, "width": 100} for f, t in PAIRS}),
    "inside.json": json.dumps({"version": 1, "data": [{"image": f, "text": t} for f, t in PAIRS]}),
    "characters.json": json.dumps([{"file": f, "label": list(t)} for f, t in PAIRS]),
    "lines.jsonl": "\n".join(json.dumps({"path": f, "value": t}) for f, t in PAIRS),
    "lines.json": "\n".join(json.dumps({"path": f, "value": t}) for f, t in PAIRS),
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_list_of_any_kind_is_understood(folder, name, encoding):
    root = folder(*NUMBERED)
    (root / name).write_bytes(LISTS[name].encode(encoding))
    found = read_labelled_folder(root)
    assert found.labels == EXPECTED and found.left_out == []
    assert found.taken[0].startswith(f"11 labels from {name}")


@pytest.mark.parametrize("name", ["label.csv", "labels.txt", "objects.json"])
@pytest.mark.parametrize("below", ["", "caps/"])
def test_list_above_the_folder_is_found(folder, name, below):
    root = folder(*NUMBERED)
    text = LISTS[name]
    for file in NUMBERED[::-1]:
        text = text.replace(f"\n{file}", f"\n{below}{file}").replace(f'"{file}', f'"{below}{file}')
    (root.parent / name).write_text(text)
    (root.parent / "other.csv").write_text("file,label\nelsewhere.png,abc\n")
    assert read_labelled_folder(root).labels == EXPECTED


def test_each_folder_may_have_a_list_of_its_own(folder):
    root = folder(*(f"{part}/{i}.png" for part in ("train", "test") for i in range(3)))
    for part, labels in (("train", LABELS[:3]), ("test", LABELS[3:6])):
        rows = "".join(f"{i}.png,{label}\n" for i, label in enumerate(labels))
        (root / part / "labels.csv").write_text(rows)
    found = read_labelled_folder(root)
    assert found.labels == {
        f"{part}/{i}.png": LABELS[i + 3 * (part == "test")]
        for part in ("train", "test")
        for i in range(3)
    }


def test_text_next_to_each_image(folder):
    texts = {f"{i}__gt__txt": f"{label}\n" for i, label in enumerate(LABELS)}
    assert read_labelled_folder(folder(*NUMBERED, **texts)).labels == EXPECTED


def test_text_file_of_the_same_name(folder):
    texts = {f"{i}__txt": label for i, label in enumerate(LABELS)} | {"readme__txt": "two\nlines"}
    assert read_labelled_folder(folder(*NUMBERED, **texts)).labels == EXPECTED


@pytest.mark.parametrize(
    ("encoding", "labels"),
    [
        ("gb18030", ["天地玄黄", "宇宙洪荒", "日月盈昃", "辰宿列张"] * 3),
        ("cp1252", ["é4aB", "8ñxz", "çüö5", "Äßà9"] * 3),
        ("shift_jis", ["かなカナ", "漢字", "ひらがな", "日本語"] * 3),
    ],
)
def test_encoding_of_spreadsheet_programs(folder, encoding, labels):
    rows = "".join(f"{file};{label}\n" for file, label in zip(NUMBERED, labels, strict=False))
    root = folder(*NUMBERED, list__csv=rows.encode(encoding))
    found = read_labelled_folder(root)
    assert list(found.labels.values()) == labels[:11]
    assert f"read as {encoding}" in found.taken[0]
    assert read_labelled_folder(root, encoding=encoding).labels == found.labels


def test_lines_that_are_not_understood_are_named(folder):
    rows = lines("{file},{label}").replace("aB3x", "").replace("77qp", "77qp,,") + "gone.jpg,x1\n"
    found = read_labelled_folder(folder(*NUMBERED, labels__csv=rows + "0.jpg,other\n"))
    assert found.labels == {
        name: label for name, label in EXPECTED.items() if label not in ("aB3x", "77qp")
    }
    said = "\n".join(found.left_out)
    assert "names 1 files that are not there: gone.jpg" in said
    assert "line 2: no label, line 3: 4 cells, the others have 2, line 13: 0.jpg is '5gn8'" in said
    assert "2 images without a label: 1.jpg, 2.jpg" in said


def test_list_of_other_files_is_named(folder):
    rows = "filename,words\nx.png,ab1\ny.png,ab2\n"
    with pytest.raises(SampleError, match=r"label.csv names 2 files that are not there: x.png"):
        read_labelled_folder(folder(*NUMBERED, label__csv=rows))


def test_labels_alone_that_are_not_as_many_as_images_are_said(folder):
    with pytest.raises(SampleError, match="labels.txt: .*: 10 lines alone for 11 numbered images"):
        read_labelled_folder(folder(*NUMBERED, labels__txt="\n".join(LABELS[:10])))


def test_lines_that_are_no_entries_do_no_harm(folder):
    rows = "sep=;\r\nName;Label\r\n;\r\n" + lines("{file};{label}", end="\r\n") + "  ;  \r\n"
    found = read_labelled_folder(folder(*NUMBERED, labels__csv=rows))
    assert found.labels == EXPECTED and found.left_out == []


def test_list_may_name_another_suffix(folder):
    rows = lines("{id}.png,{label}")
    assert read_labelled_folder(folder(*NUMBERED, labels__csv=rows)).labels == EXPECTED


def test_lists_that_contradict_each_other(folder):
    rows = lines("{file},{label}")
    root = folder(*NUMBERED, a__csv=rows, b__csv=rows.replace("5gn8", "5gnB"))
    found = read_labelled_folder(root)
    assert "0.jpg" not in found.labels and len(found.labels) == 10
    assert "1 images that lists give two labels: 0.jpg ('5gn8', '5gnB')" in found.left_out[0]


def test_images_that_no_list_names_have_labels_in_their_names(folder):
    own = [f"A{i}B{i}_1.png" for i in range(9)]
    found = read_labelled_folder(folder(*NUMBERED, *own, labels__csv=lines("{file},{label}")))
    assert found.labels == EXPECTED | {name: name[:4] for name in own}
    assert found.listed == 11


def test_many_images_without_labels_are_counted(folder):
    texts = [f"{a}{b}{c}" for a in "abcd" for b in "efgh" for c in "ijkl"]
    found = read_labelled_folder(folder(*(f"{t}.png" for t in texts), *NUMBERED * 9))
    assert sorted(found.labels.values()) == sorted(texts)
    assert found.unlabelled == NUMBERED
    assert "11 images without a label: 0.jpg, 1.jpg, 2.jpg and 8 more" in found.left_out[0]


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
    (tmp_path / "my list.dat").write_text(LISTS["label.csv"])
    root = folder(*NUMBERED, labels__csv=lines("{file},x"))
    assert read_labelled_folder(root, labels=str(tmp_path / "my list.dat")).labels == EXPECTED
    with pytest.raises(SampleError, match="none.csv names no image"):
        read_labelled_folder(root, labels=str(tmp_path / "none.csv"))


def test_two_ways_to_read_names_are_shown_with_their_options(folder):
    names = [f"{a}-{b}.png" for a, b in zip(LABELS, LABELS[::-1], strict=True)]
    with pytest.raises(SampleError) as error:
        read_labelled_folder(folder(*names))
    said = str(error.value)
    assert "--labels before --separator '-'" in said and "--labels after --separator '-'" in said
    assert "0o0o-0o0o.png is '0o0o'" in said


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
