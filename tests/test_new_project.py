"""The configuration for a new kind of captcha, from a folder of labelled images."""

import os
import random
import re
import shutil

import pytest
from PIL import Image

import new_project
from cnnlib.config import load_sample_config
from cnnlib.dataset.splitting import verify_and_split
from cnnlib.paths import PROJECT_ROOT
from tests.helpers import names_in


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A checkout of its own, whose conf/ may be written to."""
    shutil.copytree(PROJECT_ROOT / "conf", tmp_path / "root" / "conf")
    monkeypatch.setattr(new_project, "PROJECT_ROOT", tmp_path / "root")
    return tmp_path / "root"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_of_equal_images_gives_a_plain_project(root, tmp_path, draw_images, capsys):
    folder = tmp_path / "my shop"
    draw_images(folder, 60)
    before = contents(folder)
    assert new_project.main([str(folder)]) == 0
    config = load_sample_config(root / "conf" / "my_shop.json")
    assert (config.image_width, config.image_height, config.resize) == (40, 24, "")
    assert (config.min_captcha, config.max_captcha) == (2, 2)
    assert "".join(config.char_set) == "0123" and config.label_separator == "_"
    assert config.origin_image_dir.full == root / "sample/my_shop/origin"
    assert config.image_suffix == ("png",)
    assert config.model_save_dir.full == root / "model/my_shop"
    shown = capsys.readouterr().out
    assert "60 labels before the first '_' of the name" in shown and "60 images copied" in shown
    assert "40x24 pixels: sure" in shown and "training takes about" in shown
    assert "  python3 verify_and_split_data.py --config conf/my_shop.json" in shown
    assert sorted(contents(config.origin_image_dir.full).values()) == sorted(before.values())
    verify_and_split(config)
    assert len(os.listdir(config.train_image_dir)) == 57
    assert before == contents(folder)


def test_mixed_images_are_all_used(root, tmp_path, draw_images, capsys):
    folder = tmp_path / "mixed"
    rng = random.Random(0)
    for i in range(60):
        text = "".join(rng.choices("aBc9", k=rng.randint(2, 5)))
        [path] = draw_images(
            folder, texts=[text], width=rng.randint(60, 200), height=rng.randint(30, 90), seed=i
        )
        kind = ("PNG", "JPEG", "GIF")[i % 3]
        with Image.open(path) as image:
            image.convert("RGB" if kind == "JPEG" else "P").save(folder / "new", kind)
        path.unlink()
        (folder / "new").rename(folder / f"{text}-{i}.{('png', 'jpeg', 'png')[i % 3]}")
    (folder / "notes.txt").touch()
    (folder / "screenshot-1.jpg").write_bytes(b"not an image")
    assert new_project.main([str(folder), "--name", "m"]) == 0
    config = load_sample_config(root / "conf/m.json")
    assert config.label_separator == "_" and config.resize == "pad"
    assert (config.min_captcha, config.max_captcha) == (2, 5)
    assert "".join(config.char_set) == "9Bac" and sorted(config.image_suffix) == [
        *("gif", "jpg", "png")
    ]
    assert config.image_width * config.image_height <= 24_000
    shown = capsys.readouterr().out
    assert "60 labels before the first '-'" in shown and "scaled to" in shown
    assert "screenshot-1.jpg" in shown
    verify_and_split(config)
    assert len(os.listdir(config.train_image_dir)) == 57
    assert names_in(config.origin_image_dir.full) == []


def test_names_that_are_the_label_alone(root, tmp_path, draw_images, capsys):
    folder = tmp_path / "plain"
    labels = [f"{a}{b}" for a in "0123" for b in "0123"]
    for label, path in zip(labels, draw_images(folder, texts=labels), strict=True):
        path.rename(folder / f"{label}.png")
    assert new_project.main([str(folder)]) == 0
    assert "16 labels that are the whole name" in capsys.readouterr().out
    config = load_sample_config(root / "conf/plain.json")
    verify_and_split(config)
    assert names_in(config.origin_image_dir.full) == []


def test_list_of_labels_and_unlabelled_images(root, tmp_path, draw_images, capsys):
    folder, more = tmp_path / "listed", tmp_path / "more"
    for i, path in enumerate(draw_images(folder, texts=["01"] * 30)):
        path.rename(folder / f"img_{i}.png")
    draw_images(more, texts=["02"] * 5, seed=9)
    (folder / "labels.csv").write_text(
        "".join(f"img_{i}.png,A/{i % 3}\n" for i in range(20)) + "gone.png, 0\n"
    )
    assert new_project.main([str(folder), "--unlabelled", str(more)]) == 0
    shown = capsys.readouterr().out
    assert "20 labels from labels.csv: img_0.png is 'A/0'" in shown
    assert "10 images without a label: img_20.png, img_21.png, img_22.png and 7 more" in shown
    assert "labels.csv names 1 files that are not there: gone.png" in shown
    config = load_sample_config(root / "conf/listed.json")
    assert config.max_captcha == 3 and "".join(config.char_set) == "/012A"
    assert len(os.listdir(root / "sample/listed/unlabelled")) == 15
    verify_and_split(config)
    assert len(os.listdir(config.train_image_dir)) == 19


def test_more_images_are_added_to_a_project(root, tmp_path, draw_images, capsys):
    folder, other = tmp_path / "shop", tmp_path / "other"
    draw_images(folder, texts=["01", "23", "12"] * 10)
    assert new_project.main([str(folder)]) == 0
    config = load_sample_config(root / "conf/shop.json")
    verify_and_split(config)
    before = (root / "conf/shop.json").read_bytes()
    draw_images(folder, texts=["33"], seed=1)
    capsys.readouterr()
    assert new_project.main([str(folder)]) == 0
    assert "1 images copied; 30 were there before" in capsys.readouterr().out
    assert len(names_in(config.origin_image_dir.full)) == 1
    draw_images(other, texts=["X11", "01"], seed=2)
    assert new_project.main([str(other), "--name", "shop"]) == 0
    shown = capsys.readouterr().out
    assert "2 images copied" in shown and "append 'X' to char_set" in shown
    assert "labels of 2 to 3 characters: change min_captcha and max_captcha" in shown
    assert (root / "conf/shop.json").read_bytes() == before
    again = tmp_path / "elsewhere" / "shop"
    draw_images(again, texts=["01"], seed=3)
    assert new_project.main([str(again)]) == 2
    assert "--name shop adds those of" in capsys.readouterr().err


def test_stopped_import_is_gone_on_with(root, tmp_path, draw_images, capsys, monkeypatch):
    folder = tmp_path / "shop"
    draw_images(folder, 30)
    with monkeypatch.context() as patched:
        patched.setattr(new_project, "describe_import", interrupt)
        assert new_project.main([str(folder)]) == 130
    assert not (root / "conf/shop.json").exists()
    capsys.readouterr()
    assert new_project.main([str(folder)]) == 0
    assert "0 images copied; 30 were there before" in capsys.readouterr().out
    assert load_sample_config(root / "conf/shop.json").image_width == 40


def interrupt(*_):
    raise KeyboardInterrupt


def test_plain_forms_of_characters(root, tmp_path, draw_images, capsys):
    folder = tmp_path / "wide"
    draw_images(folder, texts=["12", "21"] * 5)
    draw_images(folder, texts=["１２", "２１"] * 5)
    assert new_project.main([str(folder)]) == 0
    assert "10 labels have other forms of characters (１ for 1" in capsys.readouterr().out
    assert new_project.main([str(folder), "--name", "plain", "--plain-forms"]) == 0
    assert "".join(load_sample_config(root / "conf/plain.json").char_set) == "12"


def test_in_place_the_images_are_moved(root, tmp_path, draw_images, capsys):
    folder = tmp_path / "mine"
    for i, path in enumerate(draw_images(folder, 30)):
        path.rename(folder / f"{path.name[:2]}-{i}.png")
    assert new_project.main([str(folder), "--in-place"]) == 0
    config = load_sample_config(root / "conf/mine.json")
    assert config.label_separator == "-" and config.origin_image_dir.full == folder
    assert not (root / "sample").exists()
    verify_and_split(config)
    assert names_in(folder) == []


def test_in_place_changes_no_project_that_is_there(root, tmp_path, draw_images, capsys):
    draw_images(tmp_path / "shop", 30)
    assert new_project.main([str(tmp_path / "shop")]) == 0
    before = (root / "conf/shop.json").read_bytes()
    assert new_project.main([str(tmp_path / "shop"), "--in-place"]) == 2
    assert "exists" in capsys.readouterr().err
    assert (root / "conf/shop.json").read_bytes() == before
    for option in (["--plain-forms"], ["--unlabelled", str(tmp_path)]):
        arguments = [str(tmp_path / "shop"), "--name", "other", "--in-place", *option]
        assert new_project.main(arguments) == 2
        assert "leave out the other options" in capsys.readouterr().err


def test_images_of_another_size_are_said_when_they_are_added(root, tmp_path, draw_images, capsys):
    draw_images(tmp_path / "shop", 30)
    assert new_project.main([str(tmp_path / "shop")]) == 0
    draw_images(tmp_path / "shop", texts=["01"], width=60, seed=1)
    assert new_project.main([str(tmp_path / "shop")]) == 0
    shown = capsys.readouterr().out
    assert "1 images have other sizes than 40x24: set resize to true" in shown


@pytest.mark.parametrize("name", ["{i}-{label}", "{label}", "sub/{label}_{i}"])
def test_in_place_needs_the_names_of_this_project(root, tmp_path, draw_images, capsys, name):
    labels = [f"{a}{b}" for a in "0123" for b in "0123"]
    for i, (label, path) in enumerate(
        zip(labels, draw_images(tmp_path / "x", texts=labels), strict=True)
    ):
        target = tmp_path / "mine" / f"{name.format(i=i, label=label)}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    assert new_project.main([str(tmp_path / "mine"), "--in-place"]) == 2
    assert "is not as --in-place needs it" in capsys.readouterr().err
    assert not (root / "conf/mine.json").exists()


def test_go_ends_with_a_tested_model(root, tmp_path, draw_images, capsys):
    folder = tmp_path / "quick"
    draw_images(folder, 40)
    assert new_project.main([str(folder), "--go", "--cycle-stop", "2"]) == 0
    shown = capsys.readouterr().out
    for step in ("[1 of 3] verify and split", "[2 of 3] train", "[3 of 3] test"):
        assert step in shown
    assert "2个样本识别耗时" in shown and (root / "model/quick/model.json").exists()
    [image] = re.findall(r"curl -F image_file=@(\S+) http://127.0.0.1:6000/b", shown)
    assert (root / image).exists()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "no image in"),
        ({"1.png": b"", "2.png": b"", "3.png": b""}, "no image in .* has a label, such as 1.png"),
        ({"ab_1.png": b"x"}, "can be used: ab_1.png: not a whole image in one of the formats"),
        ({f"img_{i}.png": b"" for i in range(10)}, "has a label, such as img_0.png. Put the"),
    ],
)
def test_folder_without_labelled_images_is_refused_with_the_reason(
    root, tmp_path, capsys, files, expected
):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    assert new_project.main([str(folder)]) == 2
    assert re.search(expected, capsys.readouterr().err)
    assert not (root / "conf/folder.json").exists()


def test_no_configuration_is_overwritten(root, tmp_path, draw_images, capsys):
    draw_images(tmp_path / "sample_config", 5)
    before = (root / "conf/sample_config.json").read_bytes()
    assert new_project.main([str(tmp_path / "sample_config")]) == 2
    assert "exists: remove it, or choose another --name" in capsys.readouterr().err
    assert (root / "conf/sample_config.json").read_bytes() == before
    assert new_project.main([str(tmp_path / "sample_config"), "--name", "../x"]) == 2


@pytest.mark.parametrize("name", ["pretrained", "shop"])
def test_no_other_project_gets_the_images(root, tmp_path, draw_images, capsys, name):
    (root / "sample/shop/theirs").mkdir(parents=True)
    draw_images(tmp_path / name, 5)
    assert new_project.main([str(tmp_path / name)]) == 2
    assert "exists: choose another --name" in capsys.readouterr().err
    assert not (root / f"conf/{name}.json").exists()


def test_path_that_is_not_a_folder_is_refused(root, tmp_path, capsys):
    (tmp_path / "file.png").touch()
    for path in (tmp_path / "file.png", tmp_path / "none"):
        assert new_project.main([str(path)]) == 2
        assert f"{path} is not a folder: name a folder of images" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="names of bytes that are not text are POSIX")
def test_folder_whose_name_is_not_text_is_refused(root, tmp_path, capsys):
    folder = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    os.mkdir(folder)
    assert new_project.main([os.fsdecode(folder), "--name", "cafe"]) == 2
    assert "is not text, which a configuration needs: rename the folder" in capsys.readouterr().err
    assert not (root / "conf/cafe.json").exists()


def test_images_without_labels_become_a_project_to_label(root, tmp_path, draw_images, capsys):
    folder = tmp_path / "shop"
    draw_images(folder, 30)
    before = contents(folder)
    options = [str(folder), "--characters", "a-c0", "--length", "2-3"]
    assert new_project.main(options) == 0
    config = load_sample_config(root / "conf" / "shop.json")
    assert config.char_set == ("0", "a", "b", "c") and config.ignore_case
    assert (config.min_captcha, config.max_captcha) == (2, 3)
    assert (config.image_width, config.image_height) == (40, 24)
    images = contents(config.unlabelled_image_dir.full)
    assert sorted(images.values()) == sorted(before.values()) and before == contents(folder)
    assert not any("_" in name for name in images)  # the labels that names had are not taken
    shown = capsys.readouterr().out
    assert "30 images without a label" in shown and "no labels yet" in shown
    assert "  python3 webserver_label_images.py --config conf/shop.json" in shown
    assert new_project.main(options) == 0  # nothing is there twice
    assert contents(config.unlabelled_image_dir.full) == images


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--characters", "0-9"], "belong together"),
        (["--length", "4"], "belong together"),
        (["--characters", "0-9", "--length", "4", "--go"], "leave out --go"),
        (["--characters", "0-9", "--length", "4", "--labels", "stem"], "leave out"),
    ],
)
def test_half_of_what_labels_will_be_is_refused(
    root, tmp_path, draw_images, capsys, options, message
):
    draw_images(tmp_path / "shop", 2)
    assert new_project.main([str(tmp_path / "shop"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (root / "sample" / "shop").exists()


@pytest.mark.parametrize("length", ["x", "0", "6-4", "4-", "-4", "100", ""])
def test_lengths_that_are_none_are_refused(tmp_path, capsys, length):
    with pytest.raises(SystemExit):
        new_project.main([str(tmp_path), "--characters", "0-9", f"--length={length}"])
    assert "is not a length such as 4, or 4-6" in capsys.readouterr().err
