"""Folders of labelled images: no image is lost, none is silently wrong."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

import verify_and_split_data
from cnnlib import dataset
from cnnlib.errors import SampleError
from tests.conftest import Folders
from verify_and_split_data import split, verify

# --- the script ---


TRANSCRIPT = """\
>>> 开始校验目录：[sample/origin/]
开始校验原始图片集
原始集共有图片: 1001张
====以下1张图片有异常====
[第0张图片] [.DStore] [文件后缀不正确]
========end
开始分离原始图片集为：测试集（5%）和训练集（95%）
共分配1000张图片到训练集和测试集，其中1张为异常留在原始目录
测试集数量为：50
训练集数量为：950
>>> 开始校验目录：[sample/new_train/]
【警告】找不到目录sample/new_train/，即将创建
开始校验原始图片集
原始集共有图片: 0张
====以下0张图片有异常====
未发现异常（共 0 张图片）
========end
开始分离原始图片集为：测试集（5%）和训练集（95%）
共分配0张图片到训练集和测试集，其中0张为异常留在原始目录
测试集数量为：0
训练集数量为：0
"""


def test_transcript_of_the_specification(project, draw_images, capsys, monkeypatch):
    monkeypatch.chdir("/")
    origin = project.root / "sample" / "origin"
    image = draw_images(origin, texts=["01"])[0]
    for i in range(999):
        shutil.copyfile(image, origin / f"01_{i}.png")
    (origin / ".DStore").write_bytes(b"\0")
    (origin / "sub-folder").mkdir()
    assert verify_and_split_data.main(["--config", str(project.config_path)]) == 0
    assert capsys.readouterr() == (TRANSCRIPT, "")
    assert sorted(os.listdir(origin)) == [".DStore", "sub-folder"]
    assert len(os.listdir(project.root / "sample" / "train")) == 950
    assert len(os.listdir(project.root / "sample" / "test")) == 50


def test_more_images_join_the_others(project, draw_images, capsys):
    draw_images(project.root / "sample" / "origin", 20)
    draw_images(project.root / "sample" / "new_train", 40)
    for _ in range(2):
        assert verify_and_split_data.main(["--config", str(project.config_path)]) == 0
        assert len(os.listdir(project.root / "sample" / "train")) == 19 + 38
        assert len(os.listdir(project.root / "sample" / "test")) == 1 + 2
    assert "共分配40张图片" in capsys.readouterr().out


def test_file_that_arrives_after_verification_is_not_moved_unseen(project, draw_images,
                                                                  monkeypatch):
    origin = project.root / "sample" / "origin"
    draw_images(origin, 4)
    result = dataset.console.verification_result
    late = [origin / "late_1.png"]

    def one_more_arrives(*args):
        while late:
            late.pop().write_text("no image")
        result(*args)

    monkeypatch.setattr(dataset.console, "verification_result", one_more_arrives)
    dataset.verify_and_split(project.sample, seed=0)
    assert os.listdir(origin) == ["late_1.png"]


# --- verify ---


def test_each_bad_image_is_listed_with_its_reason_and_stays(tmp_path, draw_images, capsys):
    folder = tmp_path / "mixed 验证"
    good, small, cut = draw_images(folder, texts=["01", "02", "03"])
    good.rename(folder / "01_good.PNG")
    Image.open(small).resize((30, 20)).save(folder / "02_small.png")
    (folder / "03_cut.png").write_bytes(cut.read_bytes()[:-200])
    for name in ("0123_long.png", "0X验_set.png", "0X_set.png", "01.png", "_1.png", "notes.txt"):
        shutil.copyfile(cut, folder / name)
    (folder / "01_empty.png").touch()
    (folder / "sub_1.png").mkdir()
    small.unlink()
    cut.unlink()
    before = {path.name for path in folder.iterdir()}
    bad = verify(folder, 40, 24, "png", char_set="0123", max_captcha=2)
    unreadable = "图片无法正常打开: no whole image in one of the formats PNG, JPEG, GIF, BMP, WEBP"
    expected = {
        "0123_long.png": "标签长度不正确: 4 characters, expected 2",
        "01.png": "图片标签异常: expected a name such as 2e8j_17322d3d.png, "
                  "label and serial with '_' between them",
        "01_empty.png": unreadable,
        "02_small.png": "图片尺寸不正确: 30x20, expected 40x24",
        "03_cut.png": unreadable,
        "0X_set.png": "标签含有字符集以外的字符: 'X'",
        "0X验_set.png": "标签长度不正确: 3 characters, expected 2",
        "_1.png": "图片标签异常: expected a name such as 2e8j_17322d3d.png, "
                  "label and serial with '_' between them",
        "notes.txt": "文件后缀不正确",
    }
    files = sorted([*expected, "01_good.PNG"])
    assert [(i, name) for i, name, _ in bad] == [(files.index(name), name)
                                                 for name in sorted(expected)]
    for _, name, reason in bad:
        assert reason.startswith(expected[name])
        if expected[name] != unreadable:
            assert reason == expected[name]
    lines = capsys.readouterr().out.splitlines()
    assert "原始集共有图片: 10张" in lines and "====以下9张图片有异常====" in lines
    assert [f"[第{i}张图片] [{name}] [{reason}]" for i, name, reason in bad] == lines[4:-1]
    assert {path.name for path in folder.iterdir()} == before


def test_labels_are_free_without_char_set_and_length(tmp_path, draw_images):
    image = draw_images(tmp_path, texts=["01"])[0]
    image.rename(tmp_path / "任何 length_1.png")
    assert verify(tmp_path, 40, 24, ".PNG") == []


def test_huge_image_is_a_wrong_size(tmp_path):
    Image.new("1", (2001, 2001)).save(tmp_path / "01_1.png")
    [(_, _, reason)] = verify(tmp_path, 40, 24, "png")
    assert reason.startswith("图片尺寸不正确: image of 2001x2001 has more than")


def test_relative_folder_is_relative_to_the_project_root(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "wrong.txt").touch()
    verify("tests", 1, 1, "py")
    assert "test_dataset.py" in {name for _, name, _ in verify("tests", 1, 1, "png")}


def test_file_in_the_way_of_a_folder_is_said(tmp_path, folders):
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(SampleError, match="file .* cannot be read: Not a directory"):
        verify(blocked, 1, 1, "png")
    with pytest.raises(SampleError, match="sub .* cannot be made: Not a directory"):
        verify(blocked / "sub", 1, 1, "png")
    folders.fill(3)
    folders.train.touch()
    with pytest.raises(SampleError, match="train .* cannot be made: File exists"):
        folders.split()
    assert len(os.listdir(folders.origin)) == 3


# --- split ---


@pytest.mark.parametrize(("count", "for_test"), [(0, 0), (1, 0), (2, 1), (19, 1), (39, 1), (40, 2),
                                                 (100, 5)])
def test_share_of_test_images(folders, capsys, count, for_test):
    folders.fill(count).split()
    origin, train, test = folders.names()
    assert (len(origin), len(train), len(test)) == (0, count - for_test, for_test)
    printed = capsys.readouterr().out
    assert f"测试集数量为：{for_test}\n训练集数量为：{count - for_test}\n" in printed


def test_bad_images_stay_given_as_tuples_or_names(folders, capsys):
    folders.fill(10)
    split(folders.origin, folders.train, folders.test, [(0, "0000_x.png", "why"), "0001_x.png"])
    assert folders.names()[0] == ["0000_x.png", "0001_x.png"]
    assert "共分配8张图片到训练集和测试集，其中2张为异常留在原始目录" in capsys.readouterr().out


def test_seed_decides_and_names_do_not(tmp_path):
    chosen = []
    for run, seed in enumerate((0, 0, *range(1, 20))):
        folders = Folders(tmp_path / str(run)).fill(200)
        folders.split(seed=seed)
        chosen.append(folders.names()[2])
        assert len(chosen[-1]) == 10
    assert chosen[0] == chosen[1] != chosen[2]
    # 200 draws from 0 to 199: their mean is 99.5 with a standard deviation of about 4.
    places = [int(name[:4]) for names in chosen[1:] for name in names]
    assert 83 < np.mean(places) < 116
    assert len(set(places)) > 100


def test_name_that_is_taken_stays_and_is_reported(folders, capsys):
    folders.fill(10)
    for target, name in ((folders.train, "0003_x.png"), (folders.test, "0007_x.png")):
        target.mkdir()
        (target / name).write_text("older")
    folders.split()
    origin, train, test = folders.names()
    assert origin == ["0003_x.png", "0007_x.png"]
    assert (folders.train / "0003_x.png").read_text() == "older"
    assert (folders.test / "0007_x.png").read_text() == "older"
    assert (len(train), len(test)) == (8, 2)
    printed = capsys.readouterr().out
    assert (f"{folders.origin / '0003_x.png'} stays there: "
            f"{folders.train / '0003_x.png'} exists already") in printed
    assert "其中2张为异常留在原始目录" in printed


def test_file_that_vanishes_meanwhile_is_no_crash(folders, monkeypatch, capsys):
    folders.fill(10)
    rename = os.rename

    def somebody_else_deletes(source, target):
        (folders.origin / "0009_x.png").unlink(missing_ok=True)
        rename(source, target)

    monkeypatch.setattr(os, "rename", somebody_else_deletes)
    folders.split()
    assert sum(map(len, folders.names())) == 9
    assert "共分配9张图片到训练集和测试集，其中0张" in capsys.readouterr().out


# --- labels elsewhere than in the file name, separators, case, sizes ---


def test_labels_csv_gives_labels_that_no_file_name_bears(project, draw_images, capsys):
    project.change(char_set="0123/?", label_separator="-")
    origin = project.root / "sample/origin"
    images = draw_images(origin, texts=["01"] * 8)
    for i, path in enumerate(images):
        path.rename(origin / f"{i}.png")
    (origin / "12-own.png").write_bytes((origin / "7.png").read_bytes())
    labels = ["0/", "?1", "/?", "23", "9a", "0/", "012"]
    (origin / "labels.csv").write_text(
        "\ufefffile,label\n" + "".join(f'{i}.png , "{label}"\n' for i, label in enumerate(labels)),
        "utf-8")
    assert verify_and_split_data.main(["--config", str(project.config_path)]) == 0
    assert sorted(os.listdir(origin)) == ["4.png", "6.png", "7.png", "labels.csv"]
    shown = capsys.readouterr().out
    assert "原始集共有图片: 9张" in shown and "'9' 'a'" in shown and "3 characters" in shown
    moved = [path.name for kind in ("train", "test")
             for path in (project.root / "sample" / kind).iterdir()]
    assert sorted(moved) == ["%2F%3F-2.png", "%3F1-1.png", "0%2F-0.png", "0%2F-5.png",
                             "12-own.png", "23-3.png"]
    labels_of_moved = [dataset.rules_of(project.sample).label(name) for name in moved]
    assert sorted(labels_of_moved) == ["/?", "0/", "0/", "12", "23", "?1"]


@pytest.mark.parametrize(("text", "expected"), [
    ("file,label\n0.png\n", "line 2: expected a file, a comma and its label"),
    ("0.png,\n", "line 1: expected"), ("0.png,\"ab\n1.png,cd\"\n", "line 2: expected"),
    ("0.png,\"ab\n1.png,cd\n", 'line 2: .*write a label that has quotes as "quoted ""so"""'),
    ("0.png,01\n0.png,02\n", "line 2: expected"),
    (b"\xff\xfe,01", "save it as CSV in UTF-8"),
])
def test_labels_csv_that_cannot_be_used_names_the_line(folders, text, expected):
    folders.fill(1)
    path = folders.origin / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SampleError, match=expected):
        verify(folders.origin, 40, 24, "png")
    with pytest.raises(SampleError, match=expected):
        folders.split()
    assert (folders.origin / "0000_x.png").exists()


