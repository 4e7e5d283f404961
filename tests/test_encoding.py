"""The contract between the outside and tensors: images, labels, file names."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cnnlib import encoding
from cnnlib.encoding import InputFormat
from cnnlib.errors import ImageFormatError, ImageSizeError, ImageTooLargeError, SampleError

# Darkening from left to right, with a black and a white corner.
GRAY = np.linspace(250, 5, 24 * 40).reshape(24, 40).round().astype(np.uint8)
GRAY[0, 0], GRAY[-1, -1] = 0, 255
L = Image.fromarray(GRAY)
ALPHA = np.tile(np.array([0, 255, 128, 255], np.uint8), (24, 10))  # 0 is wholly transparent
OVER_WHITE = np.rint(GRAY * (ALPHA / 255) + 255 * (1 - ALPHA / 255))


def file_bytes(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


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


CASES = {
    "1": (lambda: file_bytes(L.point(lambda v: 255 * (v > 99), "1"), "PNG"), 255 * (GRAY > 99), 0),
    "L": (lambda: file_bytes(L, "PNG"), GRAY, 0),
    "L, one gray transparent": (lambda: file_bytes(L, "PNG", transparency=5),
                                np.where(GRAY == 5, 255, GRAY), 0),
    "LA": (lambda: file_bytes(with_alpha("L"), "PNG"), OVER_WHITE, 1),
    "P": (lambda: file_bytes(palette(), "PNG"), GRAY, 0),
    "P, one place transparent": (lambda: file_bytes(palette(), "PNG", transparency=255 - 5),
                                 np.where(GRAY == 5, 255, GRAY), 0),
    "P, an alpha for each place": (
        lambda: file_bytes(palette(), "PNG", transparency=bytes([128] * 256)),
        np.rint(GRAY * (128 / 255) + 255 * (1 - 128 / 255)), 1),
    "RGB": (lambda: file_bytes(L.convert("RGB"), "PNG"), GRAY, 0),
    "RGB, one colour transparent": (
        lambda: file_bytes(L.convert("RGB"), "PNG", transparency=(5, 5, 5)),
        np.where(GRAY == 5, 255, GRAY), 0),
    "RGBA": (lambda: file_bytes(with_alpha("RGB"), "PNG"), OVER_WHITE, 1),
    "I;16": (lambda: file_bytes(sixteen_bits(), "PNG"), GRAY, 0),
    "CMYK JPEG": (lambda: file_bytes(L.convert("CMYK"), "JPEG", quality=100), GRAY, 4),
    "progressive JPEG": (lambda: file_bytes(L, "JPEG", quality=100, progressive=True), GRAY, 4),
    "GIF, first of two frames": (
        lambda: file_bytes(palette(), "GIF", save_all=True,
                           append_images=[Image.new("L", L.size, 77)]), GRAY, 0),
    "BMP": (lambda: file_bytes(L.convert("RGB"), "BMP"), GRAY, 0),
    "WebP with alpha": (lambda: file_bytes(with_alpha("RGB"), "WEBP", lossless=True, exact=True),
                        OVER_WHITE, 1),
}


@pytest.mark.parametrize("case", CASES)
def test_every_mode_shows_what_a_viewer_shows(case, tmp_path):
    make, expected, tolerance = CASES[case]
    data = make()
    pixels = InputFormat(40, 24).read(data)
    assert pixels.dtype == np.uint8 and pixels.shape == (24, 40)
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance
    path = tmp_path / "验证 1.png"  # the suffix does not decide the format
    path.write_bytes(data)
    np.testing.assert_array_equal(InputFormat(40, 24).read(path), pixels)


def test_palette_with_alpha_in_memory():
    image = palette().convert("PA")
    image.putalpha(Image.fromarray(ALPHA))
    assert image.mode == "PA"
    assert np.abs(np.array(encoding.flat(image)).astype(int) - OVER_WHITE).max() <= 1


def test_colours_become_their_luma():
    colours = Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8))
    np.testing.assert_array_equal(np.array(encoding.flat(colours)), [[76, 150, 29]])


def png_header(width, height):
    def chunk(kind, data):
        return (struct.pack(">I", len(data)) + kind + data
                + struct.pack(">I", zlib.crc32(kind + data)))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height,
                                                             8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b""))


@pytest.mark.parametrize("data", [
    b"", b"no image", b"\x89PNG\r\n\x1a\n",
    file_bytes(L, "PNG")[:-300], file_bytes(L, "JPEG")[:-200],
    file_bytes(L, "TIFF"), file_bytes(L, "PPM"), file_bytes(L, "ICO"),
], ids=["empty", "text", "signature only", "truncated PNG", "truncated JPEG", "TIFF", "PPM",
        "ICO"])
def test_what_is_no_whole_image_of_an_accepted_format_is_refused(data, tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(data)
    for source in (data, path):
        with pytest.raises(ImageFormatError, match="no whole image in one of the formats PNG"
                           ) as caught:
            encoding.open_image(source)
        assert "object at 0x" not in str(caught.value)


@pytest.mark.parametrize("side", [2001, 12_000, 50_000])  # Pillow: silent, a warning, an error
def test_huge_images_are_refused_before_they_are_decoded(side):
    with pytest.raises(ImageTooLargeError, match="more than 4000000 pixels"):
        encoding.open_image(png_header(side, side))


def test_wrong_size_says_both_sizes():
    with pytest.raises(ImageSizeError, match="40x24, expected 100x60"):
        InputFormat(100, 60).read(file_bytes(L, "PNG"))


@pytest.mark.parametrize(("name", "label"), [
    ("2e8j_17322d3d4226f0b5c5a71d797d2ba7f7.jpg", "2e8j"),
    ("验证码_1.png", "验证码"),
    ("ab_1_2.png", "ab"),
    ("AB c_1.tar.png", "AB c"),
])
def test_label_stands_before_the_first_separator(name, label):
    assert encoding.label_of(name) == label


@pytest.mark.parametrize("name", [
    "2e8j.png", "_1.png", "2e8j_.png", "2e8j_", "", "2e8j-1.png", "\udcff_1.png",
])
def test_name_without_label_or_serial_is_refused(name):
    with pytest.raises(SampleError, match="label and serial"):
        encoding.label_of(name)


@pytest.mark.parametrize("label", ["2e8j", "验证码", "aB", "é ü"])
def test_label_comes_back_from_its_file_name(label):
    name = encoding.file_name(label, "png")
    assert encoding.label_of(name) == label and name.endswith(".png")
    assert name != encoding.file_name(label, "png")


def test_file_name_is_safe_on_every_file_system(tmp_path):
    name = encoding.file_name('/\\:*?"<>|%\n', "png", "7")
    assert name == "%2F%5C%3A%2A%3F%22%3C%3E%7C%25%0A_7.png"
    (tmp_path / name).touch()


@pytest.mark.parametrize(("name", "expected"), [
    ("a_1.png", True), ("a_1.PNG", True), ("a_1.jpg", False), (".png", False),
    (".a_1.png", False), ("png", False), ("a_1.png.partial", False),
])
def test_suffix_is_compared_without_case(name, expected):
    assert encoding.has_suffix(name, ("png",)) is expected


def test_labels_and_classes():
    char_set = "0验a证"
    ids = encoding.label_to_ids("证0a", char_set)
    assert ids == [3, 0, 2]
    assert encoding.ids_to_label(np.array(ids), char_set) == "证0a"
    assert encoding.label_to_ids("b", ["a", "b"]) == [1]


def test_unknown_characters_are_named():
    with pytest.raises(SampleError, match="label 'aXbX' has 'X' 'b', not in char_set"):
        encoding.label_to_ids("aXbX", "a")
