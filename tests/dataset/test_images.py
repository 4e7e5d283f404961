"""The one way from an image to pixels: every mode, format and size."""

import dataclasses
import io
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
from PIL import Image, ImageFile, WebPImagePlugin

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.dataset import images as images_module
from cnnlib.dataset.image_set import load_images
from cnnlib.dataset.images import (
    FORMATS,
    MAX_OPEN_PIXELS,
    MAX_PIXELS,
    open_image,
    opened,
    read_pixels,
    to_gray_or_rgb,
    to_pixels,
)
from cnnlib.dataset.verification import Rules, verify
from cnnlib.errors import ImageFormatError, ImageSizeError, ImageTooLargeError, SampleError
from cnnlib.serving.app import create_recognize_app
from tests.helpers import SPEC
from tests.serving.helpers import Named, upload, wait_for

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
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlace))
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


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
        file_bytes(L, "TIFF"),
        file_bytes(L, "PPM"),
        file_bytes(L, "ICO"),
    ],
    ids=[
        "empty",
        "text",
        "signature only",
        "truncated PNG",
        "truncated JPEG",
        "TIFF",
        "PPM",
        "ICO",
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


# --- what is decoded, and how much at a time ---


@pytest.fixture
def decoded(monkeypatch):
    """The sizes of the images of which pixels were decoded."""
    found = []
    for kind in (ImageFile.ImageFile, WebPImagePlugin.WebPImageFile):

        def load(self, load=kind.load):
            found.append(self.size)
            return load(self)

        monkeypatch.setattr(kind, "load", load)
    return found


def of_size(width, height, kind="PNG"):
    return file_bytes(Image.new("RGB", (width, height), "white"), kind)


@pytest.mark.parametrize("kind", FORMATS)
def test_pixels_of_a_wrong_size_are_never_decoded(kind, decoded, tmp_path):
    """By whatever way it comes: as bytes, as a file, over HTTP, for training, for a test."""
    data = of_size(300, 300, kind)
    path = tmp_path / "01_1.png"
    path.write_bytes(data)
    for source in (data, path):
        with pytest.raises(ImageSizeError, match="image of 300x300, expected 40x24"):
            read_pixels(source, SPEC)
        with pytest.raises(ImageSizeError, match="image of 300x300, expected 40x24"):
            open_image(source, SPEC)
    with Image.open(path) as image, pytest.raises(ImageSizeError):
        to_pixels(image, SPEC)
    [bad] = verify(tmp_path, 40, 24, "png")
    assert bad[2] == "图片尺寸不正确: 300x300, expected 40x24"
    for cached in (False, True):
        with pytest.raises(SampleError, match="holds no usable image"):
            load_images(tmp_path, Rules(SPEC), cached=cached)
    app = create_recognize_app({"a": Named("a"), "b": Named("b", 80)})
    with closing(app.extensions["service"]):
        for address in ("/b", "/b/b", "/b?route=size"):
            answer = app.test_client().post(address, **upload(data))
            assert (answer.status_code, answer.get_json()["error_code"]) == (422, "1003")
            assert "image of 300x300" in answer.get_json()["message"]
    assert decoded == []
    read_pixels(of_size(40, 24, kind), SPEC)
    assert decoded


def test_size_is_told_of_an_image_whose_pixels_are_damaged():
    with pytest.raises(ImageSizeError):
        read_pixels(png(41, 24, b"cut off"), SPEC)
    with pytest.raises(ImageFormatError, match="not a whole image"):
        read_pixels(png(40, 24, b"cut off"), SPEC)
    with pytest.raises(ImageFormatError, match="not a whole image"):
        to_pixels(Image.open(io.BytesIO(png(40, 24, b"cut off"))), SPEC)


def test_spec_that_resizes_allows_any_size():
    spec = dataclasses.replace(SPEC, resize="pad")
    assert open_image(of_size(300, 20), spec).size == (300, 20)
    assert read_pixels(of_size(300, 20), spec).shape == (24, 40)


def test_opened_image_is_gone_after_its_block(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(of_size(40, 24))
    with opened(path) as image:
        assert image.size == (40, 24) and to_pixels(image, SPEC).shape == (24, 40)
    with pytest.raises(ValueError, match="closed"):
        image.getpixel((0, 0))
    assert open_image(path).getpixel((0, 0)) == (255, 255, 255)  # but not this one


LARGEST = png(2000, MAX_PIXELS // 2000, b"")


class Holder:
    """A thread with an image open, until it is let go."""

    def __init__(self, data, failure=None):
        self.open, self.let_go, self.failure = threading.Event(), threading.Event(), failure
        self.thread = threading.Thread(target=self.hold, args=(data,), daemon=True)
        self.thread.start()

    def hold(self, data):
        try:
            with opened(data):
                self.open.set()
                assert self.let_go.wait(20)
                if self.failure:
                    raise self.failure
        except ZeroDivisionError:
            pass

    def end(self):
        self.let_go.set()
        self.thread.join(20)
        assert not self.thread.is_alive()


def waiting():
    return len(images_module._open_pixels._waiting)


@pytest.mark.parametrize("failure", [None, ZeroDivisionError()])
def test_open_images_of_all_threads_have_a_limit_together(failure):
    first, second = Holder(LARGEST, failure), Holder(LARGEST, failure)
    assert first.open.wait(20) and second.open.wait(20)
    third = Holder(LARGEST, failure)
    wait_for(lambda: waiting() == 1)
    small = Holder(of_size(40, 24))  # in its turn, so that large ones are not passed for ever
    wait_for(lambda: waiting() == 2)
    assert not third.open.is_set() and not small.open.is_set()
    first.end()
    assert third.open.wait(20)
    second.end()
    assert small.open.wait(20)
    third.end()
    small.end()
    assert images_module._open_pixels._free == MAX_OPEN_PIXELS and waiting() == 0


def test_images_that_are_refused_leave_room_for_others():
    def refuse(data):
        with pytest.raises(SampleError):
            read_pixels(data, SPEC)

    bad = [LARGEST, png(2001, 2000, b""), b"", b"no image", png(40, 24, b""), of_size(41, 24)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(refuse, bad * 50))
    assert images_module._open_pixels._free == MAX_OPEN_PIXELS and waiting() == 0


def test_requests_together_decode_no_more_than_the_limit():
    """Whatever number of threads the server has."""
    lock, now, most = threading.Lock(), [0], [0]

    class Resizing(Named):
        def pixels_of(self, image):
            pixels = image.width * image.height
            with lock:
                now[0] += pixels
                most[0] = max(most[0], now[0])
            try:
                return to_pixels(image, dataclasses.replace(SPEC, resize="pad"))
            finally:
                with lock:
                    now[0] -= pixels

    app = create_recognize_app({"a": Resizing("a")})
    data = of_size(1500, 1500)
    with closing(app.extensions["service"]), ThreadPoolExecutor(16) as pool:
        asked = pool.map(lambda _: app.test_client().post("/b", **upload(data)), range(32))
        assert {answer.status_code for answer in asked} == {200}
    assert 1500 * 1500 <= most[0] <= MAX_OPEN_PIXELS


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
