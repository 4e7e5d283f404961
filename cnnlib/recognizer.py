"""Recognise images with a trained model."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.config import SampleConfig
from cnnlib.explanation import Details, Explanation, explain
from cnnlib.network import CNN
from cnnlib.networks.checkpoint import read_best
from cnnlib.networks.explainer import Explainer
from cnnlib.networks.metadata import ModelMetadata
from cnnlib.networks.model_folder import ModelFolder
from cnnlib.networks.session import open_session, session_options
from cnnlib.paths import AnyPath
from cnnlib.reloads import Reloads
from cnnlib.text_reader import Prediction, TextReader, run_in_parts

__all__ = ["Prediction", "Recognizer"]


class Recognizer(TextReader, CNN):
    """The best weights of a model folder as constants in a finalised graph.

    Safe to call from many threads. `close` ends its session; so does leaving a `with` block. Raises
    ModelError where the folder holds no model, or one of another size, length or char_set; where
    `spec` is given, of another captcha in anything but case. `float32`: compute with float32 where
    the processor multiplies bfloat16 too, which is quicker. Without `test_time_augmentation` images
    are read once, also where the training found that several shifts help.
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
        float32: bool = False,
        test_time_augmentation: bool = True,
    ) -> None:
        folder = ModelFolder(model_save_dir)
        self.info, values = read_best(folder)
        self._reloads = Reloads(self.info.best)
        self._augments = test_time_augmentation
        self._metadata = ModelMetadata.of(self.info, test_time_augmentation=test_time_augmentation)
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
        images, probabilities = self.inference_model(self._metadata, values)
        self.graph.finalize()
        options = session_options(bfloat16=not float32)
        # Each run in its caller's thread: one image takes 0.4 of the time that two threads need to
        # share it, and many take 0.7, a batch in each. The first session of a process decides.
        options.inter_op_parallelism_threads = -1
        options.intra_op_parallelism_threads = 1
        self._session = open_session(self.graph, options)
        self._call = self._session.make_callable(probabilities, feed_list=[self.X])
        self._explainer: Explainer | None = None  # made when it is asked for
        self._explained = images, self.logits, probabilities, options
        self._is_closed, self._lock = False, threading.Lock()  # of these two
        for count in (1, 2):  # the first runs set up what later ones need, for one and for several
            self.predict_pixels(np.zeros((count, *self.spec.shape), np.uint8))

    def _run(self, pixels: np.ndarray) -> np.ndarray:
        probabilities: np.ndarray = self._call(pixels)
        return probabilities

    def explain(self, image: Image.Image) -> Explanation:
        """Recognise an image, and say how sure each character is and where the network looked.

        Raises ImageSizeError for one of another size.
        """
        details = self.explain_pixels(self.pixels_of(image)[np.newaxis])
        [probabilities], [attention] = details.probabilities, details.attention
        return explain(self.read(probabilities), probabilities, attention, self.char_set)

    def explain_pixels(self, pixels: np.ndarray) -> Details:
        """Return what is behind the answers to pixels, uint8 [N, H, W] or [N, H, W, 3]; N > 0.

        The maps of attention are means over those of a position. In the network `cnn5`, which has
        none, they are the saliency of the pixels: how much the likeliest character depends on them.
        """
        parts = run_in_parts(self._open_explainer().details, pixels)
        return Details(*map(np.concatenate, zip(*parts, strict=True)))

    def saliency_of(self, pixels: np.ndarray) -> np.ndarray:
        """Return maps of how much the likeliest character of each position depends on the pixels.

        As `Details.attention`, but on a finer grid, a place for 4 x 4 pixels: float32 [N, P, h, w].
        It says better where a character is (`character_boxes`), and takes ten times as long.
        """
        return np.concatenate(list(run_in_parts(self._open_explainer().saliency, pixels)))

    def _open_explainer(self) -> Explainer:
        with self._lock:
            if self._is_closed:
                raise RuntimeError("this Recognizer is closed: load the model again")
            if self._explainer is None:
                self._explainer = Explainer(self.X, *self._explained)
            return self._explainer

    @classmethod
    def from_spec(
        cls,
        spec: CaptchaSpec,
        model_save_dir: AnyPath,
        *,
        float32: bool = False,
        test_time_augmentation: bool = True,
    ) -> Recognizer:
        return cls(
            spec.image_height,
            spec.image_width,
            spec.max_captcha,
            spec.char_set,
            model_save_dir,
            spec=spec,
            float32=float32,
            test_time_augmentation=test_time_augmentation,
        )

    @classmethod
    def from_config(cls, config: SampleConfig) -> Recognizer:
        return cls.from_spec(
            config.spec,
            config.model_save_dir,
            test_time_augmentation=config.test_time_augmentation,
        )

    def close(self) -> None:
        """End the session and free its memory; to be called when no thread is recognising."""
        self._session.close()
        with self._lock:
            self._is_closed = True
            if self._explainer is not None:
                self._explainer.close()

    def load_newer(self) -> Recognizer | None:
        """Load the folder's weights where they are others than these; else return None.

        Raises ModelError where they cannot be used, and tries again after a pause (`Reloads`).
        """
        best = self.folder.read_required().best
        return self._reloads.load(
            best,
            lambda: Recognizer.from_spec(
                self.spec, self.folder.path, test_time_augmentation=self._augments
            ),
        )

    def describe(self) -> dict[str, Any]:
        """Return what the model is, as JSON values."""
        return self._metadata.describe("tensorflow")
