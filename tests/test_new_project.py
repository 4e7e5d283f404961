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


def test_a_folder_of_equal_images_gives_a_plain_configuration(root, tmp_path, draw_images, capsys):
    folder = tmp_path / "my shop"
    draw_images(folder, 60)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert new_project.main([str(folder)]) == 0
    config = load_sample_config(root / "conf" / "my_shop.json")
    assert (config.image_width, config.image_height, config.resize) == (40, 24, "")
    assert (config.min_captcha, config.max_captcha) == (2, 2)
    assert "".join(config.char_set) == "0123" and config.label_separator == "_"
    assert config.origin_image_dir.full == folder and config.image_suffix == "png"
    assert config.model_save_dir.full == root / "model/my_shop"
    shown = capsys.readouterr().out
    assert "60 images; 60 of them have a label" in shown and "40x24 pixels: sure" in shown
    assert "python3 verify_and_split_data.py --config conf/my_shop.json" in shown
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    verify_and_split(config)
    assert len(os.listdir(config.train_image_dir)) == 57


def test_mixed_images_are_all_used(root, tmp_path, draw_images, capsys):
    folder = tmp_path / "mixed"
    rng = random.Random(0)
    for i in range(60):
        text = "".join(rng.choices("aBc9", k=rng.randint(2, 5)))
        [path] = draw_images(
            folder, texts=[text], width=rng.randint(60, 200), height=rng.randint(30, 90)
        )
        with Image.open(path) as image:
            image.convert(("RGB", "RGBA", "P", "L")[i % 4]).save(path)
        path.rename(folder / f"{text}-{i}.png")
    (folder / "no label.png").write_bytes(path.read_bytes() if path.exists() else b"")
    (folder / "notes.txt").touch()
    (folder / "screenshot-1.jpg").write_bytes(b"not inspected")
    assert new_project.main([str(folder), "--name", "m"]) == 0
    config = load_sample_config(root / "conf/m.json")
    assert config.label_separator == "-" and config.resize == "pad"
    assert (config.min_captcha, config.max_captcha) == (2, 5)
    assert "".join(config.char_set) == "9Bac"
    assert config.image_width * config.image_height <= 12_000
    shown = capsys.readouterr().out
    assert "without a label: no label.png" in shown and "scaled to" in shown
    assert '"ignore_case": true' in shown
    verify_and_split(config)
    assert names_in(folder) == ["no label.png", "notes.txt", "screenshot-1.jpg"]


def test_separator_is_the_underscore_where_names_have_several(root, tmp_path, draw_images, capsys):
    folder = tmp_path / "several"
    for i, path in enumerate(draw_images(folder, texts=["AB"] * 5 + ["BA"] * 5)):
        path.rename(folder / f"{path.name[:2]}-1_{i}.png")
    assert new_project.main([str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "labels of 10 of 4 characters" in shown and "label some hundred" in shown
    assert "'-' in labels: where it ends them, --separator '-'" in shown
    assert new_project.main([str(folder), "--name", "hyphen", "--separator", "-"]) == 0
    assert "labels of 10 of 2 characters" in capsys.readouterr().out
    assert load_sample_config(root / "conf/hyphen.json").label_separator == "-"


def test_suffix_is_that_of_most_labelled_images(root, tmp_path, draw_images, capsys):
    folder = tmp_path / "photos"
    draw_images(folder, 12, image_suffix="jpg")
    for i, path in enumerate(draw_images(folder, 15)):
        path.rename(folder / f"{i}.png")
    assert new_project.main([str(folder)]) == 0
    assert load_sample_config(root / "conf/photos.json").image_suffix == "jpg"
    assert "left out: 15 png" in capsys.readouterr().out


def test_labels_csv_is_read(root, tmp_path, draw_images, capsys):
    folder = tmp_path / "listed"
    for i, path in enumerate(draw_images(folder, texts=["01"] * 30)):
        path.rename(folder / f"img_{i}.png")
    (folder / "labels.csv").write_text(
        "".join(f"img_{i}.png,A/{i % 3}\n" for i in range(20)) + "gone.png, 0\n"
    )
    assert new_project.main([str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "30 images; 20 of them have a label, 20 in labels.csv, such as" in shown
    assert "without a label: img_20.png, img_21.png, img_22.png and 7 more" in shown
    assert "labels.csv names 1 files that are missing" in shown
    config = load_sample_config(root / "conf/listed.json")
    assert config.max_captcha == 3 and "".join(config.char_set) == "/012A"
    verify_and_split(config)
    assert len(os.listdir(folder)) == 11


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "no image in"),
        ({"a.png": b""}, "no image in .* has a label: name them"),
        (
            {"ab_1.png": b"x"},
            "can be decoded, such as ab_1.png: not a whole image in one of the formats",
        ),
        (
            {f"img_{i}.png": b"" for i in range(10)},
            "all 10 images in .* have the label 'img': begin",
        ),
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
    (root / "sample/shop").mkdir(parents=True)
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
