"""What is behind the answers of a network: where it looks, and what its classifier reads."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnlib.networks.architectures import ATTENTION, GLIMPSES, READ, feature_size
from cnnlib.networks.saliency import saliency
from cnnlib.networks.session import open_session
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.weights import Tensor

SALIENCY_PLACE = 4  # pixels of a side that have one value in a map of saliency


class Explainer:
    """A copy of a recogniser's graph with more outputs, in a session of its own.

    So recognition stays as quick, and loading too: gradients take longer to build than the rest.
    The tensors are X, the standardised images, in all shifts, logits [B, P, C] and probabilities;
    `options` are those of a session. Safe to call from many threads; takes few images at a time.
    """

    def __init__(
        self, X: Tensor, images: Tensor, logits: Tensor, probabilities: Tensor, options: Any
    ) -> None:
        names = [tensor.name for tensor in (X, images, logits, probabilities)]
        graph = tf.Graph()
        with graph.as_default():
            X, images, logits, probabilities = tf.import_graph_def(
                X.graph.as_graph_def(), return_elements=names, name=""
            )
            pixels = _saliency(logits, images)
            attends = ATTENTION in {operation.name for operation in graph.get_operations()}
            height, width = X.shape.as_list()[1:3]
            positions = int(logits.shape[1])
            attention = _attention(graph, positions, height, width) if attends else pixels
            read = graph.get_tensor_by_name(f"{READ}:0")  # [B * P, F] or [B, F]
            if not attends:
                read = tf.repeat(read, positions, axis=0)  # [B * P, F]
            glimpses = tf.reshape(read, [-1, positions, int(read.shape[-1])])  # [B, P, F]
            # Of the images as they are, which are first of their shifts.
            count = tf.shape(X)[0]
            attention, pixels, glimpses = attention[:count], pixels[:count], glimpses[:count]
        graph.finalize()
        self._session = open_session(graph, options)
        self._details = self._session.make_callable([probabilities, attention, glimpses], [X])
        self._saliency = self._session.make_callable(pixels, [X])

    def details(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the parts of `Details` of a few images."""
        probabilities, attention, glimpses = self._details(pixels)
        return probabilities, _of_sum_one(attention), glimpses

    def saliency(self, pixels: np.ndarray) -> np.ndarray:
        """Return maps of what each position depends on, float32 [n, P, h, w], each of sum 1."""
        return _of_sum_one(self._saliency(pixels))

    def close(self) -> None:
        self._session.close()


def _attention(graph: tf.Graph, positions: int, height: int, width: int) -> Tensor:
    """Return the mean of the maps of each position, float32 [B, P, h, w]."""
    maps = graph.get_tensor_by_name(f"{ATTENTION}:0")  # [B, places, P * GLIMPSES]
    maps = tf.reshape(maps, [-1, *feature_size(height, width), positions, GLIMPSES])
    return tf.transpose(tf.reduce_mean(maps, axis=-1), [0, 3, 1, 2])  # of [B, h, w, P]


def _saliency(logits: Tensor, images: Tensor) -> Tensor:
    """Return how the likeliest class of each position depends on the pixels, [B, P, h, w]."""
    pixels = saliency(tf.reduce_max(logits, axis=-1), images, axis=[3])  # [B, P, H, W]
    pixels = tf.transpose(pixels, [0, 2, 3, 1])  # [B, H, W, P]
    places = tf.nn.avg_pool2d(pixels, SALIENCY_PLACE, SALIENCY_PLACE, "SAME")
    return tf.transpose(places, [0, 3, 1, 2])  # of [B, h, w, P]


def _of_sum_one(maps: np.ndarray) -> np.ndarray:
    """Return maps, float32 [n, P, h, w], divided by their sums: bfloat16 is not exact.

    Where all of a map is 0, as for a blank image, no place counts more than another.
    """
    sums = maps.sum(axis=(2, 3), keepdims=True, dtype=np.float64)
    even = np.float64(1 / (maps.shape[2] * maps.shape[3]))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sums > 0, maps / sums, even).astype(np.float32)
