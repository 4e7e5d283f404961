"""Recognisers that need no TensorFlow, and what requests are made of."""

from __future__ import annotations

import io
import threading
import time
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.dataset.images import to_pixels
from cnnlib.errors import CharsetError


@dataclass
class FakePrediction:
    text: str
    confidence: float = 0.98765432
    char_confidences: tuple[float, ...] = (0.9912345678, 0.5)


class Named:
    """Reads its own name, or the charset, in images of one size; `newer` is what it loads next."""

    char_set = "ab01"

    def __init__(self, name, width=40, height=24, total=1.0):
        self.name, self.image_width, self.image_height = name, width, height
        self.total, self.newer, self.closed = total, None, 0

    def pixels_of(self, image):
        return to_pixels(image, CaptchaSpec(self.image_height, self.image_width))

    def probabilities(self, pixels):
        return np.full((len(pixels), 2, 4), self.total / 4)

    def read(self, probabilities, among=None):
        if among and set(among) - set(self.char_set):
            raise CharsetError("the model does not know them")
        return FakePrediction("".join(among) if among else self.name)

    def describe(self):
        return {"step": 7, "accuracy": 0.99}

    def load_newer(self):
        newer, self.newer = self.newer, None
        if isinstance(newer, Exception):
            raise newer
        return newer

    def close(self):
        self.closed += 1


class Failing(Named):
    """Fails after its first run, the test before it is served."""

    runs = 0

    def probabilities(self, pixels):
        self.runs += 1
        if self.runs > 1:
            raise RuntimeError("a secret of the server")
        return super().probabilities(pixels)


class Slow(Named):
    """Answers when it is allowed to."""

    def __init__(self):
        super().__init__("slow")
        self.entered, self.allowed = threading.Semaphore(0), threading.Event()
        self.tested = False

    def probabilities(self, pixels):
        if self.tested:
            self.entered.release()
            assert self.allowed.wait(20)
        self.tested = True
        return super().probabilities(pixels)


def png(width=40, height=24, kind="PNG"):
    file = io.BytesIO()
    Image.new("L", (width, height), 200).save(file, kind)
    return file.getvalue()


def upload(*images, name="x.png", **fields):
    """Return the arguments of Flask's client that send images as a form."""
    return {"data": fields | {"image_file": [(io.BytesIO(data), name) for data in images]}}


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
