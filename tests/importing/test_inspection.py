"""What is seen of labelled images: sizes, colours, the height of their text."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cnnlib.console import SilentReporter
from cnnlib.errors import SampleError
from cnnlib.importing import inspection
from cnnlib.importing.inspection import hidden_colour, inspect_images, row_profile, text_share
from cnnlib.importing.proposal import COLOUR_FROM


def inspect(folder, seed=0, **options):
    files = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))
    labels = [path.name.partition("_")[0] for path in files]
    return inspect_images(files, labels, seed=seed, reporter=SilentReporter(), **options)


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
    (tmp_path / "44_1.png").write_bytes(b"not an image")
    seen = inspect(tmp_path)
    assert seen.suffixes == ("png", "jpg") and sorted(seen.labels)[:2] == ["01", "02"]
    assert dict(seen.lengths) == {1: 2, 2: 4} and seen.characters == ["0", "1", "2", "3", "4"]
    assert dict(seen.sizes) == {(40, 24): 4, (50, 24): 1} and seen.broken == ["44_1.png"]
    seen = inspect(tmp_path, sizes=Counter({(9, 9): 6}), suffixes=["gif"])
    assert seen.sizes == {(9, 9): 6} and seen.suffixes == ("gif",)


def test_folder_of_damaged_images_is_refused(tmp_path):
    (tmp_path / "44_1.png").write_bytes(b"not an image")
    with pytest.raises(SampleError, match="no image can be decoded, such as .*44_1.png: not a"):
        inspect(tmp_path)


def test_of_many_images_some_are_decoded_by_the_seed(tmp_path, draw_images, monkeypatch):
    monkeypatch.setattr(inspection, "MAX_DECODED", 5)
    for width in range(30, 50):
        draw_images(tmp_path, texts=[f"0{width % 4}"], width=width)
    first, again, other = (inspect(tmp_path, seed=seed).sizes for seed in (0, 0, 1))
    assert first.total() == 5 and len(first) == 5
    assert first == again != other


def test_picture_without_colour_hides_none():
    grays = np.random.default_rng(0).integers(0, 256, (24, 40), np.uint8)
    assert hidden_colour(np.stack([grays] * 3, axis=-1)) == pytest.approx(0, abs=1e-6)
    assert hidden_colour(np.asarray(Image.new("RGB", (40, 24), "red"))) == 0


@pytest.mark.parametrize("noise", [0, 300])
@pytest.mark.parametrize("size", [16, 24, 40, 60])
@pytest.mark.parametrize("dark", [False, True])
def test_height_of_letters_is_measured(size, noise, dark):
    rng = np.random.default_rng(0)
    ground, ink = ("#202020", "#e0e0e0") if dark else ("white", "black")
    profiles = []
    for _ in range(50):
        image = Image.new("L", (180, 80), ground)
        draw = ImageDraw.Draw(image)
        for i in range(4):  # letters of the height of `size`, each somewhere else
            x, y = 10 + 42 * i, 10 + int(rng.integers(0, 3))
            draw.line([(x, y), (x + 20, y + size)], ink, 3)
            draw.line([(x + 20, y), (x, y + size)], ink, 3)
        draw.line([(0, 40), (180, int(rng.integers(0, 80)))], ink, 2)  # a line across
        for x, y in rng.integers(0, (180, 80), (noise, 2)):
            draw.point((int(x), int(y)), ink)
        profiles.append(row_profile(image))
    assert text_share(np.mean(profiles, axis=0)) * 80 == pytest.approx(size, abs=4)


def test_height_of_an_empty_picture_is_nothing():
    assert text_share(row_profile(Image.new("RGB", (40, 24)))) == 0
    assert text_share(row_profile(Image.new("RGB", (1, 24)))) == 0
