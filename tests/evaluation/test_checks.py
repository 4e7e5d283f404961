"""Each fault of a data set is reported in one line; of a sound one nothing is said."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cnnlib.config import load_captcha_config
from cnnlib.dataset.image_set import ImageSet
from cnnlib.evaluation.checks import check_cost, check_images, near_copies
from gen_image.generator import CaptchaGenerator


def image_set(count, classes=4, length=2, seed=0):
    rng = np.random.default_rng(seed)
    return ImageSet(
        [f"{seed}_{i}.png" for i in range(count)],
        rng.integers(0, 256, (count, 24, 40), np.uint8),
        rng.integers(0, classes, (count, length)).astype(np.int32),
    )


@pytest.fixture
def train():
    return image_set(400)


@pytest.fixture
def test():
    return image_set(2000, seed=1)


def test_nothing_is_said_of_good_images(train, test):
    assert check_images(train, test, "0123") == []


def test_same_pixels_with_different_labels(train, test):
    train.pixels[7] = train.pixels[3]
    train.char_ids[7], train.char_ids[3] = (0, 1), (0, 2)
    [line, copies] = check_images(train, test, "0123")
    assert line.startswith("1 picture has two labels: 0_3.png and 0_7.png: remove")
    assert copies.startswith("1 training image is a copy of another, such as 0_7.png of 0_3.png")


def test_ten_pairs_under_two_labels_are_named(train, test):
    for i in range(12):
        train.pixels[100 + i] = train.pixels[i]
        train.char_ids[100 + i], train.char_ids[i] = (0, 1), (0, 2)
    line = check_images(train, test, "0123")[0]
    assert line.startswith("12 pictures have two labels: ") and "0_5.png and 0_105.png" in line
    assert line.count(" and ") == 10 and "; 2 more: remove" in line


def test_training_images_in_the_test_set(train, test):
    test.pixels[:3], test.char_ids[:3] = train.pixels[:3], train.char_ids[:3]
    [line] = check_images(train, test, "0123")
    assert line.startswith("3 test images are in the training set too, 1_0.png as 0_0.png; 1_1.png")
    assert "0_2.png: remove the latter" in line


@pytest.mark.parametrize("form", ["JPEG", "GIF", "smaller"])
def test_training_images_that_are_encoded_anew_in_the_test_set(train, test, form):
    generator = CaptchaGenerator(replace(load_captcha_config(), width=40, height=24))
    first, others = generator.draw("12"), [generator.draw("12") for _ in range(3)]
    if form == "smaller":
        again = first.resize((34, 20)).resize((40, 24))
    else:
        file = io.BytesIO()
        first.save(file, form, quality=30)
        again = Image.open(file)
    for images, index, drawn in ((train, 5, first), (test, 9, again), (test, 10, others[0])):
        images.pixels[index] = np.asarray(drawn.convert("L"))
        images.char_ids[index] = (1, 2)
    assert near_copies(train, test) == {9: 5}
    [line] = check_images(train, test, "0123")
    assert line.startswith("1 test image is in the training set too, 1_9.png as 0_5.png: remove")


def test_a_copy_is_found_among_many_images_of_its_label():
    train, test = image_set(1500, classes=1), image_set(50, classes=1, seed=1)
    noise = np.random.default_rng(2).integers(-20, 21, train.pixels[0].shape)
    test.pixels[7] = np.clip(train.pixels[1400] + noise, 0, 255)
    assert near_copies(train, test) == {7: 1400}


def test_captchas_that_draw_a_text_the_same_each_time_are_no_certain_leak(train, test):
    rng = np.random.default_rng(2)
    plain = 255 * rng.integers(0, 2, (16, 24, 40)).repeat(1, axis=0)  # one picture for each label
    for images in (train, test):
        places = images.char_ids[:, 0] * 4 + images.char_ids[:, 1]
        dots = rng.random(images.pixels.shape) < 0.03
        images.pixels[:] = np.where(dots, 128, plain[places])
    line = check_images(train, test, "0123")[0]
    assert "(or this captcha draws a text nearly the same each time: then leave them)" in line


def test_blank_images(train, test):
    train.pixels[5] = 255
    test.pixels[1] = 100
    test.pixels[1, 0, 0] = 103
    [line] = check_images(train, test, "0123")
    assert line.startswith("2 images are of one shade, such as 0_5.png: look at them")


def test_characters_that_are_missing_or_rare(train, test):
    train.char_ids[train.char_ids == 3] = 0
    train.char_ids[:2, 1] = 4
    lines = check_images(train, test, "01234xyz")
    assert lines[0].startswith("no image shows x y z: label images that do")
    assert lines[1].startswith("no training image shows 3, but test images do")
    assert lines[2].startswith("fewer than 20 training images show 4 (2): ")


def test_long_lists_of_characters_are_cut(train, test):
    [line] = check_images(train, test, "0123abcdefghijklmnop")
    assert line.startswith("no image shows a b c d e f g h i j and 6 more: ")


@pytest.mark.parametrize(("count", "margin"), [(1, "39.7%"), (50, "5.1%"), (400, "1.4%")])
def test_small_test_set(train, count, margin):
    [line] = check_images(train, image_set(count, seed=1), "0123")
    assert line.startswith(
        f"a test set of {count} cannot tell 1% apart (95 % interval: give or take {margin})"
    )


def test_a_colour_that_does_not_vary_is_no_blank_image():
    pixels = np.full((3, 10, 20, 3), 255, np.uint8)
    pixels[:2, 2:8, 5:15, 1:] = 0  # red on white
    images = ImageSet(["a_1.png", "b_2.png", "c_3.png"], pixels, np.zeros((3, 1), np.int32))
    [line] = [line for line in check_images(images, images, "0") if "of one shade" in line]
    assert "c_3.png" in line and "a_1.png" not in line


def test_images_that_cost_much_are_reported_with_a_size_that_does_not():
    assert list(check_cost(1_400_000_000, 400, 200)) == []
    [line] = check_cost(4_000_000_000, 800, 250)
    assert "4.0 GFLOP" in line and "image_width 400 and image_height 125" in line
