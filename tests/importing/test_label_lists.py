"""Lists of labels of any kind, encoding and place."""

from __future__ import annotations

import json
import random

import pytest

from cnnlib.errors import SampleError
from cnnlib.importing.labelled_folder import read_labelled_folder
from cnnlib.importing.tables import tables
from tests.importing.helpers import EXPECTED, LABELS, NUMBERED, PAIRS, lines

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
    "lists.json": json.dumps({"file": NUMBERED, "label": LABELS}),
    "columns.json": json.dumps(
        {"file": {str(i): f for i, f in enumerate(NUMBERED)}, "label": dict(enumerate(LABELS))}
    ),
    "parts.json": json.dumps(
        {
            "train": [{"file": f, "label": t} for f, t in PAIRS[:6]],
            "test": [{"file": f, "label": t} for f, t in PAIRS[6:]],
        }
    ),
    "characters.json": json.dumps([{"file": f, "label": list(t)} for f, t in PAIRS]),
    "lines.jsonl": "\n".join(json.dumps({"path": f, "value": t}) for f, t in PAIRS),
    "texts.jsonl": "\n".join(map(json.dumps, LABELS)),
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


ENCODINGS = {
    "gb18030": ["天地玄黄", "宇宙洪荒", "日月盈昃", "辰宿列张"],
    "big5": ["繁體中文", "驗證碼", "測試", "圖片"],
    "shift_jis": ["かなカナ", "漢字", "ひらがな", "日本語"],
    "cp1251": ["привет", "жук", "щука", "елка"],
    "cp1252": ["é4aB", "8ñxz", "çüö5", "Äßà9"],
    "cp949": ["한국어", "가나다", "라마바", "보안문자"],
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("kind", ["list", "texts"])
def test_encoding_of_spreadsheet_programs(folder, encoding, kind):
    labels = dict(zip(NUMBERED, ENCODINGS[encoding] * 3, strict=False))
    if kind == "list":
        rows = "".join(f"{file};{label}\n" for file, label in labels.items())
        root = folder(*NUMBERED, list__csv=rows.encode(encoding))
    else:
        texts = {f"{f[:-4]}__gt__txt": t.encode(encoding) for f, t in labels.items()}
        root = folder(*NUMBERED, **texts)
    found = read_labelled_folder(root)
    assert found.labels == labels
    assert f"read as {encoding}" in found.taken[0]
    assert read_labelled_folder(root, encoding=encoding).labels == labels


SHUFFLED = PAIRS[5:] + PAIRS[:5]


@pytest.mark.parametrize(
    "text",
    [
        ",file,label\n" + "".join(f"{i},{f},{t}\n" for i, (f, t) in enumerate(SHUFFLED)),
        "id,filename,label\n" + "".join(f"{i},{f},{t}\n" for i, (f, t) in enumerate(SHUFFLED)),
        "filename,captcha_text,length\n" + "".join(f"{f},{t},{len(t)}\n" for f, t in PAIRS),
        "image,pred,gt\n" + "".join(f"{f},{t[::-1]},{t}\n" for f, t in PAIRS),
        "file_name,label,text\n" + "".join(f"{f},{i % 2},{t}\n" for i, (f, t) in enumerate(PAIRS)),
        "file_name,text,label\n" + "".join(f"{f},{t},captcha\n" for f, t in PAIRS),
        "image,solution,split\n" + "".join(f"{f},{t},train\n" for f, t in PAIRS),
        "".join(f"{f} -> {t}\n" for f, t in PAIRS),
        "".join(f"'{f}','{t}'\n" for f, t in PAIRS),
        "".join(f"{f},{t},\n" for f, t in PAIRS),
        "".join(f'"{t}",\n' for _, t in PAIRS),
    ],
)
def test_the_right_column_is_taken(folder, text):
    assert read_labelled_folder(folder(*NUMBERED, labels__csv=text)).labels == EXPECTED


def test_label_that_is_the_name_without_its_suffix(folder):
    root = folder(*(f"{t}.png" for t in LABELS))
    rows = "".join(f"{t},{t}.png\n" for t in LABELS)
    (root / "labels.csv").write_text("label,file\n" + rows)
    assert sorted(read_labelled_folder(root).labels.values()) == sorted(LABELS)


def test_thousands_of_numbers_in_any_order(folder):
    rng = random.Random(0)
    labels = {f"{i}.png": "".join(rng.choices("abcdefgh23456", k=4)) for i in range(3000)}
    rows = [f"{name[:-4]},{label}" for name, label in labels.items()]
    rng.shuffle(rows)
    assert read_labelled_folder(folder(*labels, labels__csv="\n".join(rows))).labels == labels


@pytest.mark.parametrize("first", [0, 2])
def test_numbers_that_are_shifted_name_no_images(folder, first):
    rows = "".join(f"{first + i},{label}\n" for i, label in enumerate(LABELS))
    with pytest.raises(SampleError, match="has a label"):
        read_labelled_folder(folder(*(f"{i}.png" for i in range(1, 12)), labels__csv=rows))


def test_two_columns_that_may_be_labels_are_not_chosen_from(folder):
    rows = "".join(f"{f},{t},{t[::-1]}\n" for f, t in PAIRS)
    with pytest.raises(SampleError, match="columns 2 and 3 may both have the labels"):
        read_labelled_folder(folder(*NUMBERED, labels__csv=rows))


def test_list_of_the_folder_above_names_this_folder_alone(folder):
    parts = [f"{part}/{i}.png" for part in ("train", "test") for i in range(11)]
    root = folder(*parts)
    rows = [f"{name},{LABELS[i % 11][:: 1 if i < 11 else -1]}\n" for i, name in enumerate(parts)]
    (root / "all.csv").write_text("".join(rows))
    found = read_labelled_folder(root / "test")
    assert found.labels == {f"{i}.png": LABELS[i][::-1] for i in range(11)}


def test_lines_that_are_not_understood_are_named(folder):
    rows = lines("{file},{label}").replace("aB3x", "").replace("77qp", "77qp,,") + "gone.jpg,x1\n"
    found = read_labelled_folder(folder(*NUMBERED, labels__csv=rows + "0.jpg,other\n"))
    assert found.labels == {
        name: label for name, label in EXPECTED.items() if label not in ("5gn8", "aB3x", "77qp")
    }
    said = "\n".join(found.left_out)
    assert "names 1 files that are not there: gone.jpg" in said
    assert "line 2: no label, line 3: 4 cells, the others have 2, line 13: 0.jpg is '5gn8'" in said
    assert "3 images without a label: 0.jpg, 1.jpg, 2.jpg" in said


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


def test_utf_16_texts_next_to_images(folder):
    texts = {f"{i}__gt__txt": label.encode("utf-16") for i, label in enumerate(LABELS[:10])}
    assert len(read_labelled_folder(folder(*NUMBERED[:10], **texts)).labels) == 10


def test_empty_last_column_of_a_long_list_costs_little():
    rows = [f"{i}.png,ab," for i in range(20_000)]
    [table] = [t for t in tables("\n".join(rows), ".csv") if t.width == 2][:1]
    assert len(table.rows) == 20_000 and table.rows[-1][1] == ["19999.png", "ab"]


# --- parts with images of the same names, as Kaggle, YOLO and PaddleOCR have them ---

PARTS = {
    f"{part}/{i}.png": label
    for part, labels in (("train", LABELS[:6]), ("test", LABELS[5:]))
    for i, label in enumerate(labels)
}


def texts_of_parts(line="{i}.png,{label}\n", header="file,label\n"):
    """Return the text of a list of each part."""
    texts = {"train": header, "test": header}
    for name, label in PARTS.items():
        part, _, file = name.partition("/")
        texts[part] += line.format(i=file[:-4], label=label)
    return texts


@pytest.mark.parametrize(
    "images", ["{part}/", "{part}_images/", "images/{part}/", "{part}/images/"]
)
@pytest.mark.parametrize(
    "name", ["{part}.csv", "{part}_labels.csv", "annotations/{part}.txt", "{part}/labels.txt"]
)
@pytest.mark.parametrize("line", ["{i}.png,{label}\n", "{i},{label}\n"])
def test_each_part_has_its_list(folder, images, name, line):
    root = folder(*(images.format(part=name.split("/")[0]) + name.split("/")[1] for name in PARTS))
    for part, text in texts_of_parts(line).items():
        file = root / name.format(part=part)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    expected = {
        images.format(part=path.split("/")[0]) + path.split("/")[1]: label
        for path, label in PARTS.items()
    }
    found = read_labelled_folder(root)
    assert found.labels == expected and found.left_out == []


@pytest.mark.parametrize("images", ["{part}/images/{file}", "images/{part}/{file}"])
def test_each_part_has_a_text_for_each_image(folder, images):
    expected = {}
    for name, label in PARTS.items():
        part, file = name.split("/")
        path = images.format(part=part, file=file)
        root = folder(path)
        text = root / path.replace("images", "labels").replace(".png", ".txt")
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(label)
        expected[path] = label
    assert read_labelled_folder(root).labels == expected


@pytest.mark.parametrize(
    "texts",
    [
        {"all.csv": "split,file,label\n" + "".join(
            f"{n.split('/')[0]},{n.split('/')[1]},{t}\n" for n, t in PARTS.items())},
        {"all.json": json.dumps({
            part: {n.split("/")[1]: t for n, t in PARTS.items() if n.startswith(part)}
            for part in ("train", "test")})},
    ],
)  # fmt: skip
def test_one_list_names_the_parts(folder, texts):
    root = folder(*PARTS, **{name.replace(".", "__"): text for name, text in texts.items()})
    assert read_labelled_folder(root).labels == PARTS


def test_a_name_in_several_folders_is_said(folder):
    root = folder(*PARTS, all__csv=texts_of_parts()["train"])
    with pytest.raises(SampleError, match="0.png is in several folders, and none is named"):
        read_labelled_folder(root)


# --- what programs write ---


@pytest.mark.parametrize(
    ("name", "pattern", "start", "end"),
    [
        ("Label.txt", 'a/{file}\t[{{"transcription": "{label}", "points": [[0]]}}]\n', "", ""),
        ("comma.json", '"{file}": "{label}",\n', "{\n", "}"),
        ("single.json", "'{file}': '{label}', ", "{", "}"),
        ("heading.csv", "{id},{label}\n", "序号,结果\n", ""),
        ("unknown.csv", "{id},{label}\n", "lfd,erg\n", ""),
        ("alone.csv", "{label}\n", "label\n", ""),
        ("dash.txt", "{file} - {label}\n", "", ""),
    ],
)  # fmt: skip
def test_list_as_programs_write_it(folder, name, pattern, start, end):
    rows = "".join(pattern.format(file=f, id=f[:-4], label=t) for f, t in PAIRS)
    root = folder(*NUMBERED, **{name.replace(".", "__"): start + rows + end})
    assert read_labelled_folder(root).labels == EXPECTED


@pytest.mark.parametrize(("cell", "label"), [("{}.0", "{}"), ('"=""{}"""', "{}"), ("{}", "{}")])
def test_numbers_as_spreadsheets_write_them(folder, cell, label):
    numbers = [str(2071 + 397 * i) for i in range(11)]
    rows = "".join(f"{f},{cell.format(n)}\n" for f, n in zip(NUMBERED, numbers, strict=True))
    found = read_labelled_folder(folder(*NUMBERED, labels__csv=f"file,label\n{rows}"))
    assert list(found.labels.values()) == [label.format(n) for n in numbers]


def test_json_that_is_damaged_is_said_with_its_line(folder):
    rows = "".join(f'"{f}": "{t}",\n' for f, t in PAIRS)
    with pytest.raises(SampleError, match=r"labels.json: 1 lines are not understood: line 13: not"):
        read_labelled_folder(folder(*NUMBERED, labels__json="{\n" + rows))


@pytest.mark.parametrize("count", [20, 400])
@pytest.mark.parametrize("header", ["", "file,label\n"])
@pytest.mark.parametrize(
    "pool", [[str(n) for n in range(19)], ["AMWG", "KQRT", "ZXCV", "PLMN", "TREE"]]
)
def test_labels_that_come_again_and_again(folder, count, header, pool):
    rng = random.Random(0)
    labels = {f"{i}.png": rng.choice(pool) for i in range(count)}
    rows = "".join(f"{name},{label}\n" for name, label in labels.items())
    root = folder(*labels, labels__csv=header + rows)
    if header or pool[0] == "0":
        assert read_labelled_folder(root).labels == labels
    assert read_labelled_folder(root, labels="labels.csv").labels == labels


# --- what is not a list of labels, or one of more than its name says ---


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("vocab.json", "{1: 'a', 2: 'b'}"),
        ("x.txt", "{['a']: 2}"),
        ("template.txt", "{{'a'}}"),
        ("lines.jsonl", "{1: 'a'}\n{2: 'b'}\n"),
        ("checked.csv", "file,0/1\n" + lines("{file},1")),
        ("crc.txt", lines("{file} 6acebef6")),
        ("log.csv", lines("{file},2023-05-08 10:07:00")),
        ("owner.csv", "image,user\n" + lines("{file},alice")),
    ],
)
def test_other_files_say_nothing_of_labels(folder, name, text):
    names = [f"{t}_{i}.png" for i, t in enumerate(LABELS)]
    for number, label_name in enumerate(names):
        text = text.replace(f"{number}.jpg", label_name)
    found = read_labelled_folder(folder(*names, **{name.replace(".", "__"): text}))
    assert sorted(found.labels.values()) == sorted(LABELS)


