"""The one way from an image to pixels: every mode, format and size."""

import re
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.dataset.image_set import load_images
from cnnlib.dataset.images import (
    open_image,
    read_pixels,
    to_gray_or_rgb,
    to_pixels,
)
from cnnlib.dataset.verification import Rules
from cnnlib.errors import ImageFormatError, ImageSizeError, ImageTooLargeError
from cnnlib.serving.app import create_recognize_app
from tests.dataset.helpers import file_bytes, png
from tests.helpers import SPEC
from tests.serving.helpers import Named

# Darkening from left to right, with a black and a white corner.
GRAY = np.linspace(250, 5, 24 * 40).reshape(24, 40).round().astype(np.uint8)
GRAY[0, 0], GRAY[-1, -1] = 0, 255
L = Image.fromarray(GRAY)
ALPHA = np.tile(np.array([0, 255, 128, 255], np.uint8), (24, 10))  # 0 is wholly transparent
OVER_WHITE = np.rint(GRAY * (ALPHA / 255) + 255 * (1 - ALPHA / 255))


def with_alpha(mode):
    image = L.convert(mode)
    image.putalpha(Image.fromarray(ALPHA))
    return image


def palette(**info):
    """Gray i at place 255 - i: whoever takes places for grays inverts the image."""
    image = Image.fromarray(255 - GRAY)
    image = image.convert("P")
    image.putpalette([255 - i for i in range(256) for _ in range(3)])
    image.info |= info
    return image


def sixteen_bits():
    return Image.fromarray(GRAY.astype(np.uint16) * 257)


def interlaced(grays):
    """Return a PNG file in the seven passes of Adam7, which Pillow does not write."""
    passes = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]  # left, top, steps to the right and down
    lines = [line for left, top, right, down in passes for line in grays[top::down, left::right]]
    return png(
        grays.shape[1],
        grays.shape[0],
        b"".join(b"\0" + line.tobytes() for line in lines),
        interlace=1,
    )


CASES = {
    "1": (lambda: file_bytes(L.point(lambda v: 255 * (v > 99), "1"), "PNG"), 255 * (GRAY > 99), 0),
    "L": (lambda: file_bytes(L, "PNG"), GRAY, 0),
    "L, one gray transparent": (
        lambda: file_bytes(L, "PNG", transparency=5),
        np.where(GRAY == 5, 255, GRAY),
        0,
    ),
    "LA": (lambda: file_bytes(with_alpha("L"), "PNG"), OVER_WHITE, 1),
    "P": (lambda: file_bytes(palette(), "PNG"), GRAY, 0),
    "P, one place transparent": (
        lambda: file_bytes(palette(), "PNG", transparency=255 - 5),
        np.where(GRAY == 5, 255, GRAY),
        0,
    ),
    "P, an alpha for each place": (
        lambda: file_bytes(palette(), "PNG", transparency=bytes([128] * 256)),
        np.rint(GRAY * (128 / 255) + 255 * (1 - 128 / 255)),
        1,
    ),
    "RGB": (lambda: file_bytes(L.convert("RGB"), "PNG"), GRAY, 0),
    "RGB, one colour transparent": (
        lambda: file_bytes(L.convert("RGB"), "PNG", transparency=(5, 5, 5)),
        np.where(GRAY == 5, 255, GRAY),
        0,
    ),
    "RGBA": (lambda: file_bytes(with_alpha("RGB"), "PNG"), OVER_WHITE, 1),
    "I;16": (lambda: file_bytes(sixteen_bits(), "PNG"), GRAY, 0),
    "I;16, one gray transparent": (
        lambda: file_bytes(sixteen_bits(), "PNG", transparency=5 * 257),
        np.where(GRAY == 5, 255, GRAY),
        0,
    ),
    "interlaced PNG": (lambda: interlaced(GRAY), GRAY, 0),
    "CMYK JPEG": (lambda: file_bytes(L.convert("CMYK"), "JPEG", quality=100), GRAY, 4),
    "progressive JPEG": (lambda: file_bytes(L, "JPEG", quality=100, progressive=True), GRAY, 4),
    "GIF, first of two frames": (
        lambda: file_bytes(
            palette(), "GIF", save_all=True, append_images=[Image.new("L", L.size, 77)]
        ),
        GRAY,
        0,
    ),
    "BMP": (lambda: file_bytes(L.convert("RGB"), "BMP"), GRAY, 0),
    "TIFF": (lambda: file_bytes(L, "TIFF", compression="tiff_lzw"), GRAY, 0),
    "TIFF, 1 bit": (
        lambda: file_bytes(L.point(lambda v: 255 * (v > 99), "1"), "TIFF"),
        255 * (GRAY > 99),
        0,
    ),
    "TIFF, CMYK": (lambda: file_bytes(L.convert("CMYK"), "TIFF"), GRAY, 1),
    "TIFF, 16 bits": (lambda: file_bytes(sixteen_bits(), "TIFF"), GRAY, 0),
    "ICO": (lambda: file_bytes(with_alpha("RGB"), "ICO", sizes=[L.size]), OVER_WHITE, 1),
    "WebP with alpha": (
        lambda: file_bytes(with_alpha("RGB"), "WEBP", lossless=True, exact=True),
        OVER_WHITE,
        1,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_mode_shows_what_a_viewer_shows(case, tmp_path):
    make, expected, tolerance = CASES[case]
    data = make()
    pixels = read_pixels(data, SPEC)
    assert pixels.dtype == np.uint8 and pixels.shape == (24, 40)
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance
    path = tmp_path / "验证 1.png"  # the suffix does not decide the format
    path.write_bytes(data)
    np.testing.assert_array_equal(read_pixels(path, SPEC), pixels)


def test_palette_with_alpha_in_memory():
    image = palette().convert("PA")
    image.putalpha(Image.fromarray(ALPHA))
    assert image.mode == "PA"
    assert np.abs(np.array(to_gray_or_rgb(image)).astype(int) - OVER_WHITE).max() <= 1


def test_colours_become_their_luma():
    colours = Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8))
    np.testing.assert_array_equal(np.array(to_gray_or_rgb(colours)), [[76, 150, 29]])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no image",
        b"\x89PNG\r\n\x1a\n",
        file_bytes(L, "PNG")[:-300],
        file_bytes(L, "JPEG")[:-200],
        file_bytes(L, "PPM"),
        file_bytes(L, "TGA"),
    ],
    ids=[
        "empty",
        "text",
        "signature only",
        "truncated PNG",
        "truncated JPEG",
        "PPM",
        "TGA",
    ],
)
def test_data_that_is_not_a_whole_image_of_an_accepted_format_is_refused(data, tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(data)
    for source in (data, path):
        with pytest.raises(
            ImageFormatError, match="not a whole image in one of the formats PNG"
        ) as caught:
            open_image(source)
        assert "object at 0x" not in str(caught.value)


@pytest.mark.parametrize("side", [2001, 12_000, 50_000])  # Pillow: silent, a warning, an error
def test_huge_images_are_refused_before_they_are_decoded(side):
    with pytest.raises(ImageTooLargeError, match="more than 4000000 pixels"):
        open_image(png(side, side, b"\0" * 1000))


def test_wrong_size_says_both_sizes():
    with pytest.raises(ImageSizeError, match="40x24, expected 100x60"):
        read_pixels(file_bytes(L, "PNG"), CaptchaSpec(60, 100))


# --- other sizes, colour ---


def test_padding_keeps_proportions_and_the_background():
    image = Image.new("L", (80, 20), 200)
    image.paste(50, (10, 5, 30, 15))
    pixels = to_pixels(image, CaptchaSpec(24, 40, resize="pad"))
    assert pixels.shape == (24, 40) and pixels.dtype == np.uint8
    scaled = np.full((24, 40), 200)
    scaled[7 + 3 : 7 + 7, 5:15] = 50  # half as large, in the middle
    assert (abs(pixels.astype(int) - scaled) > 1).mean() < 0.08  # its edges are blurred
    assert set(np.unique(pixels[:6])) == set(np.unique(pixels[18:])) == {200}


def test_stretching_fills_the_image():
    image = Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 10, axis=1).repeat(5, axis=0))
    pixels = to_pixels(image, CaptchaSpec(24, 40, resize="stretch"))
    assert (pixels[:, :18] == 0).all() and (pixels[:, 22:] == 255).all()


