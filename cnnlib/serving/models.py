"""Models as they are served: each behind a batcher, and reloaded when its folder has newer weights.

Recognisers are passed in, so that nothing here needs TensorFlow.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image

from cnnlib.arithmetic import result_of
from cnnlib.errors import CaptchaError, ModelError
from cnnlib.serving.batching import Batcher
from cnnlib.serving.limits import CLOSE_S

log = logging.getLogger(__name__)

SUM_TOLERANCE = 1e-3  # of the sum of probabilities, which a broken model does not keep
FORGET_S = 600.0  # why weights were refused, where it has not happened again


class PredictionLike(Protocol):
    @property
    def text(self) -> str: ...

    @property
    def confidence(self) -> float: ...

    @property
    def char_confidences(self) -> Sequence[float]: ...


@dataclass(frozen=True)
class Answer:
    """What a model says of one image."""

    prediction: PredictionLike
    result: int | None = None  # of the sum that the text is, where the model's captchas ask one


class RecognizerLike(Protocol):
    """What is served; called from many threads at a time."""

    @property
    def image_height(self) -> int: ...

    @property
    def image_width(self) -> int: ...

    @property
    def char_set(self) -> Sequence[str]: ...

    def pixels_of(self, image: Image.Image, /) -> np.ndarray:
        """Return uint8 [H, W] or [H, W, 3].

        Raises ImageSizeError by the size alone: the pixels may not be decoded yet. Raises
        ImageFormatError where they are damaged.
        """

    def probabilities(self, pixels: np.ndarray, /) -> np.ndarray:
        """Take what pixels_of returned, stacked; return float [N, P, C]."""

    def read(
        self, probabilities: np.ndarray, /, among: Sequence[str] | None = None
    ) -> PredictionLike:
        """Decode one image's [P, C], restricted to the characters `among`; raises CharsetError."""

    def describe(self) -> Mapping[str, Any]:
        """Return what /models reports: lengths, step, accuracy and so on."""

    def load_newer(self) -> RecognizerLike | None:
        """Load the model's folder again where its weights have changed; else return None.

        Raises what loading raises; weights that failed are tried again by a later call.
        """

    def close(self) -> None:
        """Free what the model holds; called once, when nothing runs any more."""


class ServedModel:
    """One recogniser, for any number of threads; raises ModelError where it does not work.

    `new_batcher` makes the Batcher, given what it is to call. Where the texts are `arithmetic`,
    answers have the result. `close` closes the recogniser too.
    """

    def __init__(
        self,
        name: str,
        recognizer: RecognizerLike,
        new_batcher: Callable[[Callable[[np.ndarray], np.ndarray]], Batcher] = Batcher,
        arithmetic: bool = False,
    ) -> None:
        self.name, self.recognizer, self._arithmetic = name, recognizer, arithmetic
        self.test()
        self.served_since = time.time()
        self.batcher = new_batcher(lambda pixels: self.recognizer.probabilities(pixels))

    def close(self) -> None:
        """Finish what is queued, then close the recogniser: not one that never stops running."""
        if self.batcher.close():
            self.recognizer.close()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its images."""
        return self.recognizer.image_width, self.recognizer.image_height

    def pixels_of(self, image: Image.Image) -> np.ndarray:
        """Return what `predict` takes of one image; raises ImageSizeError."""
        return self.recognizer.pixels_of(image)

    def predict(
        self, pixels: Sequence[np.ndarray], among: Sequence[str] | None = None
    ) -> list[Answer]:
        """Recognise images; raises CharsetError and OverloadError."""
        predictions = [
            self.recognizer.read(probabilities, among)
            for probabilities in self.batcher(np.stack(pixels))
        ]
        return [Answer(p, result_of(p.text) if self._arithmetic else None) for p in predictions]

    def test(self) -> None:
        """Raise ModelError where the model gives no probabilities for an image of noise."""
        _test(self.name, self.recognizer)

    def reload(self) -> bool:
        """Serve the newer weights of the model's folder; return whether there were any.

        Raises CaptchaError where they cannot be used; the current ones are then still served.
        """
        newer = self.recognizer.load_newer()
        if newer is None:
            return False
        try:
            _test(self.name, newer)
        except Exception:
            newer.close()
            raise
        # The old recogniser may still be running: it closes itself when nothing refers to it.
        self.recognizer, self.served_since = newer, time.time()
        return True

    def describe(self) -> dict[str, Any]:
        recognizer = self.recognizer
        return {
            "name": self.name,
            "width": recognizer.image_width,
            "height": recognizer.image_height,
            "characters": "".join(recognizer.char_set),
            **recognizer.describe(),
            "since": round(self.served_since, 3),
        }


def _test(name: str, recognizer: RecognizerLike) -> None:
    noise = np.random.default_rng(0).integers(
        256, size=(recognizer.image_height, recognizer.image_width), dtype=np.uint8
    )
    pixels = recognizer.pixels_of(Image.fromarray(noise))
    sums = recognizer.probabilities(pixels[np.newaxis]).sum(axis=-1)
    if not (abs(sums - 1) < SUM_TOLERANCE).all():  # also where they are NaN
        raise ModelError(f"the model {name} gives no probabilities: train it again")


class ModelReloader:
    """Reload models whose folders have newer weights, in a thread, until `close`."""

    def __init__(self, models: Iterable[ServedModel], interval_s: float) -> None:
        self._models, self._interval_s = list(models), interval_s
        self._refused: dict[str, tuple[str, float]] = {}  # by model, the last reason, and when
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model-reloader", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, or leave it to itself where loading takes longer than CLOSE_S."""
        self._stop.set()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            log.error("loading newer weights does not end")

    def poll(self) -> None:
        """Reload each model that has newer weights; log those that are refused."""
        for model in self._models:
            self._reload(model)

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self.poll()

    def _reload(self, model: ServedModel) -> None:
        try:
            if model.reload():
                log.info("model %s is loaded again: %s", model.name, model.describe())
                self._refused.pop(model.name, None)
        except CaptchaError as error:
            if self._is_new(model, error):
                log.error(
                    "model %s goes on with what it has loaded: %s",
                    model.name,
                    error,
                )
        except Exception as error:  # the thread must go on
            if self._is_new(model, error):
                log.exception("model %s: checking for new weights failed", model.name)

    def _is_new(self, model: ServedModel, error: Exception) -> bool:
        """Return whether a model is refused for another reason than the last time.

        What is refused for good is tried again and again, and is to be logged once.
        """
        reason, now_s = f"{type(error).__name__}: {error}", time.monotonic()
        known, when_s = self._refused.get(model.name, ("", 0.0))
        self._refused[model.name] = reason, now_s
        return reason != known or now_s - when_s > FORGET_S
