"""Each file that cannot be used is listed with its reason, and nothing is changed."""

import os
import shutil

import pytest
from PIL import Image

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.console import SilentReporter
from cnnlib.dataset.images import FORMATS
from cnnlib.dataset.verification import Defect, Rules, check_image, verify, verify_folder
from cnnlib.errors import SampleError
from cnnlib.paths import ProjectPath
from tests.helpers import SPEC


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
    formats = ", ".join(FORMATS)
    unreadable = f"图片无法正常打开: not a whole image in one of the formats {formats}"
    expected = {
        "0123_long.png": "标签长度不正确: 4 characters, expected 2",
        "01.png": "图片标签异常: expected a name such as 2e8j_17322d3d.png, "
        "label and serial with '_' between them",
        "01_empty.png": f"{unreadable}, but an empty file",
        "02_small.png": "图片尺寸不正确: 30x20, expected 40x24",
        "03_cut.png": unreadable,
        "0X_set.png": "标签含有字符集以外的字符: 'X'",
        "0X验_set.png": "标签长度不正确: 3 characters, expected 2",
        "_1.png": "图片标签异常: expected a name such as 2e8j_17322d3d.png, "
        "label and serial with '_' between them",
        "notes.txt": "文件后缀不正确",
    }
    files = sorted([*expected, "01_good.PNG"])
    assert [(i, name) for i, name, _ in bad] == [
        (files.index(name), name) for name in sorted(expected)
    ]
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
    assert "conftest.py" in {name for _, name, _ in verify("tests", 1, 1, "png")}


def test_file_in_the_way_of_a_folder_is_named(tmp_path, folders):
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file,label\n0.png\n", "line 2: expected a file, a comma and its label"),
        ("0.png,\n", "line 1: expected"),
        ('0.png,"ab\n1.png,cd"\n', "line 2: expected"),
        ('0.png,"ab\n1.png,cd\n', 'line 2: .*write a label that has quotes as "quoted ""so"""'),
        ("0.png,01\n0.png,02\n", "line 2: expected"),
        (b"\xff\xfe,01", "save it as CSV in UTF-8"),
    ],
)
def test_labels_csv_that_cannot_be_used_is_refused_with_its_line(folders, text, expected):
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


def test_what_a_spec_does_not_know_is_not_checked(tmp_path, draw_images):
    [image] = draw_images(tmp_path, texts=["01"])
    folder = ProjectPath(tmp_path)
    rules = Rules(CaptchaSpec(24, 40))
    assert check_image(folder, image.name, rules, rules.labels())[0] == "01"
    for spec, reason in (
        (CaptchaSpec(24, 40, max_captcha=3), "标签长度不正确: 2 characters, expected 3"),
        (CaptchaSpec(24, 40, 3, min_captcha=1, char_set=("0",)), "标签含有字符集以外的字符: '1'"),
        (CaptchaSpec(24, 41), "图片尺寸不正确: 40x24, expected 41x24"),
    ):
        with pytest.raises(Defect) as caught:
            check_image(folder, image.name, Rules(spec), rules.labels())
        assert str(caught.value) == reason
        assert reason.endswith(f": {caught.value.detail}")


def test_rules_are_those_of_the_config(project):
    project.change(label_separator="-", image_suffix="JPG", ignore_case=True, char_set="aB")
    rules = Rules.from_config(project.sample)
    assert rules == Rules(project.sample.spec, ("jpg",), "-")
    assert rules.labels().label("aB-1.jpg") == "ab"


def test_silent_verification_returns_all_names_and_the_bad_ones(folders, capfd):
    folders.fill(2)
    (folders.origin / "labels.csv").write_text("0000_x.png,01\n0001_x.png,09\n")
    names, bad = verify_folder(ProjectPath(folders.origin), Rules(SPEC), SilentReporter())
    assert names == ["0000_x.png", "0001_x.png"]
    assert [(i, name) for i, name, _ in bad] == [(0, "0000_x.png"), (1, "0001_x.png")]
    assert bad[1][2] == "标签含有字符集以外的字符: '9'"
    assert capfd.readouterr() == ("", "")
