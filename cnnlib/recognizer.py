"""Recognise images with a trained model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image

from cnnlib import encoding
from cnnlib.architectures import ConstantWeights, Weights
from cnnlib.config import AnyPath, SampleConfig, parse_char_set
from cnnlib.errors import ModelError
from cnnlib.model_folder import ModelFolder, ModelInfo
from cnnlib.network import CNN, read_checkpoint, session_options

BATCH = 64  # images at a time: more is hardly faster, and takes 1 MB for each


@dataclass(frozen=True)
class Prediction:
    """A text, the probability that all of it is right, and that of each character."""

    text: str
    confidence: float
    char_confidences: tuple[float, ...]


class Recognizer(CNN):
    """The best weights of a model folder as constants in a finalised graph.

    Safe to call from many threads. Raises ModelError where there is no model in the folder, or
    not one of this size, length and char_set.
    """

    def __init__(self, image_height: int, image_width: int, max_captcha: int,
                 char_set: str | Iterable[str], model_save_dir: AnyPath) -> None:
        folder = ModelFolder(model_save_dir)
        self.info, self._values = _best_weights(folder)
        folder.check_fits(
            self.info, "Where char_set has grown, run train_model.py: it keeps what was learned. "
            "Otherwise correct conf/, or name the model_save_dir of the right model",
            image_height=image_height, image_width=image_width, max_captcha=max_captcha,
            char_set=parse_char_set(char_set))
        super().__init__(image_height, image_width, max_captcha, char_set, model_save_dir,
                         network=self.info.network)
        self.model()
        del self._values
        with self.graph.as_default():
            self._probabilities = tf.nn.softmax(self.logits / self.info.temperature)
        self.graph.finalize()
        self._session = tf.Session(graph=self.graph, config=session_options())
        for count in (1, 2):  # what the first runs alone set up, for one image and for several
            self.predict_pixels(np.zeros((count, image_height, image_width), np.uint8))

    @classmethod
    def from_config(cls, config: SampleConfig) -> Recognizer:
        return cls(config.image_height, config.image_width, config.max_captcha, config.char_set,
                   config.model_save_dir)

    def weights(self) -> Weights:
        return ConstantWeights(self._values)

    def rec_image(self, img: Image.Image) -> str:
        """Return the text of an image; raises ImageSizeError for one of another size."""
        return self.predict([img])[0].text

    def predict(self, images: Iterable[Image.Image]) -> list[Prediction]:
        """Recognise images, in their order; raises ImageSizeError for one of another size."""
        pixels = [encoding.sized_pixels(image, self.image_width, self.image_height)
                  for image in images]
        return self.predict_pixels(np.stack(pixels)) if pixels else []

    def predict_pixels(self, pixels: np.ndarray) -> list[Prediction]:
        """Recognise gray pixels, uint8 [N, H, W], in their order."""
        return [self._prediction(p) for part in self._in_batches(pixels) for p in part]

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Return the probability of each class at each position, float32 [N, P, C]; N is not 0."""
        return np.concatenate(list(self._in_batches(pixels)))

    def _in_batches(self, pixels: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(pixels), BATCH):
            yield self._session.run(self._probabilities, {self.X: pixels[start:start + BATCH]})

    def _prediction(self, probabilities: np.ndarray) -> Prediction:
        """Read one image's probabilities, float32 [P, C]."""
        ids = probabilities.argmax(axis=-1)
        confidences: Sequence[float] = probabilities.max(axis=-1).tolist()
        return Prediction(encoding.ids_to_label(ids, self.char_set),
                          float(np.prod(confidences)), tuple(confidences))


def _best_weights(folder: ModelFolder) -> tuple[ModelInfo, dict[str, np.ndarray]]:
    """Read model.json and the weights that it names."""
    while True:
        info = folder.required()
        try:
            return info, read_checkpoint(folder.full / info.best)
        except ModelError:
            if folder.required().best == info.best:  # else a training has saved in between
                raise
