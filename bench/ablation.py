"""The default network and recipe with one part left out, to measure what that part brings."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import tensorflow.compat.v1 as tf

from cnnlib.architectures import (
    CLASSIFIER,
    NETWORKS,
    Weights,
    attention_head,
    dense,
    he_normal,
    residual_block,
)
from cnnlib.training import RECIPES

Tensor = Any
Block = Callable[[Tensor, str, int, int, Weights], Tensor]
RATE_WITHOUT_NORM = 2e-3  # more diverges


def conv_bias(x: Tensor, name: str, filters: int, size: int, stride: int,
              weights: Weights) -> Tensor:
    kernel = weights.get(f"{name}/kernel", [size, size, int(x.shape[-1]), filters], he_normal())
    bias = weights.get(f"{name}/bias", [filters], tf.zeros_initializer())
    return tf.nn.bias_add(tf.nn.conv2d(x, kernel, strides=stride, padding="SAME"), bias)


def plain_block(x: Tensor, name: str, filters: int, stride: int, weights: Weights) -> Tensor:
    """Return what a residual block does without its shortcut."""
    x = tf.nn.relu(weights.conv_bn(x, f"{name}/conv1", filters, 3, stride))
    return tf.nn.relu(weights.conv_bn(x, f"{name}/conv2", filters, 3, 1))


def block_without_norm(x: Tensor, name: str, filters: int, stride: int,
                       weights: Weights) -> Tensor:
    shortcut = x if stride == 1 else tf.nn.avg_pool2d(x, stride, stride, "SAME")
    if int(x.shape[-1]) != filters:
        shortcut = conv_bias(shortcut, f"{name}/shortcut", filters, 1, 1, weights)
    x = tf.nn.relu(conv_bias(x, f"{name}/conv1", filters, 3, stride, weights))
    return tf.nn.relu(conv_bias(x, f"{name}/conv2", filters, 3, 1, weights) + shortcut)


def stages(x: Tensor, weights: Weights, block: Block) -> Tensor:
    """Return what the stages of `resnet_attention` put out, from another kind of block."""
    for stage, filters in enumerate((32, 64, 128), 1):
        for i in range(2):
            x = block(x, f"stage{stage}/block{i + 1}", filters, 1 if i else 2, weights)
    return x


def stem(images: Tensor, weights: Weights) -> Tensor:
    return tf.nn.relu(weights.conv_bn(images, "stem", 16, 5, 2))


def without_shortcuts(images: Tensor, positions: int, classes: int, weights: Weights) -> Tensor:
    features = stages(stem(images, weights), weights, plain_block)
    return attention_head(features, positions, classes, weights)


def without_norm(images: Tensor, positions: int, classes: int, weights: Weights) -> Tensor:
    x = tf.nn.relu(conv_bias(images, "stem", 16, 5, 2, weights))
    return attention_head(stages(x, weights, block_without_norm), positions, classes, weights)


def without_attention(images: Tensor, positions: int, classes: int, weights: Weights) -> Tensor:
    """One dense layer over all places, with a classifier of its own for each position."""
    x = stages(stem(images, weights), weights, residual_block)
    x = tf.reshape(x, [-1, x.shape[1] * x.shape[2] * x.shape[3]])
    logits = dense(x, CLASSIFIER, positions * classes, weights)
    return tf.reshape(logits, [-1, positions, classes])


@contextmanager
def registered() -> Iterator[None]:
    """Make the networks and recipes known to what trains or recognises in this process."""
    default = RECIPES["default"]
    high = default.peak_rates["resnet_attention"]
    default = dataclasses.replace(default, peak_rates={
        **default.peak_rates, "without_shortcuts": high, "without_attention": high,
        "without_norm": RATE_WITHOUT_NORM})
    with (patch.dict(NETWORKS, without_shortcuts=without_shortcuts, without_norm=without_norm,
                     without_attention=without_attention),
          patch.dict(RECIPES, default=default,
                     without_augmentation=dataclasses.replace(default, augment=False),
                     sigmoid_loss=dataclasses.replace(default, sigmoid=True),
                     without_smoothing=dataclasses.replace(default, label_smoothing=0.0),
                     low_rate=dataclasses.replace(
                         default, peak_rates=dict.fromkeys(default.peak_rates, 2e-3)))):
        yield
