"""Models as they are served: each behind a batcher, and replaced when its folder has a better one.

Recognisers are passed in, so that nothing here needs TensorFlow.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from PIL import Image

from cnnlib.batching import TOGETHER, WAITING, Batcher
from cnnlib.errors import CaptchaError, ModelError

log = logging.getLogger(__name__)

LOOK_S = 2.0  # between two looks for better weights
SUM_TOLERANCE = 1e-3  # of probabilities, which a broken model does not keep


class PredictionLike(Protocol):
    @property
    def text(self) -> str: ...

    @property
    def confidence(self) -> float: ...

    @property
    def char_confidences(self) -> Sequence[float]: ...


class RecognizerLike(Protocol):
    """What is served; called from many threads at a time."""

    image_height: int
    image_width: int
    char_set: Sequence[str]

    def pixels_of(self, image: Image.Image, /) -> np.ndarray:
        """Return uint8 [H, W] or [H, W, 3]; raises ImageSizeError."""

    def probabilities(self, pixels: np.ndarray, /) -> np.ndarray:
        """Take what pixels_of returned, stacked; return float [N, P, C]."""

    def read(self, probabilities: np.ndarray, /, among: Sequence[str] | None = None,
             ) -> PredictionLike:
        """Read one image's probabilities, among these characters alone where they are named."""

    def describe(self) -> Mapping[str, Any]:
        """Say what /models tells: lengths, step, accuracy and so on."""

    def renewed(self) -> RecognizerLike | None:
        """Load the model anew where its folder holds other weights than these; else None."""


class ServedModel:
    """One recogniser, for any number of threads; raises ModelError where it does not work."""

    def __init__(self, name: str, recognizer: RecognizerLike, *, together: int = TOGETHER,
                 waiting: int = WAITING, runs: int | None = None) -> None:
        self.name, self.recognizer = name, recognizer
        self.since = time.time()
        self.batcher = Batcher(lambda pixels: self.recognizer.probabilities(pixels), together,
                               waiting, runs)
        self._test(recognizer)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its images."""
        return self.recognizer.image_width, self.recognizer.image_height

    def pixels_of(self, image: Image.Image) -> np.ndarray:
        """Return what `predict` takes of one image; raises ImageSizeError."""
        return self.recognizer.pixels_of(image)

    def predict(self, pixels: Sequence[np.ndarray],
                among: Sequence[str] | None = None) -> list[PredictionLike]:
        """Recognise images; raises CharsetError and OverloadError."""
        return [self.recognizer.read(probabilities, among)
                for probabilities in self.batcher(np.stack(pixels))]

    def test(self) -> None:
        """Raise ModelError where the model does not answer as models do."""
        self._test(self.recognizer)

    def renew(self) -> bool:
        """Take up other weights of the model's folder once they answer; tell whether there were.

        Raises CaptchaError where they cannot be used; the ones before them go on serving.
        """
        recognizer = self.recognizer.renewed()
        if recognizer is None:
            return False
        self._test(recognizer)
        self.recognizer, self.since = recognizer, time.time()
        return True

    def describe(self) -> dict[str, Any]:
        recognizer = self.recognizer
        return {"name": self.name, "width": recognizer.image_width,
                "height": recognizer.image_height, "characters": "".join(recognizer.char_set),
                **recognizer.describe(), "since": round(self.since, 3)}

    def _test(self, recognizer: RecognizerLike) -> None:
        noise = np.random.default_rng(0).integers(
            256, size=(recognizer.image_height, recognizer.image_width), dtype=np.uint8)
        pixels = recognizer.pixels_of(Image.fromarray(noise))
        sums = recognizer.probabilities(pixels[np.newaxis]).sum(axis=-1)
        if not (abs(sums - 1) < SUM_TOLERANCE).all():  # nor where they are no numbers
            raise ModelError(f"the model {self.name} gives no probabilities: train it again")


class Watch:
    """Look for better weights of all models, in a thread, until it is stopped."""

    def __init__(self, models: Iterable[ServedModel], pause_s: float = LOOK_S) -> None:
        self._models, self._pause_s = list(models), pause_s
        self._refused: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._pause_s):
            for model in self._models:
                self._look(model)

    def _look(self, model: ServedModel) -> None:
        try:
            if model.renew():
                log.info("model %s: new weights, %s", model.name, model.describe())
            self._refused.pop(model.name, None)
        except CaptchaError as error:
            if self._refused.get(model.name) != str(error):  # once for each reason
                log.error("model %s: new weights are refused, the old ones go on serving: %s",
                          model.name, error)
            self._refused[model.name] = str(error)
        except Exception:  # the thread must live on
            log.exception("model %s: looking for new weights failed", model.name)