@pytest.mark.parametrize(
    ("name", "folders"),
    [
        ("captcha_labels.csv", ("captcha", "extra")),
        ("data.csv", ("data", "more")),
        ("train_val.csv", ("train", "val", "test")),
        ("easy/labels.csv", ("easy", "hard")),
    ],
)
@pytest.mark.parametrize("paths", [True, False])
def test_list_of_all_folders_whose_name_has_a_word_of_one(folder, name, folders, paths):
    paths |= "/" in name
    images = {f"{folders[i % len(folders)]}/{i}.png": t for i, t in enumerate(LABELS)}
    rows = "".join(f"{n if paths else n.rpartition('/')[2]},{t}\n" for n, t in images.items())
    root = folder(*images)
    (root / name).write_text(f"file,label\n{rows}")
    assert read_labelled_folder(root).labels == images
    assert read_labelled_folder(root, labels=str(root / name)).labels == images


@pytest.mark.parametrize("texts", ["truth", "ground_truth", "train_labels", "labels_txt", "ann"])
@pytest.mark.parametrize("suffix", [".txt", ".TXT", ".gt.txt"])
def test_texts_in_a_folder_of_any_name(folder, texts, suffix):
    root = folder(*(f"images/{i:04d}.png" for i in range(len(LABELS))))
    (root / texts).mkdir()
    for i, label in enumerate(LABELS):
        (root / texts / f"{i:04d}{suffix}").write_text(label)
    assert list(read_labelled_folder(root).labels.values()) == LABELS


def test_dashes_in_names_of_files(folder):
    names = {f"cap - {i}.png": t for i, t in enumerate(LABELS)}
    text = "".join(f"{name}: {label}\n" for name, label in names.items())
    assert read_labelled_folder(folder(*names, labels__txt=text)).labels == names


def test_label_means_more_than_result(folder):
    rows = "".join(f"{f},{t[::-1]},{t}\n" for f, t in PAIRS)
    root = folder(*NUMBERED, all__csv=f"file,result,label\n{rows}")
    assert read_labelled_folder(root).labels == EXPECTED
