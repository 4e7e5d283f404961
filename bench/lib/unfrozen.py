"""A trained network as it was trained, to compare the recogniser with."""

from __future__ import annotations

import numpy as np
from PIL import Image

from cnnlib.dataset.images import to_pixels
from cnnlib.dataset.labels import ids_to_label
from cnnlib.network import CNN
from cnnlib.networks.checkpoint import readable
from cnnlib.networks.session import session_options
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.recognizer import Recognizer


class Unfrozen(CNN):
    """The network of a recogniser with variables for constants, and batch norm not folded."""

    def __init__(self, recognizer: Recognizer) -> None:
        spec, folder = recognizer.spec, recognizer.folder
        super().__init__(
            spec.image_height,
            spec.image_width,
            spec.max_captcha,
            spec.char_set,
            folder.path,
            spec=spec,
            network=recognizer.network,
        )
        self.model()
        with self.graph.as_default():
            self._answers = tf.argmax(self.logits, axis=-1)  # [B, P]
            self._session = tf.Session(config=session_options())
            with readable(folder.full / recognizer.info.best) as name:
                tf.train.Saver().restore(self._session, name)

    def rec_image(self, image: Image.Image) -> str:
        pixels = to_pixels(image, self.spec)
        [ids] = self._session.run(self._answers, {self.X: pixels[np.newaxis]})
        return ids_to_label(ids, self.char_set)