@pytest.mark.parametrize("resize", ["", "pad", "stretch"])
def test_images_of_the_right_size_are_not_scaled(resize):
    np.testing.assert_array_equal(to_pixels(L, CaptchaSpec(24, 40, resize=resize)), GRAY)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (87, 26), (800, 250), (1, 500), (3000, 1)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resize", ["pad", "stretch"])
def test_every_size_becomes_that_of_the_network(width, height, channels, resize):
    spec = CaptchaSpec(24, 40, image_channels=channels, resize=resize)
    assert to_pixels(Image.new("P", (width, height)), spec).shape == spec.shape


def test_colours_are_kept_where_there_are_three_channels():
    colours = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    spec = CaptchaSpec(24, 40, image_channels=3)
    np.testing.assert_array_equal(to_pixels(Image.fromarray(colours), spec), colours)
    gray = to_pixels(L, spec)
    assert gray.shape == (24, 40, 3) and (gray == GRAY[..., np.newaxis]).all()


class Recording(Named):
    """A recogniser that keeps the pixels of the last request."""

    def __init__(self, spec):
        super().__init__("recording", spec.image_width, spec.image_height)
        self.spec = spec

    def pixels_of(self, image):
        return to_pixels(image, self.spec)

    def probabilities(self, pixels):
        self.pixels = pixels
        return super().probabilities(pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_training_and_serving_see_the_same_pixels(channels, tmp_path):
    """The first decodes files of a folder, the second what comes over HTTP."""
    spec = CaptchaSpec(20, 30, 2, tuple("01"), image_channels=channels, resize="pad")
    for i, (make, _, _) in enumerate(CASES.values()):
        (tmp_path / f"01_{i:02}.png").write_bytes(make())
    trained = load_images(tmp_path, Rules(spec))
    assert len(trained) == len(CASES) and trained.pixels.shape[1:] == spec.shape
    recognizer = Recording(spec)
    app = create_recognize_app({"one": recognizer})
    with closing(app.extensions["service"]):
        client = app.test_client()
        for name, pixels in zip(trained.names, trained.pixels, strict=True):
            with open(tmp_path / name, "rb") as file:
                answer = client.post("/b", data={"image_file": (file, name)})
            assert answer.status_code == 200
            np.testing.assert_array_equal(recognizer.pixels, pixels[np.newaxis], err_msg=name)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "an empty file"),
        (b"\r\n<!DOCTYPE html><html>404", "a web page (HTML): look at what the site has answered"),
        (b"%PDF-1.7", "a PDF"),
        (b"Too many requests", "text that begins 'Too many request'"),
        (b"\0\1\2\3\xff", "bytes that begin 00 01 02 03 ff"),
    ],
)
def test_what_is_no_image_is_named(data, found):
    with pytest.raises(ImageFormatError, match=re.escape(f", but {found}")):
        open_image(data)
