"""The graph that trains the starting weights: one network, read at several image sizes."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.lib import muon
from cnnlib.dataset.labels import PAD_ID
from cnnlib.files import replacing
from cnnlib.networks.architectures import (
    CLASSIFIER,
    FILTERS,
    attention_head,
    feature_size,
    projection,
    resnet_features,
)
from cnnlib.networks.decoding import class_ids, counted_positions
from cnnlib.networks.tensorflow_v1 import cond, tf
from cnnlib.networks.weights import Tensor, TrainableWeights, Weights
from cnnlib.training.augmentation import distort
from cnnlib.training.recipes import Augmentation

SYMBOLS = "+-*/=?#@&$%!×÷"
CHARACTERS = string.digits + string.ascii_letters + SYMBOLS
END = len(CHARACTERS)  # the end class
POSITIONS = 12
NETWORK = "resnet_attention"
GRID = 8, 24  # of the place embedding, scaled to each size of feature map
PAD_WEIGHT = 0.1  # of a position after the end
COLUMN_UNITS = 192  # of the head that reads columns
CTC_WEIGHT = 0.3
SMOOTHING = 0.02
DECAY = 0.05  # of kernels, decoupled
EMA = 0.9995
ADAM_BETA2 = 0.99
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

    def __init__(self, training: Tensor, size: Size) -> None:
        super().__init__(training, tf.constant(1.0))
        self._places = feature_size(size.height, size.width)

    def get(self, name: str, shape: list[int], initializer: Any) -> Tensor:
        if name != "attention/place":
            return super().get(name, shape, initializer)
        depth = shape[-1]
        grid = super().get(name, [*GRID, depth], initializer)
        scaled = tf.image.resize(grid[tf.newaxis], self._places)
        return tf.reshape(scaled, [-1, depth])


@dataclass(frozen=True)
class SizeGraph:
    """What is fed, run and read for images of one size."""

    X: Tensor  # uint8 [B, H, W, 3]
    Y: Tensor  # int32 [B, P]
    loss: Tensor
    ctc_loss: Tensor  # of columns, for each character
    logits: Tensor  # [B, P, C + 1]
    moving_averages: list[Tensor]


class PretrainingGraph:
    """One network at several image sizes, its optimiser, and averages of its weights."""

    def __init__(self, sizes: Sequence[Size]) -> None:
        self.graph = tf.Graph()
        with self.graph.as_default():
            self._training = tf.placeholder_with_default(False, [], "training")
            self._rate = tf.placeholder(tf.float32, [], "rate")
            self._sizes = []
            for size in sizes:
                with tf.variable_scope("", reuse=tf.AUTO_REUSE):
                    self._sizes.append(self._build(size))
            self._weights = tf.global_variables()
            optimizer = tf.train.AdamOptimizer(self._rate, beta2=ADAM_BETA2)
            averages = tf.train.ExponentialMovingAverage(EMA)
            with tf.variable_scope("", reuse=tf.AUTO_REUSE):
                self._steps = [self._step(built, optimizer, averages) for built in self._sizes]
            self._averaged = {v.op.name: averages.average(v) for v in self._weights}
            self._initializer = tf.global_variables_initializer()
            self._saver = tf.train.Saver(max_to_keep=2)
        self.graph.finalize()

    def _build(self, size: Size) -> SizeGraph:
        X = tf.placeholder(tf.uint8, [None, size.height, size.width, 3])
        Y = tf.placeholder(tf.int32, [None, POSITIONS])
        images = tf.image.per_image_standardization(tf.cast(X, tf.float32))
        limits = Augmentation()
        images = cond(self._training, lambda: distort(images, limits, 0.5), lambda: images)
        images = tf.ensure_shape(images, [None, size.height, size.width, 3])
        weights = SharedWeights(self._training, size)
        maps = resnet_features(images, FILTERS, weights)
        logits = attention_head(maps[-1], POSITIONS, END + 1, weights)
        columns = column_head(maps, END, weights)
        lengths = tf.reduce_sum(tf.cast(tf.not_equal(Y, PAD_ID), tf.float32), axis=1)  # [B]
        ctc_loss = tf.reduce_mean(ctc_losses(columns, Y) / lengths)
        loss = _loss(logits, Y, lengths)
        return SizeGraph(X, Y, loss, ctc_loss, logits, weights.moving_averages)

    def _step(self, built: SizeGraph, optimizer: Any, averages: Any) -> Tensor:
        pairs = optimizer.compute_gradients(built.loss + CTC_WEIGHT * built.ctc_loss)
        gradients, variables = zip(*pairs, strict=True)
        gradients, _ = tf.clip_by_global_norm(gradients, CLIP)
        clipped = list(zip(gradients, variables, strict=True))
        step = optimizer.apply_gradients([pair for pair in clipped if not muon.suits(pair[1])])
        muon_step = muon.apply_gradients([p for p in clipped if muon.suits(p[1])], self._rate)
        with tf.control_dependencies([step, muon_step]):
            decay = [
                variable.assign_sub(self._rate * DECAY * variable)
                for variable in tf.trainable_variables()
                if variable.op.name.endswith("kernel")
            ]
        with tf.control_dependencies([*decay, *built.moving_averages]):
            return averages.apply(self._weights)

    def train(
        self, session: Any, number: int, pixels: np.ndarray, char_ids: np.ndarray, rate: float
    ) -> tuple[float, float, float]:
        """Learn from images of the size of this number; return both losses and the share right."""
        built = self._sizes[number]
        feeds = {built.X: pixels, built.Y: char_ids, self._training: True, self._rate: rate}
        loss, ctc_loss, logits, _ = session.run(
            [built.loss, built.ctc_loss, built.logits, self._steps[number]], feeds
        )
        return float(loss), float(ctc_loss), right(logits, char_ids)

    def restore(self, session: Any, folder: Path) -> int:
        """Give the variables the values of the last save, if any; return its step."""
        session.run(self._initializer)
        last = tf.train.latest_checkpoint(str(folder))
        if not last:
            return 0
        with self.graph.as_default():
            self._saver.restore(session, last)
        return int(last.rsplit("-", 1)[1])

    def save(self, session: Any, folder: Path, step: int) -> None:
        """Save the state, and the averages of all weights as averaged.npz."""
        with self.graph.as_default():
            self._saver.save(session, str(folder / "state"), step, write_meta_graph=False)
        with replacing(folder / "averaged.npz") as temporary, open(temporary, "wb") as file:
            np.savez(file, step=np.int64(step), **session.run(self._averaged))


def column_head(maps: Sequence[Tensor], classes: int, weights: Weights) -> Tensor:
    """Read each column of feature maps, the largest first: [B, w, C + 1], with a blank at the end.

    For a CTC loss with the attention head's, in training alone (Kim, Hori and Watanabe 2017,
    "Joint CTC-attention"): it needs no position, and so learns letters before the attention does.
    """
    _, height, width, _ = maps[0].shape.as_list()
    same = [maps[0]] + [tf.image.resize(x, (height, width)) for x in maps[1:]]
    x = tf.concat(same, axis=-1)  # [B, h, w, D]
    x = tf.concat([tf.reduce_mean(x, axis=1), tf.reduce_max(x, axis=1)], axis=-1)  # [B, w, 2 * D]
    x = tf.nn.relu(projection(x, "columns/inner", COLUMN_UNITS, weights))  # [B, w, units]
    return projection(x, f"columns/{CLASSIFIER}", classes + 1, weights)  # [B, w, C + 1]


def ctc_losses(logits: Tensor, char_ids: Tensor) -> Tensor:
    """Return the CTC loss of each image, float32 [B] (Graves et al. 2006).

    `logits` are [B, w, C + 1], the blank at the end; `char_ids` int32 [B, L]. A text that needs
    more columns than there are has a loss of 0.
    """
    batch, columns = tf.shape(logits)[0], int(logits.shape[1])
    places = tf.where(tf.not_equal(char_ids, PAD_ID))  # [characters, 2]
    labels = tf.SparseTensor(
        places, tf.gather_nd(char_ids, places), tf.shape(char_ids, out_type=tf.int64)
    )
    return tf.nn.ctc_loss(
        labels,
        tf.cast(logits, tf.float32),
        tf.fill([batch], columns),
        ignore_longer_outputs_than_inputs=True,
        time_major=False,
    )


def _loss(logits: Tensor, char_ids: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean cross-entropy of the positions up to the end; the others count little."""
    class_ids = tf.where(tf.equal(char_ids, PAD_ID), END * tf.ones_like(char_ids), char_ids)
    targets = tf.one_hot(class_ids, END + 1) * (1 - SMOOTHING) + SMOOTHING / (END + 1)
    losses = tf.nn.softmax_cross_entropy_with_logits_v2(labels=targets, logits=logits)  # [B, P]
    counts = tf.range(POSITIONS, dtype=tf.float32) <= lengths[:, tf.newaxis]  # [B, P]
    weights = tf.where(counts, tf.ones_like(losses), PAD_WEIGHT * tf.ones_like(losses))
    return tf.reduce_sum(losses * weights) / tf.reduce_sum(weights)


def right(logits: np.ndarray, char_ids: np.ndarray) -> float:
    """Return the share of texts that are read as they are labelled, case ignored."""
    folded = np.array([*(CHARACTERS.index(c.lower()) for c in CHARACTERS), END])
    equal = folded[logits.argmax(axis=-1)] == folded[class_ids(char_ids, END + 1)]  # [B, P]
    return float((equal | ~counted_positions(char_ids)).all(axis=1).mean())
