"""A better model is taken up while requests go on; a broken one is refused."""

from __future__ import annotations

import logging
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from cnnlib.errors import ModelError
from cnnlib.served import ServedModel, Watch


class Fake:
    """A model whose next one can be set; answers with its own name."""

    image_width, image_height, char_set = 40, 24, "ab"

    def __init__(self, name, total=1.0):
        self.name, self.total, self.next = name, total, None

    def pixels_of(self, image):
        return np.asarray(image)

    def probabilities(self, pixels):
        return np.full((len(pixels), 2, 4), self.total / 4)

    def read(self, probabilities, among=None):
        return SimpleNamespace(text=self.name)

    def describe(self):
        return {"step": self.name}

    def renewed(self):
        if isinstance(self.next, Exception):
            raise self.next
        found, self.next = self.next, None
        return found


PIXELS = np.zeros((24, 40), np.uint8)


def test_new_weights_serve_from_the_moment_that_they_are_tested():
    old, new = Fake("old"), Fake("new")
    model = ServedModel("a", old)
    since = model.since
    assert not model.renew() and model.predict([PIXELS])[0].text == "old"
    old.next = new
    assert model.renew() and model.predict([PIXELS])[0].text == "new"
    assert model.since > since and model.describe()["step"] == "new"


@pytest.mark.parametrize("broken", [Fake("broken", float("nan")), Fake("broken", 0.5)])
def test_weights_that_give_no_probabilities_are_refused(broken):
    old = Fake("old")
    model = ServedModel("a", old)
    old.next = broken
    with pytest.raises(ModelError, match="gives no probabilities"):
        model.renew()
    assert model.predict([PIXELS])[0].text == "old"
    with pytest.raises(ModelError):
        ServedModel("a", broken)


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_watch_takes_up_weights_and_tells_once_of_those_that_it_refuses(caplog):
    caplog.set_level(logging.INFO, "cnnlib")
    old, new = Fake("old"), Fake("new")
    old.next = ModelError("cut off")
    model = ServedModel("a", old)
    watch = Watch([model], pause_s=0.005)
    try:
        wait_for(lambda: "cut off" in caplog.text)
        time.sleep(0.05)
        old.next = new
        wait_for(lambda: model.recognizer is new)
        new.next = RuntimeError("unforeseen")  # the thread lives on
        wait_for(lambda: "unforeseen" in caplog.text)
        new.next = Fake("third")
        wait_for(lambda: model.recognizer.name == "third")
    finally:
        watch.close()
    assert caplog.text.count("cut off") == 1


def test_no_request_fails_or_waits_while_weights_are_taken_up():
    model = ServedModel("a", Fake("0"))
    stop, failed = threading.Event(), []

    def ask():
        while not stop.is_set():
            try:
                int(model.predict([PIXELS])[0].text)
            except Exception as error:
                failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 200):
        model.recognizer.next = Fake(str(number))
        assert model.renew()
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed
