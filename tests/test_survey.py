"""What is seen in a folder of images, and the configuration that follows from it."""

import json
import os
import random
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import new_project
from cnnlib import dataset, survey
from cnnlib.config import PROJECT_ROOT, ProjectPath, load_sample_config


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
    dataset.verify_and_split(config)
    assert len(os.listdir(config.train_image_dir)) == 57


def test_mixed_images_are_all_used(root, tmp_path, draw_images, capsys):
    folder = tmp_path / "mixed"
    rng = random.Random(0)
    for i in range(60):
        text = "".join(rng.choices("aBc9", k=rng.randint(2, 5)))
        [path] = draw_images(folder, texts=[text], width=rng.randint(60, 200),
                             height=rng.randint(30, 90))
        with Image.open(path) as image:
            image.convert(("RGB", "RGBA", "P", "L")[i % 4]).save(path)
        path.rename(folder / f"{text}-{i}.png")
    (folder / "no label.png").write_bytes(path.read_bytes() if path.exists() else b"")
    (folder / "notes.txt").touch()
    (folder / "screenshot-1.jpg").write_bytes(b"not looked at")
    assert new_project.main([str(folder), "--name", "m"]) == 0
    config = load_sample_config(root / "conf/m.json")
    assert config.label_separator == "-" and config.resize == "pad"
    assert (config.min_captcha, config.max_captcha) == (2, 5)
    assert "".join(config.char_set) == "9Bac"
    assert config.image_width * config.image_height <= 12_000
    shown = capsys.readouterr().out
    assert "without a label: no label.png" in shown and "scaled to" in shown
    assert '"ignore_case": true' in shown
    dataset.verify_and_split(config)
    assert sorted(os.listdir(folder)) == ["no label.png", "notes.txt", "screenshot-1.jpg"]


def test_separator_is_the_underscore_where_names_have_several(root, tmp_path, draw_images, capsys):
    folder = tmp_path / "several"
    for i, path in enumerate(draw_images(folder, texts=["AB"] * 5 + ["BA"] * 5)):
        path.rename(folder / f"{path.name[:2]}-1_{i}.png")
    assert new_project.main([str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "labels of 10 of 4 characters" in shown and "label some hundred" in shown
    assert "'-' in labels: where they end there, --separator '-'" in shown
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
    (folder / "labels.csv").write_text("".join(f"img_{i}.png,A/{i % 3}\n" for i in range(20))
                                       + "gone.png, 0\n")
    assert new_project.main([str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "30 images; 20 of them have a label, 20 in labels.csv, such as" in shown
    assert "without a label: img_20.png, img_21.png, img_22.png and 7 more" in shown
    assert "labels.csv names 1 files that are not there" in shown
    config = load_sample_config(root / "conf/listed.json")
    assert config.max_captcha == 3 and "".join(config.char_set) == "/012A"
    dataset.verify_and_split(config)
    assert len(os.listdir(folder)) == 11


@pytest.mark.parametrize(("files", "expected"), [
    ({}, "no image in"), ({"a.png": b""}, "no image in .* has a label: name them"),
    ({"ab_1.png": b"x"}, "can be decoded, such as ab_1.png: no whole image in one of the formats"),
    ({f"img_{i}.png": b"" for i in range(10)}, "all 10 images in .* have the label 'img': begin"),
])
def test_what_is_no_folder_of_labelled_images_says_why(root, tmp_path, capsys, files, expected):
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
    assert "exists already: remove it, or choose another --name" in capsys.readouterr().err
    assert (root / "conf/sample_config.json").read_bytes() == before
    assert new_project.main([str(tmp_path / "sample_config"), "--name", "../x"]) == 2


@pytest.mark.parametrize("name", ["pretrained", "shop"])
def test_no_other_project_gets_the_images(root, tmp_path, draw_images, capsys, name):
    (root / "sample/shop").mkdir(parents=True)
    draw_images(tmp_path / name, 5)
    assert new_project.main([str(tmp_path / name)]) == 2
    assert "exists already: choose another --name" in capsys.readouterr().err
    assert not (root / f"conf/{name}.json").exists()


def test_colour_is_taken_where_grays_do_not_tell_it():
    ground, ink, other = (250, 240, 20), (0, 0, 0), (200, 30, 30)
    image = Image.new("RGB", (40, 24), ground)
    image.paste(ink, (5, 5, 20, 20))
    assert survey.hidden_colour(np.asarray(image)) < 0.1
    image.paste(other, (22, 5, 37, 20))
    assert survey.hidden_colour(np.asarray(image)) > survey.COLOURFUL


@pytest.mark.parametrize(("sizes", "expected"), [
    ({(100, 60): 99, (101, 60): 1}, (100, 60, False)),
    ({(87, 26): 5}, (87, 26, False)), ({(800, 250): 5}, (196, 61, True)),
    ({(240, 250): 5}, (107, 112, True)), ({(200, 100): 5}, (200, 100, False)),
    ({(100, 40): 50, (200, 40): 50}, (200, 40, True)),
    ({(1000, 20): 1, (10, 20): 1}, (735, 16, True)),
])
def test_size_of_the_networks_images(sizes, expected):
    width, height, resize = survey.input_size(sizes)
    assert resize == expected[2] and width * height <= (12_000 if resize else 24_000)
    assert abs(width - expected[0]) <= 0.06 * expected[0] and abs(height - expected[1]) <= 2


def test_one_rare_length_is_pointed_at(tmp_path, draw_images):
    draw_images(tmp_path, 99)
    draw_images(tmp_path, texts=["0"])
    seen = survey.survey(ProjectPath(tmp_path))
    assert "Some lengths are rare" in "\n".join(survey.findings(seen, survey.suggestion(seen)))
    assert json.dumps(survey.suggestion(seen))


def test_characters_that_are_still_to_come_are_reckoned(tmp_path, draw_images):
    draw_images(tmp_path, texts=["01"])
    seen = survey.survey(ProjectPath(tmp_path))
    labels = [c + d for c in "abcdefghij" for d in "0123456789"]

    def said(labels):
        return "\n".join(survey.findings(replace(seen, labels=labels), survey.suggestion(seen)))

    assert "will be a new one" not in said(labels)
    assert "of 11 further characters about one will be a new one" in said(
        [*labels, *"klmnopqrstuvwxyzABCD"])
