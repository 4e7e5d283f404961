"""Recognise in this process what clients would ask the API about."""

from __future__ import annotations

import time

from cnnlib.arithmetic import result_of
from cnnlib.client.api_client import Answer
from cnnlib.config import SampleConfig
from cnnlib.dataset.images import opened
from cnnlib.errors import ApiError, SampleError
from cnnlib.runtimes import load_recognizer


class InProcess:
    """A recogniser with the interface of `Client`, for any number of threads."""

    def __init__(self, config: SampleConfig) -> None:
        self._recognizer, self._arithmetic = load_recognizer(config), config.arithmetic

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._recognizer.close()

    def recognize(self, image: bytes, name: str = "captcha", *, raw: bool = False) -> Answer:
        """Recognise an image; raises ApiError where it cannot be used. `raw` changes nothing."""
        began_s = time.perf_counter()
        try:
            with opened(image) as picture:
                [prediction] = self._recognizer.predict([picture])
        except SampleError as error:
            raise ApiError(f"{name} is refused: {error}") from error
        ms = (time.perf_counter() - began_s) * 1000
        result = result_of(prediction.text) if self._arithmetic else None
        return Answer(prediction.text, prediction.confidence, ms, ms, result)