def test_a_name_that_is_too_long_with_its_label_is_refused(folders):
    folders.fill(1)
    name = "x" * 236 + ".png"
    (folders.origin / "0000_x.png").rename(folders.origin / name)
    (folders.origin / "labels.csv").write_text(f"{name},0123\n")
    [(_, refused, reason)] = verify(folders.origin, 40, 24, "png")
    assert refused == name and "245 bytes together with its label, at most 240" in reason


def test_case_is_ignored_and_lengths_vary_where_the_config_says_so(project, draw_images):
    project.change(char_set="aB01", ignore_case=True, min_captcha=1)
    origin = project.root / "sample/origin"
    [path] = draw_images(origin, texts=["01"])
    for name in ("A_1", "bB_2", "AAA_3", "0c_4"):
        (origin / f"{name}.png").write_bytes(path.read_bytes())
    config = project.sample
    assert config.char_set == ("a", "b", "0", "1")
    dataset.verify_and_split(config)
    assert sorted(os.listdir(origin)) == ["0c_4.png", "AAA_3.png"]
    assert dataset.rules_of(config).label("bB_2.png") == "bb"


def test_images_of_any_size_are_accepted_where_they_are_scaled(project, draw_images):
    project.change(resize=True)
    origin = project.root / "sample/origin"
    draw_images(origin, texts=["01", "02"], width=87, height=26)
    draw_images(origin, texts=["03"])
    dataset.verify_and_split(project.sample)
    assert os.listdir(origin) == []
