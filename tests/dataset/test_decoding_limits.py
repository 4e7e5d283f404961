"""What is decoded, and how much at a time."""

import dataclasses
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from PIL import Image, ImageFile, WebPImagePlugin

from cnnlib.dataset import images as images_module
from cnnlib.dataset.image_set import load_images
from cnnlib.dataset.images import (
    FORMATS,
    MAX_OPEN_PIXELS,
    MAX_PIXELS,
    open_image,
    opened,
    read_pixels,
    to_pixels,
)
from cnnlib.dataset.verification import Rules, verify
from cnnlib.errors import ImageFormatError, ImageSizeError, SampleError
from cnnlib.serving.app import create_recognize_app
from tests.dataset.helpers import file_bytes, png
from tests.helpers import SPEC
from tests.serving.helpers import Named, upload, wait_for


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
    options = {"sizes": [(width, height)]} if kind == "ICO" else {}
    return file_bytes(Image.new("RGB", (width, height), "white"), kind, **options)


@pytest.mark.parametrize("kind", FORMATS)
def test_pixels_of_a_wrong_size_are_never_decoded(kind, decoded, tmp_path):
    """By whatever way it comes: as bytes, as a file, over HTTP, for training, for a test."""
    data = of_size(200, 200, kind)
    path = tmp_path / "01_1.png"
    path.write_bytes(data)
    for source in (data, path):
        with pytest.raises(ImageSizeError, match="image of 200x200, expected 40x24"):
            read_pixels(source, SPEC)
        with pytest.raises(ImageSizeError, match="image of 200x200, expected 40x24"):
            open_image(source, SPEC)
    if kind != "ICO":  # Pillow decodes an icon as it opens it
        with Image.open(path) as image, pytest.raises(ImageSizeError):
            to_pixels(image, SPEC)
    [bad] = verify(tmp_path, 40, 24, "png")
    assert bad[2] == "图片尺寸不正确: 200x200, expected 40x24"
    for cached in (False, True):
        with pytest.raises(SampleError, match="holds no usable image"):
            load_images(tmp_path, Rules(SPEC), cached=cached)
    app = create_recognize_app({"a": Named("a"), "b": Named("b", 80)})
    with closing(app.extensions["service"]):
        for address in ("/b", "/b/b", "/b?route=size"):
            answer = app.test_client().post(address, **upload(data))
            assert (answer.status_code, answer.get_json()["error_code"]) == (422, "1003")
            assert "image of 200x200" in answer.get_json()["message"]
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
