"""Verified images become training and test set: none is lost, overwritten or left out."""

import os
import shutil

import numpy as np
import pytest

import verify_and_split_data
from cnnlib import console
from cnnlib.dataset.splitting import size_of_test_set, split, verify_and_split
from cnnlib.dataset.verification import Rules
from tests.helpers import Folders, names_in

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


def test_transcript_of_version_2(project, draw_images, capsys, monkeypatch):
    monkeypatch.chdir("/")
    origin = project.root / "sample" / "origin"
    image = draw_images(origin, texts=["01"])[0]
    for i in range(999):
        shutil.copyfile(image, origin / f"01_{i}.png")
    (origin / ".DStore").write_bytes(b"\0")
    (origin / "sub-folder").mkdir()
    assert verify_and_split_data.main(["--config", str(project.config_path)]) == 0
    assert capsys.readouterr() == (TRANSCRIPT, "")
    assert names_in(origin) == [".DStore", "sub-folder"]
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


def test_file_that_arrives_after_verification_is_not_moved_unseen(
    project, draw_images, monkeypatch
):
    origin = project.root / "sample" / "origin"
    draw_images(origin, 4)
    result = console.verification_result
    late = [origin / "late_1.png"]

    def one_more_arrives(*args):
        while late:
            late.pop().write_text("no image")
        return result(*args)

    monkeypatch.setattr(console, "verification_result", one_more_arrives)
    verify_and_split(project.sample, seed=0)
    assert os.listdir(origin) == ["late_1.png"]


# --- split ---


@pytest.mark.parametrize(
    ("count", "for_test"), [(0, 0), (1, 0), (2, 1), (19, 1), (39, 1), (40, 2), (100, 5)]
)
def test_fraction_of_test_images(folders, capsys, count, for_test):
    folders.fill(count).split()
    origin, train, test = folders.names()
    assert (len(origin), len(train), len(test)) == (0, count - for_test, for_test)
    assert size_of_test_set(count) == for_test
    printed = capsys.readouterr().out
    assert f"测试集数量为：{for_test}\n训练集数量为：{count - for_test}\n" in printed


def test_bad_images_stay_whether_given_as_tuples_or_names(folders, capsys):
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
    kept, taken = folders.origin / "0003_x.png", folders.train / "0003_x.png"
    assert f"{kept} is not moved: {taken} exists\n" in printed
    assert "其中2张为异常留在原始目录" in printed


def test_file_that_vanishes_meanwhile_is_skipped(folders, monkeypatch, capsys):
    folders.fill(10)
    link = os.link

    def somebody_else_deletes(source, target):
        (folders.origin / "0009_x.png").unlink(missing_ok=True)
        link(source, target)

    monkeypatch.setattr(os, "link", somebody_else_deletes)
    folders.split()
    assert sum(map(len, folders.names())) == 9
    assert "共分配9张图片到训练集和测试集，其中0张" in capsys.readouterr().out


# --- labels in labels.csv, separators, case, sizes ---


def test_labels_csv_gives_labels_that_cannot_be_part_of_a_file_name(project, draw_images, capsys):
    project.change(char_set="0123/?", label_separator="-")
    origin = project.root / "sample/origin"
    images = draw_images(origin, texts=["01"] * 8)
    for i, path in enumerate(images):
        path.rename(origin / f"{i}.png")
    (origin / "12-own.png").write_bytes((origin / "7.png").read_bytes())
    labels = ["0/", "?1", "/?", "23", "9a", "0/", "012"]
    (origin / "labels.csv").write_text(
        "\ufefffile,label\n" + "".join(f'{i}.png , "{label}"\n' for i, label in enumerate(labels)),
        "utf-8",
    )
    assert verify_and_split_data.main(["--config", str(project.config_path)]) == 0
    assert names_in(origin) == ["4.png", "6.png", "7.png", "labels.csv"]
    shown = capsys.readouterr().out
    assert "原始集共有图片: 9张" in shown and "'9' 'a'" in shown and "3 characters" in shown
    moved = [
        path.name
        for kind in ("train", "test")
        for path in (project.root / "sample" / kind).iterdir()
    ]
    assert sorted(moved) == [
        "%2F%3F-2.png",
        "%3F1-1.png",
        "0%2F-0.png",
        "0%2F-5.png",
        "12-own.png",
        "23-3.png",
    ]
    labels_of_moved = [Rules.from_config(project.sample).labels().label(name) for name in moved]
    assert sorted(labels_of_moved) == ["/?", "0/", "0/", "12", "23", "?1"]


def test_case_is_ignored_and_lengths_vary_where_the_config_says_so(project, draw_images):
    project.change(char_set="aB01", ignore_case=True, min_captcha=1)
    origin = project.root / "sample/origin"
    [path] = draw_images(origin, texts=["01"])
    for name in ("A_1", "bB_2", "AAA_3", "0c_4"):
        (origin / f"{name}.png").write_bytes(path.read_bytes())
    config = project.sample
    assert config.char_set == ("a", "b", "0", "1")
    verify_and_split(config)
    assert names_in(origin) == ["0c_4.png", "AAA_3.png"]
    assert Rules.from_config(config).labels().label("bB_2.png") == "bb"


def test_images_of_any_size_are_accepted_where_they_are_scaled(project, draw_images):
    project.change(resize=True)
    origin = project.root / "sample/origin"
    draw_images(origin, texts=["01", "02"], width=87, height=26)
    draw_images(origin, texts=["03"])
    verify_and_split(project.sample)
    assert os.listdir(origin) == []
