"""The base of training and recognition: placeholders, graph, session, saving and restoring.

Everything is TensorFlow in its 1.x style. Each object owns its graph and its session, so that
several models live in one process; the graph is built once and then finalised, so that no loop can
add an operation to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image

from cnnlib import encoding
from cnnlib.architectures import CLASSIFIER, NETWORKS, TrainableWeights, Weights
from cnnlib.config import AnyPath, parse_char_set
from cnnlib.encoding import InputFormat
from cnnlib.errors import ModelError, SampleError
from cnnlib.model_folder import ModelFolder

Tensor = Any  # TensorFlow ships no type information

DEFAULT_NETWORK = "resnet_attention"
NEVER = -1e4  # as a logit; its exponential is 0


class CNN:
    """A network for captchas of one size, of some lengths and one char_set, and its folder.

    Placeholders: X uint8 [B, H, W], or [B, H, W, 3] where image_channels is 3; Y class ids, int32
    [B, max_captcha], NO_CHARACTER after the end of a label; keep_prob (default 1) and training
    (default False), so that inference feeds X alone. min_captcha: max_captcha where it is None;
    `resize` as in InputFormat.
    """

    def __init__(self, image_height: int, image_width: int, max_captcha: int,
                 char_set: str | Iterable[str], model_save_dir: AnyPath, *,
                 network: str = DEFAULT_NETWORK, min_captcha: int | None = None,
                 image_channels: int = 1, resize: str = "") -> None:
        self.image_height, self.image_width = image_height, image_width
        self.max_captcha = max_captcha
        self.min_captcha = min_captcha or max_captcha
        self.format = InputFormat(image_width, image_height, image_channels, resize)
        self.char_set = parse_char_set(char_set)
        self.folder = ModelFolder(model_save_dir)
        self.network = network
        self.logits: Tensor = None  # [B, P, C], once model() has built it
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.X = tf.placeholder(tf.uint8, [None, *self.format.shape], "X")
            self.Y = tf.placeholder(tf.int32, [None, max_captcha], "Y")
            self.keep_prob = tf.placeholder_with_default(1.0, [], "keep_prob")
            self.training = tf.placeholder_with_default(False, [], "training")

    @property
    def ends(self) -> bool:
        """Whether lengths vary, and the last class says that the text has ended."""
        return self.min_captcha < self.max_captcha

    @property
    def classes(self) -> int:
        return len(self.char_set) + self.ends

    def convert2gray(self, img: Image.Image | np.ndarray) -> np.ndarray:
        """Return gray pixels, uint8 [H, W], of an image or of an array [H, W], [H, W, 3 or 4]."""
        image = Image.fromarray(img) if isinstance(img, np.ndarray) else img
        return np.array(encoding.flat(image))

    def text2vec(self, text: str) -> np.ndarray:
        """Return one 1 for each position, float32 [max_captcha * classes] (specification 1.4).

        Raises SampleError for a text of another length or with characters outside char_set.
        """
        ids = encoding.label_to_ids(text, self.char_set, None if self.ends else self.max_captcha)
        if not self.min_captcha <= len(text) <= self.max_captcha:
            raise SampleError(f"label {text!r} has {len(text)} characters, expected "
                              f"{self.min_captcha} to {self.max_captcha}")
        ids += [self.classes - 1] * (self.max_captcha - len(ids))
        return np.eye(self.classes, dtype=np.float32)[ids].reshape(-1)

    def model(self) -> Tensor:
        """Build the network, once, and return its logits, float32 [B, max_captcha * classes]."""
        if self.logits is not None:
            raise RuntimeError("model() was called already: a graph is built once; its logits are "
                               "in the attribute of this name")
        with self.graph.as_default():
            build = NETWORKS[self.network]
            logits = build(self.images(), self.max_captcha, self.classes, self.weights())
            self.logits = logits + NEVER * ~self.possible() if self.ends else logits
            return tf.reshape(self.logits, [-1, self.max_captcha * self.classes])

    def possible(self) -> np.ndarray:
        """Return which classes a position can have, bool [P, C]: no text ends too early."""
        possible = np.ones((self.max_captcha, self.classes), bool)
        if self.ends:
            possible[:self.min_captcha, -1] = False
        return possible

    def images(self) -> Tensor:
        """Return X with mean 0 and standard deviation 1 in each image, float32 [B, H, W, 1 or 3].
        """
        images = tf.cast(self.X, tf.float32)
        return tf.image.per_image_standardization(
            images if self.format.channels == 3 else images[..., tf.newaxis])

    def weights(self) -> Weights:
        return TrainableWeights(self.training, self.keep_prob)


def session_options(enable_gpu: bool = False) -> Any:
    """Return the options of a session, tf.ConfigProto."""
    options = tf.ConfigProto()
    options.gpu_options.allow_growth = True  # otherwise it takes the whole card's memory at once
    if not enable_gpu:
        options.device_count["GPU"] = 0
    if has_bfloat16():  # training steps 1.4, batched inference 1.8 times as fast; elsewhere slower
        rewrites = options.graph_options.rewrite_options
        rewrites.auto_mixed_precision_onednn_bfloat16 = type(rewrites).ON
    return options


def has_bfloat16() -> bool:
    """Tell whether the processor multiplies bfloat16 in hardware; known on Linux alone."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"\b(avx512_bf16|amx_bf16)\b", flags) is not None


def gpu_names() -> list[str]:
    return [device.name for device in tf.config.list_physical_devices("GPU")]


def read_checkpoint(prefix: Path) -> dict[str, np.ndarray]:
    """Return all values of a checkpoint by the names of their variables; raises ModelError."""
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        raise ModelError(f"{prefix} is missing or damaged: train again with --fresh, or restore "
                         f"the folder from a copy ({str(error).splitlines()[0]})") from error


def assign(session: Any, values: Iterable[tuple[Any, Any]]) -> None:
    """Give variables their values, pairs of both; a closed graph gets no new operation."""
    feeds = {variable.initializer: (variable.initializer.inputs[1], value)
             for variable, value in values}
    session.run(list(feeds), dict(feeds.values()))


def grow_classes(values: Mapping[str, np.ndarray], old: tuple[str, ...], new: tuple[str, ...],
                 initial: Mapping[str, np.ndarray], ends: bool) -> dict[str, np.ndarray]:
    """Return the weights for a char_set that has grown: what was learned of the old stays.

    The last axis of the classifier's weights counts the classes, at each position where it has
    several; new classes start from `initial`. `ends`: the last class is that of the end.
    """
    grown = dict(values)
    places = [new.index(character) for character in old] + [len(new)] * ends
    for name in values:
        if name.startswith(CLASSIFIER):
            value = initial[name].copy()
            by_class = value.reshape(*value.shape[:-1], -1, len(new) + ends)
            by_class[..., places] = values[name].reshape(*by_class.shape[:-1], len(places))
            grown[name] = value
    return grown
