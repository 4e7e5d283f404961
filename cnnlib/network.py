"""The base of training and recognition: placeholders and graph of one network.

Everything is TensorFlow in its 1.x style. Each object owns its graph, and a Recognizer its session,
so that several models live in one process; the graph is built once and then finalised, so that no
loop can add an operation to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from PIL import Image

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.dataset.images import to_gray_or_rgb
from cnnlib.dataset.labels import label_to_ids
from cnnlib.errors import ConfigError, SampleError
from cnnlib.networks.architectures import NETWORKS
from cnnlib.networks.metadata import ModelMetadata
from cnnlib.networks.model_folder import ModelFolder
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.test_time_augmentation import averaged, shifted
from cnnlib.networks.weights import ConstantWeights, Tensor, TrainableWeights, Weights
from cnnlib.paths import AnyPath

DEFAULT_NETWORK = "resnet_attention"
MASKED_LOGIT = -1e4  # its exponential is 0


class CNN:
    """A network for one kind of captcha, and its folder.

    `spec` says what the first four parameters do not: fewer characters, colour, resizing, case.
    Placeholders: X uint8 [B, H, W], or [B, H, W, 3] in colour; Y class ids, int32 [B, max_captcha],
    PAD_ID after the end of a label; keep_prob (default 1) and training (default False), so that
    inference feeds X alone. Raises ConfigError for a char_set or a network that cannot be used.
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
        network: str = DEFAULT_NETWORK,
    ) -> None:
        spec = spec or CaptchaSpec()
        self.spec = spec.with_fixed(image_height, image_width, max_captcha, char_set)
        self.image_height, self.image_width = image_height, image_width
        self.min_captcha, self.max_captcha = self.spec.min_captcha, max_captcha
        self.char_set = self.spec.char_set
        if network not in NETWORKS:
            raise ConfigError(f"network {network!r} is not one of {', '.join(NETWORKS)}")
        self.folder = ModelFolder(model_save_dir)
        self.network = network
        self.logits: Tensor = None  # [B, P, C], once model() has built it
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.X = tf.placeholder(tf.uint8, [None, *self.spec.shape], "X")
            self.Y = tf.placeholder(tf.int32, [None, max_captcha], "Y")
            self.keep_prob = tf.placeholder_with_default(1.0, [], "keep_prob")
            self.training = tf.placeholder_with_default(False, [], "training")

    def convert2gray(self, img: Image.Image | np.ndarray) -> np.ndarray:
        """Return gray pixels, uint8 [H, W], of an image or of an array [H, W], [H, W, 3 or 4]."""
        image = Image.fromarray(img) if isinstance(img, np.ndarray) else img
        return np.array(to_gray_or_rgb(image))

    def text2vec(self, text: str) -> np.ndarray:
        """Return one 1 for each position, float32 [max_captcha * classes].

        See docs/en/version-2.md, 1.4. Raises SampleError for a text of another length or with
        characters outside char_set.
        """
        spec = self.spec
        ids = label_to_ids(text, spec.char_set, None if spec.has_end_class else spec.max_captcha)
        if problem := spec.length_problem(text):
            raise SampleError(f"label {text!r} has {problem}")
        ids += [spec.classes - 1] * (spec.max_captcha - len(ids))
        one_hot = np.zeros((spec.max_captcha, spec.classes), np.float32)
        one_hot[range(len(ids)), ids] = 1
        return one_hot.reshape(-1)

    def model(self, weights: Weights | None = None, images: Tensor = None) -> Tensor:
        """Build the network, once, and return its logits, float32 [B, max_captcha * classes].

        By default its weights are new variables, and it reads `standardized()` images.
        """
        self.require_unbuilt()
        spec = self.spec
        with self.graph.as_default():
            if images is None:
                images = self.standardized()
            weights = weights or TrainableWeights(self.training, self.keep_prob)
            self.logits = self.logits_of(self.network, weights, images)  # [B, P, C]
            return tf.reshape(self.logits, [-1, spec.max_captcha * spec.classes])

    def inference_model(
        self, metadata: ModelMetadata, values: Mapping[str, np.ndarray], pixels: Tensor = None
    ) -> tuple[Tensor, Tensor]:
        """Build the network that recognises, once, from the values of its weights.

        Returns the standardised images, float32 [S * B, H, W, 1 or 3], each in S shifts where the
        model reads several, and the probabilities of the B images, float32 [B, P, C].
        """
        self.require_unbuilt()
        shifts = metadata.test_time_augmentation
        with self.graph.as_default():
            pixels = self.X if pixels is None else pixels
            images = self.standardized(shifted(pixels) if shifts else pixels)
            weights = ConstantWeights(values)
            self.logits = self.logits_of(self.network, weights, images, shifts=shifts)
            return images, tf.nn.softmax(self.logits / metadata.temperature)

    def logits_of(
        self, network: str, weights: Weights, images: Tensor, *, shifts: bool = False
    ) -> Tensor:
        """Build any network for this kind of captcha, and return its logits [B, P, C].

        `shifts` says that images are `shifted`: the logits are their means.
        """
        spec = self.spec
        with self.graph.as_default():
            logits = NETWORKS[network](images, spec.max_captcha, spec.classes, weights)
            if shifts:
                logits = averaged(logits)  # before the mask, which int8 could not hold with them
            if spec.has_end_class:
                logits += MASKED_LOGIT * ~self.possible_classes()
            return logits

    def require_unbuilt(self) -> None:
        """Raise RuntimeError where the network is built already."""
        if self.logits is not None:
            raise RuntimeError(
                "model() was called already: a graph is built once; its logits are "
                "in the attribute of this name"
            )

    def possible_classes(self) -> np.ndarray:
        """Return which classes a position can have, bool [P, C]: no text ends too early."""
        possible = np.ones((self.spec.max_captcha, self.spec.classes), bool)
        if self.spec.has_end_class:
            possible[: self.spec.min_captcha, -1] = False
        return possible

    def standardized(self, pixels: Tensor = None) -> Tensor:
        """Return pixels with mean 0 and deviation 1 in each image, float32 [B, H, W, 1 or 3].

        `pixels` are X, or others of its shape.
        """
        with self.graph.as_default():
            images = tf.cast(self.X if pixels is None else pixels, tf.float32)
            if self.spec.image_channels == 1:
                images = tf.expand_dims(images, -1)  # [B, H, W, 1]
            return tf.image.per_image_standardization(images)
