"""Recognise images with a trained model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image

from cnnlib import encoding, reading
from cnnlib.architectures import ConstantWeights, Weights
from cnnlib.batching import cores
from cnnlib.config import AnyPath, SampleConfig, fold, parse_char_set
from cnnlib.errors import CharsetError, ModelError
from cnnlib.model_folder import ModelFolder, ModelInfo
from cnnlib.network import CNN, read_checkpoint, session_options

BATCH = 32  # images at a time in each thread: more is hardly faster, and takes 1 MB for each
AHEAD = 64  # batches


@dataclass(frozen=True)
class Prediction:
    """A text, the probability that all of it is right, and that of each character."""

    text: str
    confidence: float
    char_confidences: tuple[float, ...]


class Recognizer(CNN):
    """The best weights of a model folder as constants in a finalised graph.

    Safe to call from many threads. Raises ModelError where there is no model in the folder, or
    not one of this size, length and char_set, and of what else is not None.
    """

    def __init__(self, image_height: int, image_width: int, max_captcha: int,
                 char_set: str | Iterable[str], model_save_dir: AnyPath, *,
                 min_captcha: int | None = None, image_channels: int | None = None,
                 resize: str | None = None) -> None:
        folder = ModelFolder(model_save_dir)
        self.info, self._values = _best_weights(folder)
        self._tried = self.info.best  # the weights that were loaded last, or should have been
        wanted = {"min_captcha": min_captcha, "channels": image_channels, "resize": resize}
        folder.check_fits(
            self.info, "Where char_set has grown, run train_model.py: it keeps what was learned. "
            "Otherwise correct conf/, or name the model_save_dir of the right model",
            image_height=image_height, image_width=image_width, max_captcha=max_captcha,
            char_set=parse_char_set(char_set),
            **{name: value for name, value in wanted.items() if value is not None})
        super().__init__(image_height, image_width, max_captcha, char_set, model_save_dir,
                         network=self.info.network, min_captcha=self.info.min_captcha,
                         image_channels=self.info.channels, resize=self.info.resize)
        self.model()
        del self._values
        with self.graph.as_default():
            self._probabilities = tf.nn.softmax(self.logits / self.info.temperature)
        self.graph.finalize()
        options = session_options()
        # Each run in its caller's thread: one image takes 0.4 of the time that two threads need to
        # share it, and many take 0.7, a batch in each. The first session of a process decides.
        options.inter_op_parallelism_threads = -1
        options.intra_op_parallelism_threads = 1
        session = tf.Session(graph=self.graph, config=options)
        self._run = session.make_callable(self._probabilities, feed_list=[self.X])
        for count in (1, 2):  # what the first runs alone set up, for one image and for several
            self.predict_pixels(np.zeros((count, *self.format.shape), np.uint8))

    @classmethod
    def from_config(cls, config: SampleConfig) -> Recognizer:
        return cls(config.image_height, config.image_width, config.max_captcha, config.char_set,
                   config.model_save_dir, min_captcha=config.min_captcha,
                   image_channels=config.image_channels, resize=config.resize)

    def weights(self) -> Weights:
        return ConstantWeights(self._values)

    def renewed(self) -> Recognizer | None:
        """Load the folder's weights where they are others than these, once; else return None.

        Raises ModelError where they cannot be used.
        """
        best = self.folder.required().best
        if best == self._tried:
            return None
        self._tried = best
        return Recognizer(self.image_height, self.image_width, self.max_captcha, self.char_set,
                          self.folder.path, min_captcha=self.min_captcha,
                          image_channels=self.format.channels, resize=self.format.resize)

    def describe(self) -> dict[str, Any]:
        """Say what the model is, in words that JSON knows."""
        info = self.info
        return {"min_captcha": info.min_captcha, "max_captcha": info.max_captcha,
                "network": info.network, "step": info.step,
                "accuracy": info.scores["image_accuracy"], "origin": info.origin}

    def rec_image(self, img: Image.Image) -> str:
        """Return the text of an image; raises ImageSizeError for one of another size."""
        return self.predict([img])[0].text

    def predict(self, images: Iterable[Image.Image]) -> list[Prediction]:
        """Recognise images, in their order; raises ImageSizeError for one of another size."""
        pixels = [self.pixels_of(image) for image in images]
        return self.predict_pixels(np.stack(pixels)) if pixels else []

    def predict_pixels(self, pixels: np.ndarray) -> list[Prediction]:
        """Recognise pixels, uint8 [N, H, W] or [N, H, W, 3], in their order."""
        return [self.read(p) for part in self._in_batches(pixels) for p in part]

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Return the probability of each class at each position, float32 [N, P, C]; N is not 0."""
        return np.concatenate(list(self._in_batches(pixels)))

    def _in_batches(self, pixels: np.ndarray) -> Iterator[np.ndarray]:
        parts = [pixels[start:start + BATCH] for start in range(0, len(pixels), BATCH)]
        if len(parts) < 2:
            yield from map(self._run, parts)
            return
        with ThreadPoolExecutor(cores()) as threads:
            for start in range(0, len(parts), AHEAD):  # what nobody has taken yet is held in memory
                yield from threads.map(self._run, parts[start:start + AHEAD])

    def pixels_of(self, image: Image.Image) -> np.ndarray:
        """Return an image's pixels, of the shape of X; raises ImageSizeError for another size."""
        return self.format.pixels(image)

    def read(self, probabilities: np.ndarray, among: Sequence[str] | None = None) -> Prediction:
        """Read one image's probabilities, float [P, C].

        `among` says that no other characters occur, in any case where the model ignores it; raises
        CharsetError for those that the model does not know.
        """
        char_set: Sequence[str] = self.char_set
        if among is not None:
            if self.info.ignore_case:
                among = tuple(dict.fromkeys(map(fold, among)))
            probabilities, char_set = self._restricted(probabilities, among), among
        [char_ids], [confidences] = reading.most_probable(probabilities[np.newaxis], self.ends)
        text = encoding.ids_to_label(char_ids, char_set)
        shown = tuple(confidences[:len(text)].tolist())
        return Prediction(text, math.prod(shown), shown)

    def _restricted(self, probabilities: np.ndarray, among: Sequence[str]) -> np.ndarray:
        """Return the probabilities of these characters, where no others occur."""
        strangers = encoding.unknown_characters("".join(among), self.char_set)
        if strangers or not among:
            raise CharsetError(f"charset has {' '.join(map(repr, strangers)) or 'no characters'}: "
                               f"the model knows {''.join(self.char_set)}")
        classes = encoding.label_to_ids("".join(among), self.char_set)
        some = probabilities[:, classes + [-1] * self.ends]
        return some / np.maximum(some.sum(axis=-1, keepdims=True), np.finfo(some.dtype).tiny)


def _best_weights(folder: ModelFolder) -> tuple[ModelInfo, dict[str, np.ndarray]]:
    """Read model.json and the weights that it names."""
    while True:
        info = folder.required()
        try:
            return info, read_checkpoint(folder.full / info.best)
        except ModelError:
            if folder.required().best == info.best:  # else a training has saved in between
                raise
