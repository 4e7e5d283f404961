"""What is seen in a folder of labelled images."""

import numpy as np
import pytest
from PIL import Image

from cnnlib.dataset import inspection
from cnnlib.dataset.inspection import hidden_colour, inspect_folder
from cnnlib.dataset.proposal import COLOUR_FROM
from cnnlib.errors import SampleError
from cnnlib.paths import ProjectPath


def test_colour_is_taken_where_grays_do_not_tell_it():
    ground, ink, other = (250, 240, 20), (0, 0, 0), (200, 30, 30)
    image = Image.new("RGB", (40, 24), ground)
    image.paste(ink, (5, 5, 20, 20))
    assert hidden_colour(np.asarray(image)) < 0.1
    image.paste(other, (22, 5, 37, 20))
    assert hidden_colour(np.asarray(image)) > COLOUR_FROM


def test_labels_sizes_and_formats_are_counted(tmp_path, draw_images):
    draw_images(tmp_path, texts=["01", "1", "23"])
    draw_images(tmp_path, texts=["02"], width=50)
    draw_images(tmp_path, texts=["3"], image_suffix="jpg")
    (tmp_path / "no label.png").write_bytes(b"not an image")
    seen = inspect_folder(ProjectPath(tmp_path))
    assert (seen.suffix, dict(seen.suffixes)) == ("png", {"png": 5, "jpg": 1})
    assert sorted(seen.labels) == ["01", "02", "1", "23"]
    assert dict(seen.lengths) == {1: 1, 2: 3} and seen.characters == ["0", "1", "2", "3"]
    assert (seen.listed, seen.unlabelled, seen.unmatched) == (0, ["no label.png"], 0)
    assert dict(seen.sizes) == {(40, 24): 3, (50, 24): 1} and seen.broken == ["no label.png"]


def test_list_of_labels_comes_before_names(tmp_path, draw_images):
    [first, second] = draw_images(tmp_path, texts=["01", "01"])
    (tmp_path / "labels.csv").write_text(f"{first.name},A-B\ngone.png,x\n")
    seen = inspect_folder(ProjectPath(tmp_path), "_")
    assert sorted(seen.labels) == ["01", "A-B"]
    assert (seen.listed, seen.unmatched, seen.separator) == (1, 1, "_")


@pytest.mark.parametrize("separator", ["_", "-", "#", "@", "=", " "])
def test_separator_is_what_most_names_have(tmp_path, draw_images, separator):
    for i, path in enumerate(draw_images(tmp_path, texts=["01", "02", "03"])):
        path.rename(tmp_path / f"{path.name[:2]}{separator}{i}.png")
    assert inspect_folder(ProjectPath(tmp_path)).separator == separator


def test_word_that_all_names_begin_with_is_no_label(tmp_path, draw_images):
    for i, path in enumerate(draw_images(tmp_path, texts=["01"] * inspection.COMMON_WORD_FROM)):
        path.rename(tmp_path / f"img_{i}.png")
    with pytest.raises(SampleError, match="all 10 images in .* have the label 'img'"):
        inspect_folder(ProjectPath(tmp_path))
    (tmp_path / "img_9.png").unlink()
    assert inspect_folder(ProjectPath(tmp_path)).labels == ["img"] * 9  # it may be one


def test_of_many_images_some_are_decoded_by_the_seed(tmp_path, draw_images, monkeypatch):
    monkeypatch.setattr(inspection, "MAX_DECODED", 5)
    for width in range(30, 50):
        draw_images(tmp_path, texts=[f"0{width % 4}"], width=width)
    first, again, other = (
        inspect_folder(ProjectPath(tmp_path), seed=seed).sizes for seed in (0, 0, 1)
    )
    assert first.total() == 5 and len(first) == 5
    assert first == again != other


def test_picture_without_colour_hides_none():
    grays = np.random.default_rng(0).integers(0, 256, (24, 40), np.uint8)
    assert hidden_colour(np.stack([grays] * 3, axis=-1)) == pytest.approx(0, abs=1e-6)
    assert hidden_colour(np.asarray(Image.new("RGB", (40, 24), "red"))) == 0
