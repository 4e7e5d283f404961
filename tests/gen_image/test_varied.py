"""Captchas of ever new looks."""

import random

import numpy as np
import pytest
from PIL import Image, ImageChops

from gen_image import distortions, grounds
from gen_image.styles import STYLES
from gen_image.typefaces import FONT_DIR
from gen_image.varied import VariedCaptcha

FONTS = [str(FONT_DIR / name) for name in ("DejaVuSans.ttf", "cmr10.ttf", "STIXGeneral.ttf")]


@pytest.mark.parametrize(("width", "height"), [(100, 60), (320, 40), (30, 30)])
def test_images_have_the_size_and_differ(width, height):
    captcha, rng = VariedCaptcha(FONTS), random.Random(0)
    images = [captcha.draw("aB3", width, height, rng) for _ in range(40)]
    assert {(image.mode, image.size) for image in images} == {("RGB", (width, height))}
    assert len({image.tobytes() for image in images}) == 40
    deviations = [np.asarray(image.convert("L")).std() for image in images]
    assert np.median(deviations) > 15
    gray = [np.ptp(np.asarray(image), axis=-1).max() == 0 for image in images]
    assert 8 < sum(gray) < 39


def test_same_seed_draws_the_same_image():
    captcha = VariedCaptcha(FONTS)
    first, again = (
        [captcha.draw("k7", 100, 60, random.Random(seed)).tobytes() for seed in range(30)]
        for _ in range(2)
    )
    assert first == again


def test_styles_that_are_left_out_are_not_drawn():
    left_out = set(STYLES) - {"dark"}
    assert VariedCaptcha(FONTS, left_out)._styles == [STYLES["dark"]]


def test_one_letter_in_a_small_image():
    captcha, rng = VariedCaptcha(FONTS), random.Random(0)
    assert all(captcha.draw("i", 12, 10, rng).size == (12, 10) for _ in range(60))


@pytest.mark.parametrize("level", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_colours_have_the_brightness_that_is_asked_for(level):
    rng = random.Random(0)
    colours = [grounds.random_colour(rng, level) for _ in range(50)]
    assert np.allclose(np.array(colours) @ grounds.GRAY_WEIGHTS, 255 * level, atol=2)


@pytest.mark.parametrize("pattern", [p for p in grounds.PATTERNS if p])
def test_patterns_are_faint(pattern):
    for seed in range(20):
        rng = random.Random(seed)
        image = Image.new("RGB", (100, 60), "white")
        pattern(image, lambda d, rng=rng: grounds.random_colour(rng, 1 - d), rng)
        assert image.size == (100, 60)
        assert np.asarray(image.convert("L")).min() >= 255 * 0.55


@pytest.mark.parametrize("change", [c for c in distortions.CHANGES if c])
def test_changes_leave_the_picture_to_be_seen(change):
    image = Image.new("RGB", (100, 60), "white")
    image.paste("black", (20, 10, 60, 50))
    changed = change(image, random.Random(3))
    assert (changed.mode, changed.size) == ("RGB", (100, 60))
    difference = np.asarray(ImageChops.difference(image, changed).convert("L"))
    assert difference.mean() < 100


@pytest.mark.parametrize("seed", range(12))
def test_distortion_moves_things_a_little(seed):
    image = Image.new("RGB", (160, 60), "white")
    image.paste("black", (60, 20, 100, 40))
    pixels = np.asarray(distortions.warp(image, random.Random(seed)).convert("L"))
    rows, columns = np.nonzero(pixels < 128)
    assert abs(columns.mean() - 79.5) < 12 and abs(rows.mean() - 29.5) < 10
    assert 300 < len(rows) < 1800
