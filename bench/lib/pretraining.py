"""The graph that trains the starting weights: one network, read at several image sizes."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnnlib.dataset.labels import PAD_ID
from cnnlib.files import replacing
from cnnlib.networks.architectures import NETWORKS, column_head, feature_size
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.weights import Tensor, TrainableWeights
from cnnlib.training.augmentation import distort
from cnnlib.training.graph import ctc_losses
from cnnlib.training.recipes import Augmentation

SYMBOLS = "+-*/=?#@&$%!×÷"
CHARACTERS = string.digits + string.ascii_letters + SYMBOLS
POSITIONS = 12
GRID = 8, 24  # of the place embedding, scaled to each size of feature map
PAD_WEIGHT = 0.1  # of a position after the end
CTC_WEIGHT = 0.3
SMOOTHING = 0.02
DECAY = 0.05  # of kernels, decoupled
EMA = 0.9995
CLIP = 2.0  # global norm of the gradient


@dataclass(frozen=True)
class Size:
    """A size of images, uint8 [H, W, 3], how many characters fit, and its share of the steps."""

    width: int
    height: int
    lengths: tuple[int, int]
    share: float


SIZES = (
    Size(100, 60, (1, 5), 0.3),
    Size(160, 60, (3, 8), 0.2),
    Size(128, 40, (2, 6), 0.2),
    Size(240, 48, (4, 10), 0.15),
    Size(320, 40, (4, 12), 0.15),
)


class SharedWeights(TrainableWeights):
    """Weights of one network for images of one size; the place embedding is scaled to it."""

    def __init__(self, training: Tensor, size: Size, network: str) -> None:
        super().__init__(training, tf.constant(1.0))
        self._places = feature_size(size.height, size.width)

    def get(self, name: str, shape: list[int], initializer: Any) -> Tensor:
        if name != "attention/place":
            return super().get(name, shape, initializer)
        depth = shape[-1]
        grid = super().get(name, [*GRID, depth], initializer)
        scaled = tf.image.resize(grid[tf.newaxis], self._places)
        return tf.reshape(scaled, [-1, depth])


@dataclass
class SizeGraph:
    """What is fed, run and read for images of one size."""

    X: Tensor
    Y: Tensor
    loss: Tensor
    ctc_loss: Tensor
    logits: Tensor
    train_step: Tensor = None


class PretrainingGraph:
    def __init__(self, network: str, sizes: Sequence[Size] = SIZES, seed: int = 0) -> None:
        self.graph = tf.Graph()
        with self.graph.as_default():
            tf.set_random_seed(seed)
            self.training = tf.placeholder_with_default(False, [], "training")
            self.rate = tf.placeholder(tf.float32, [], "rate")
            optimizer = tf.train.AdamOptimizer(self.rate, beta2=0.99)
            self.sizes = []
            weights_of = []
            for size in sizes:
                with tf.variable_scope("", reuse=tf.AUTO_REUSE):
                    built, weights = self._build(network, size)
                self.sizes.append(built)
                weights_of.append(weights)
            self.weight_variables = tf.global_variables()
            averages = tf.train.ExponentialMovingAverage(EMA)
            with tf.variable_scope("", reuse=tf.AUTO_REUSE):
                for built, weights in zip(self.sizes, weights_of, strict=True):
                    pairs = optimizer.compute_gradients(built.loss + CTC_WEIGHT * built.ctc_loss)
                    gradients, variables = zip(*pairs, strict=True)
                    gradients, _ = tf.clip_by_global_norm(gradients, CLIP)
                    step = optimizer.apply_gradients(zip(gradients, variables, strict=True))
                    with tf.control_dependencies([step]):
                        decay = [
                            v.assign_sub(self.rate * DECAY * v)
                            for v in tf.trainable_variables()
                            if v.op.name.endswith("kernel")
                        ]
                    with tf.control_dependencies([*decay, *weights.moving_averages]):
                        built.train_step = averages.apply(self.weight_variables)
            self.averaged = {v.op.name: averages.average(v) for v in self.weight_variables}
            self.initializer = tf.global_variables_initializer()
            self.saver = tf.train.Saver(max_to_keep=2)
        self.graph.finalize()

    def _build(self, network: str, size: Size) -> tuple[SizeGraph, SharedWeights]:
        X = tf.placeholder(tf.uint8, [None, size.height, size.width, 3])
        Y = tf.placeholder(tf.int32, [None, POSITIONS])
        images = tf.image.per_image_standardization(tf.cast(X, tf.float32))
        limits = Augmentation()
        images = tf.cond(self.training, lambda: distort(images, limits, 0.5), lambda: images)
        images = tf.ensure_shape(images, [None, size.height, size.width, 3])
        weights = SharedWeights(self.training, size, network)
        classes = len(CHARACTERS) + 1
        logits = NETWORKS[network](images, POSITIONS, classes, weights)
        columns = column_head(weights.feature_maps, len(CHARACTERS), weights)
        ended = tf.equal(Y, PAD_ID)
        ids = tf.where(ended, tf.fill(tf.shape(Y), classes - 1), Y)
        targets = tf.one_hot(ids, classes) * (1 - SMOOTHING) + SMOOTHING / classes
        losses = tf.nn.softmax_cross_entropy_with_logits_v2(labels=targets, logits=logits)
        lengths = tf.reduce_sum(tf.cast(~ended, tf.int32), axis=1, keepdims=True)
        counts = tf.range(POSITIONS)[tf.newaxis] <= lengths
        shares = tf.where(counts, tf.ones_like(losses), PAD_WEIGHT * tf.ones_like(losses))
        loss = tf.reduce_sum(losses * shares) / tf.reduce_sum(shares)
        ctc = tf.reduce_mean(ctc_losses(columns, Y) / tf.cast(lengths[:, 0], tf.float32))
        return SizeGraph(X, Y, loss, ctc, logits), weights


def right(logits: np.ndarray, char_ids: np.ndarray) -> float:
    """Return the share of texts that are read as they are labelled, case ignored."""
    best = logits.argmax(-1)
    end = len(CHARACTERS)
    folded = np.array([CHARACTERS.find(c.lower()) for c in CHARACTERS] + [end])
    wanted = np.where(char_ids == PAD_ID, end, char_ids)
    reached = np.cumsum(np.pad(wanted == end, ((0, 0), (1, 0)))[:, :-1], axis=1) > 0
    return float(((folded[best] == folded[wanted]) | reached).all(1).mean())


def save_averages(graph: PretrainingGraph, session: Any, file: Path, step: int) -> None:
    """Write the averages of all weights, and of how many steps, to an .npz file."""
    with replacing(file) as temporary, open(temporary, "wb") as out:
        np.savez(out, step=np.int64(step), **session.run(graph.averaged))
