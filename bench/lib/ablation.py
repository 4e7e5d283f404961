"""The default network and recipe with one part left out, to measure what that part brings.

Shapes: B images, h x w places of a feature map, P character positions, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from cnnlib.networks.architectures import (
    CLASSIFIER,
    NETWORKS,
    attention_head,
    dense,
    residual_block,
)
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.weights import Tensor, Weights, he_normal
from cnnlib.training.recipes import RECIPES

Block = Callable[[Tensor, str, int, int, Weights], Tensor]
RATE_WITHOUT_NORM = 2e-3  # more diverges


@contextmanager
def registered() -> Iterator[None]:
    """Make the networks and recipes known to what trains or recognises in this process."""
    default = RECIPES["default"]
    peak = default.peak_rates["resnet_attention"]
    rates = {
        **default.peak_rates,
        "without_shortcuts": peak,
        "without_attention": peak,
        "without_norm": RATE_WITHOUT_NORM,
    }
    default = replace(default, peak_rates=rates)
    networks: dict[str, Any] = {
        "without_shortcuts": without_shortcuts,
        "without_norm": without_norm,
        "without_attention": without_attention,
    }
    recipes = {
        "default": default,
        "without_augmentation": replace(default, augmentation=None, splicing=None),
        "sigmoid_loss": replace(default, sigmoid=True),
        "without_smoothing": replace(default, label_smoothing=0.0),
        "low_rate": replace(default, peak_rates=dict.fromkeys(rates, RATE_WITHOUT_NORM)),
    }
    with patch.dict(NETWORKS, networks), patch.dict(RECIPES, recipes):
        yield


# --- networks, each [B, H, W, channels] -> [B, P, C] ---


def without_shortcuts(images: Tensor, positions: int, classes: int, weights: Weights) -> Tensor:
    features = _stages(_stem(images, weights), weights, _plain_block)
    return attention_head(features, positions, classes, weights)


def without_norm(images: Tensor, positions: int, classes: int, weights: Weights) -> Tensor:
    x = tf.nn.relu(_conv_bias(images, "stem", 16, 5, 2, weights))
    features = _stages(x, weights, _block_without_norm)
    return attention_head(features, positions, classes, weights)


def without_attention(images: Tensor, positions: int, classes: int, weights: Weights) -> Tensor:
    """One dense layer over all places, with a classifier of its own for each position."""
    x = _stages(_stem(images, weights), weights, residual_block)  # [B, h, w, 128]
    x = tf.reshape(x, [-1, x.shape[1] * x.shape[2] * x.shape[3]])  # [B, h * w * 128]
    logits = dense(x, CLASSIFIER, positions * classes, weights)  # [B, P * C]
    return tf.reshape(logits, [-1, positions, classes])  # [B, P, C]


# --- their parts ---


def _stem(images: Tensor, weights: Weights) -> Tensor:
    return tf.nn.relu(weights.conv_bn(images, "stem", 16, 5, 2))


def _stages(x: Tensor, weights: Weights, block: Block) -> Tensor:
    """Apply the stages of `resnet_attention`, [B, h, w, 16] -> [B, h / 8, w / 8, 128]."""
    for stage, filters in enumerate((32, 64, 128), 1):
        for i in range(2):
            x = block(x, f"stage{stage}/block{i + 1}", filters, 1 if i else 2, weights)
    return x


def _plain_block(x: Tensor, name: str, filters: int, stride: int, weights: Weights) -> Tensor:
    """Apply a residual block without its shortcut."""
    x = tf.nn.relu(weights.conv_bn(x, f"{name}/conv1", filters, 3, stride))
    return tf.nn.relu(weights.conv_bn(x, f"{name}/conv2", filters, 3, 1))


def _block_without_norm(
    x: Tensor, name: str, filters: int, stride: int, weights: Weights
) -> Tensor:
    shortcut = x if stride == 1 else tf.nn.avg_pool2d(x, stride, stride, "SAME")
    if int(x.shape[-1]) != filters:
        shortcut = _conv_bias(shortcut, f"{name}/shortcut", filters, 1, 1, weights)
    x = tf.nn.relu(_conv_bias(x, f"{name}/conv1", filters, 3, stride, weights))
    return tf.nn.relu(_conv_bias(x, f"{name}/conv2", filters, 3, 1, weights) + shortcut)


def _conv_bias(
    x: Tensor, name: str, filters: int, size: int, stride: int, weights: Weights
) -> Tensor:
    kernel = weights.get(f"{name}/kernel", [size, size, int(x.shape[-1]), filters], he_normal())
    bias = weights.get(f"{name}/bias", [filters], tf.zeros_initializer())
    return tf.nn.bias_add(tf.nn.conv2d(x, kernel, strides=stride, padding="SAME"), bias)
