"""The contract between the outside and tensors: images, labels, file names."""

import io
import struct
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cnnlib import encoding, image_set, serving
from cnnlib.dataset import Rules
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


def png(width, height, data, interlace=0):
    """Return a PNG file, 8 bits of gray, whose lines begin with their filter type."""
    def chunk(kind, data):
        return (struct.pack(">I", len(data)) + kind + data
                + struct.pack(">I", zlib.crc32(kind + data)))

    return (b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlace))
            + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b""))


def interlaced(grays):
    """Return a PNG file in the seven passes of Adam7, which Pillow does not write."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
              (0, 1, 1, 2)]  # left, top, steps to the right and down
    lines = [line for left, top, right, down in passes for line in grays[top::down, left::right]]
    return png(grays.shape[1], grays.shape[0], b"".join(b"\0" + line.tobytes() for line in lines),
               interlace=1)


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
    "I;16, one gray transparent": (
        lambda: file_bytes(sixteen_bits(), "PNG", transparency=5 * 257),
        np.where(GRAY == 5, 255, GRAY), 0),
    "interlaced PNG": (lambda: interlaced(GRAY), GRAY, 0),
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
        encoding.open_image(png(side, side, b"\0" * 1000))


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


# --- other sizes, colour ---


def test_padding_keeps_proportions_and_the_background():
    image = Image.new("L", (80, 20), 200)
    image.paste(50, (10, 5, 30, 15))
    pixels = InputFormat(40, 24, resize="pad").pixels(image)
    assert pixels.shape == (24, 40) and pixels.dtype == np.uint8
    scaled = np.full((24, 40), 200)
    scaled[7 + 3:7 + 7, 5:15] = 50  # half as large, in the middle
    assert (abs(pixels.astype(int) - scaled) > 1).mean() < 0.08  # its edges are blurred
    assert set(np.unique(pixels[:6])) == set(np.unique(pixels[18:])) == {200}


def test_stretching_fills_the_image():
    image = Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 10, axis=1).repeat(5, axis=0))
    pixels = InputFormat(40, 24, resize="stretch").pixels(image)
    assert (pixels[:, :18] == 0).all() and (pixels[:, 22:] == 255).all()


@pytest.mark.parametrize("resize", ["", "pad", "stretch"])
def test_images_of_the_right_size_stay_as_they_are(resize):
    np.testing.assert_array_equal(InputFormat(40, 24, resize=resize).pixels(L), GRAY)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (87, 26), (800, 250), (1, 500), (3000, 1)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resize", ["pad", "stretch"])
def test_every_size_becomes_that_of_the_network(width, height, channels, resize):
    fitted = InputFormat(40, 24, channels, resize)
    assert fitted.pixels(Image.new("P", (width, height))).shape == fitted.shape


def test_colours_stay_where_there_are_three_channels():
    colours = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    np.testing.assert_array_equal(InputFormat(40, 24, 3).pixels(Image.fromarray(colours)), colours)
    gray = InputFormat(40, 24, 3).pixels(L)
    assert gray.shape == (24, 40, 3) and (gray == GRAY[..., np.newaxis]).all()


class Recording:
    """A recogniser that keeps the pixels of the last request."""

    char_set = "01"

    def __init__(self, fitted):
        self.format, self.image_width, self.image_height = fitted, fitted.width, fitted.height

    def pixels_of(self, image):
        return self.format.pixels(image)

    def probabilities(self, pixels):
        self.pixels = pixels
        return np.full((len(pixels), 2, 2), 0.5)

    def read(self, probabilities, among=None):
        return SimpleNamespace(text="01", confidence=0.25, char_confidences=(0.5, 0.5))

    def describe(self):
        return {}

    def renewed(self):
        return None


@pytest.mark.parametrize("channels", [1, 3])
def test_training_and_serving_see_the_same_pixels(channels, tmp_path):
    """The first decodes files of a folder, the second what comes over HTTP."""
    fitted = InputFormat(30, 20, channels, "pad")
    recognizer = Recording(fitted)
    client = serving.create_recognize_app({"one": recognizer}).test_client()
    for i, (make, _, _) in enumerate(CASES.values()):
        (tmp_path / f"01_{i:02}.png").write_bytes(make())
    trained = image_set.load_images(tmp_path, Rules(fitted, char_set="01", min_length=2,
                                                    max_length=2))
    assert len(trained) == len(CASES) and trained.pixels.shape[1:] == fitted.shape
    for name, pixels in zip(trained.names, trained.pixels, strict=True):
        with open(tmp_path / name, "rb") as file:
            assert client.post("/b", data={"image_file": (file, name)}).status_code == 200
        np.testing.assert_array_equal(recognizer.pixels, pixels[np.newaxis], err_msg=name)


@pytest.mark.parametrize("separator", ["-", "#", "__", "@a"])
def test_another_separator(separator):
    name = encoding.file_name(f"x_{separator}y", "png", "1", separator)
    assert encoding.label_of(name, separator) == f"x_{separator}y"
    with pytest.raises(SampleError, match=f"label and serial with '{separator}'"):
        encoding.label_of("ab.png", separator)
