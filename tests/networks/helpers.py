"""A network in the current graph."""

from __future__ import annotations

from cnnlib.networks.architectures import NETWORKS
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.weights import Tensor, Weights


def build(
    network: str,
    weights: Weights,
    height: int = 24,
    width: int = 40,
    positions: int = 3,
    classes: int = 5,
) -> tuple[Tensor, Tensor]:
    """Return placeholder of images and logits."""
    images = tf.placeholder(tf.float32, [None, height, width, 1], "images")
    return images, NETWORKS[network](images, positions, classes, weights)
