"""Read images as texts, whatever runs the network."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image

from cnnlib.captcha_spec import CaptchaSpec, fold_case
from cnnlib.cores import usable_cores
from cnnlib.dataset.images import to_pixels
from cnnlib.dataset.labels import ids_to_label, label_to_ids, unknown_characters
from cnnlib.errors import CharsetError
from cnnlib.networks.decoding import decode

# Of the network, in each thread: more is hardly faster, and takes 1 MB an image, three times that
# with test-time augmentation.
IMAGES_PER_RUN = 32
RUNS_AHEAD = 64
NAMED = 100  # characters, in a message

Result = TypeVar("Result")


@dataclass(frozen=True)
class Prediction:
    """A text, the probability that all of it is right, and that of each character."""

    text: str
    confidence: float
    char_confidences: tuple[float, ...]


Reader = TypeVar("Reader", bound="TextReader")


class TextReader(ABC):
    """What all recognisers share; a network gives `_run`. Safe to call from many threads.

    Leaving a `with` block closes it.
    """

    spec: CaptchaSpec
    char_set: tuple[str, ...]

    @abstractmethod
    def _run(self, pixels: np.ndarray) -> np.ndarray:
        """Return probabilities, float32 [n, P, C], of a few images, uint8 [n, H, W(, 3)]."""

    @abstractmethod
    def close(self) -> None:
        """Free the network; to be called when no thread is recognising."""

    def __enter__(self: Reader) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rec_image(self, img: Image.Image) -> str:
        """Return the text of an image; raises ImageSizeError for one of another size."""
        return self.predict([img])[0].text

    def predict(self, images: Iterable[Image.Image]) -> list[Prediction]:
        """Recognise images, in their order; raises ImageSizeError for one of another size."""
        pixels = [self.pixels_of(image) for image in images]
        return self.predict_pixels(np.stack(pixels)) if pixels else []

    def predict_pixels(self, pixels: np.ndarray) -> list[Prediction]:
        """Recognise pixels, uint8 [N, H, W] or [N, H, W, 3], in their order."""
        return [self.read(p) for part in run_in_parts(self._run, pixels) for p in part]

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Return the probability of each class at each position, float32 [N, P, C]; N is not 0."""
        return np.concatenate(list(run_in_parts(self._run, pixels)))

    def pixels_of(self, image: Image.Image) -> np.ndarray:
        """Return an image's pixels, of the shape of X; raises ImageSizeError for another size."""
        return to_pixels(image, self.spec)

    def read(self, probabilities: np.ndarray, among: Sequence[str] | None = None) -> Prediction:
        """Read one image's probabilities, float [P, C].

        `among` says that no other characters occur, in any case where the model ignores it; raises
        CharsetError for those that the model does not know.
        """
        char_set: Sequence[str] = self.char_set
        if among is not None:
            if self.spec.ignore_case:
                among = tuple(dict.fromkeys(map(fold_case, among)))
            probabilities, char_set = self._restrict(probabilities, among), among
        [char_ids], [confidences] = decode(probabilities[np.newaxis], self.spec.has_end_class)
        text = ids_to_label(char_ids, char_set)
        char_confidences = tuple(confidences[: len(text)].tolist())
        return Prediction(text, math.prod(char_confidences), char_confidences)

    def _restrict(self, probabilities: np.ndarray, among: Sequence[str]) -> np.ndarray:
        """Return the probabilities of these characters, where no others occur."""
        unknown = unknown_characters("".join(among), self.char_set)
        if unknown or not among:
            raise CharsetError(
                f"charset has {' '.join(map(repr, unknown[:NAMED])) or 'no characters'}: "
                f"the model knows {''.join(self.char_set)[:NAMED]}"
            )
        classes = label_to_ids("".join(among), self.char_set)
        some = probabilities[:, classes + [-1] * self.spec.has_end_class]  # [P, classes of among]
        return some / np.maximum(some.sum(axis=-1, keepdims=True), np.finfo(some.dtype).tiny)


def run_in_parts(run: Callable[[np.ndarray], Result], pixels: np.ndarray) -> Iterator[Result]:
    """Yield what `run` gives of each IMAGES_PER_RUN images, in their order, on all cores."""
    starts = range(0, len(pixels), IMAGES_PER_RUN)
    parts = [pixels[start : start + IMAGES_PER_RUN] for start in starts]
    if len(parts) < 2:
        yield from map(run, parts)
        return
    with ThreadPoolExecutor(usable_cores()) as threads:
        for start in range(0, len(parts), RUNS_AHEAD):  # results not taken yet are in memory
            yield from threads.map(run, parts[start : start + RUNS_AHEAD])
