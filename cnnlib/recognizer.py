"""Recognise images with a trained model."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from cnnlib.captcha_spec import CaptchaSpec, fold_case
from cnnlib.config import SampleConfig
from cnnlib.cores import usable_cores
from cnnlib.dataset.images import to_pixels
from cnnlib.dataset.labels import ids_to_label, label_to_ids, unknown_characters
from cnnlib.errors import CharsetError, ModelError
from cnnlib.network import CNN
from cnnlib.networks.checkpoint import read_checkpoint
from cnnlib.networks.decoding import decode
from cnnlib.networks.model_folder import ModelFolder, ModelInfo
from cnnlib.networks.session import open_session, session_options
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.weights import ConstantWeights
from cnnlib.paths import AnyPath

# Of the network, in each thread: more is hardly faster, and takes 1 MB an image.
IMAGES_PER_RUN = 32
RUNS_AHEAD = 64
NAMED = 100  # characters, in a message
# Between two attempts to load the same newer weights; doubled after each.
RETRY_S, MAX_RETRY_S = 2.0, 60.0


@dataclass(frozen=True)
class Prediction:
    """A text, the probability that all of it is right, and that of each character."""

    text: str
    confidence: float
    char_confidences: tuple[float, ...]


class Recognizer(CNN):
    """The best weights of a model folder as constants in a finalised graph.

    Safe to call from many threads. `close` ends its session; so does leaving a `with` block. Raises
    ModelError where the folder holds no model, or one of another size, length or char_set; where
    `spec` is given, of another captcha in anything but case.
    """

    def __init__(
        self,
        image_height: int,
        image_width: int,
        max_captcha: int,
        char_set: str | Iterable[str],
        model_save_dir: AnyPath,
        *,
        spec: CaptchaSpec | None = None,
    ) -> None:
        folder = ModelFolder(model_save_dir)
        self.info, values = _read_best(folder)
        self._attempted = self.info.best  # the weights that were last loaded, or could not be
        self._retry_at_s = self._retry_s = 0.0
        wanted = spec or self.info.spec
        wanted = wanted.with_fixed(image_height, image_width, max_captcha, char_set)
        folder.check_fits(
            self.info,
            wanted,
            self.info.network,
            "Where char_set has grown, run train_model.py: it keeps what was learned. "
            "Otherwise correct conf/, or name the model_save_dir of the right model",
        )
        super().__init__(
            image_height,
            image_width,
            max_captcha,
            char_set,
            model_save_dir,
            spec=self.info.spec,
            network=self.info.network,
        )
        self.model(ConstantWeights(values))
        with self.graph.as_default():
            probabilities = tf.nn.softmax(self.logits / self.info.temperature)  # [B, P, C]
        self.graph.finalize()
        options = session_options()
        # Each run in its caller's thread: one image takes 0.4 of the time that two threads need to
        # share it, and many take 0.7, a batch in each. The first session of a process decides.
        options.inter_op_parallelism_threads = -1
        options.intra_op_parallelism_threads = 1
        self._session = open_session(self.graph, options)
        self._run = self._session.make_callable(probabilities, feed_list=[self.X])
        for count in (1, 2):  # the first runs set up what later ones need, for one and for several
            self.predict_pixels(np.zeros((count, *self.spec.shape), np.uint8))

    @classmethod
    def from_spec(cls, spec: CaptchaSpec, model_save_dir: AnyPath) -> Recognizer:
        return cls(
            spec.image_height,
            spec.image_width,
            spec.max_captcha,
            spec.char_set,
            model_save_dir,
            spec=spec,
        )

    @classmethod
    def from_config(cls, config: SampleConfig) -> Recognizer:
        return cls.from_spec(config.spec, config.model_save_dir)

    def __enter__(self) -> Recognizer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session and free its memory; to be called when no thread is recognising."""
        self._session.close()

    def load_newer(self) -> Recognizer | None:
        """Load the folder's weights where they are others than these; else return None.

        Raises ModelError where they cannot be used. The same weights are loaded again only after a
        pause, in which this returns None: what failed may pass, such as a file that is half copied.
        """
        best = self.folder.read_required().best
        if best == self.info.best:
            return None
        if best != self._attempted:
            self._attempted, self._retry_s = best, RETRY_S
        elif time.monotonic() < self._retry_at_s:
            return None
        try:
            return Recognizer.from_spec(self.spec, self.folder.path)
        finally:
            self._retry_at_s = time.monotonic() + self._retry_s
            self._retry_s = min(2 * self._retry_s, MAX_RETRY_S)

    def describe(self) -> dict[str, Any]:
        """Return what the model is, as JSON values."""
        info = self.info
        return {
            "min_captcha": info.spec.min_captcha,
            "max_captcha": info.spec.max_captcha,
            "network": info.network,
            "step": info.step,
            "accuracy": info.scores["image_accuracy"],
            "origin": info.origin,
        }

    def rec_image(self, img: Image.Image) -> str:
        """Return the text of an image; raises ImageSizeError for one of another size."""
        return self.predict([img])[0].text

    def predict(self, images: Iterable[Image.Image]) -> list[Prediction]:
        """Recognise images, in their order; raises ImageSizeError for one of another size."""
        pixels = [self.pixels_of(image) for image in images]
        return self.predict_pixels(np.stack(pixels)) if pixels else []

    def predict_pixels(self, pixels: np.ndarray) -> list[Prediction]:
        """Recognise pixels, uint8 [N, H, W] or [N, H, W, 3], in their order."""
        return [self.read(p) for part in self._run_in_parts(pixels) for p in part]

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Return the probability of each class at each position, float32 [N, P, C]; N is not 0."""
        return np.concatenate(list(self._run_in_parts(pixels)))

    def _run_in_parts(self, pixels: np.ndarray) -> Iterator[np.ndarray]:
        starts = range(0, len(pixels), IMAGES_PER_RUN)
        parts = [pixels[start : start + IMAGES_PER_RUN] for start in starts]
        if len(parts) < 2:
            yield from map(self._run, parts)
            return
        with ThreadPoolExecutor(usable_cores()) as threads:
            for start in range(0, len(parts), RUNS_AHEAD):  # results not taken yet are in memory
                yield from threads.map(self._run, parts[start : start + RUNS_AHEAD])

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


def _read_best(folder: ModelFolder) -> tuple[ModelInfo, dict[str, np.ndarray]]:
    """Read model.json and the weights that it names."""
    while True:
        info = folder.read_required()
        try:
            return info, read_checkpoint(folder.full / info.best)
        except ModelError:
            if folder.read_required().best == info.best:  # else a training has saved in between
                raise
