"""The networks, as small functions from standardised images to logits.

Every function takes the weights from a `Weights` object (weights.py).

Shapes: B images, H x W pixels, P character positions, C classes; h x w places and D channels of a
feature map.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.weights import Tensor, Weights, he_normal

CLASSIFIER = "classifier"  # the layer whose outputs are the classes, at one or each position
GLIMPSES = 4  # attention maps of a position
HEADS = 4  # of self-attention
# Names of tensors that explain an answer, which `Recognizer.explain` fetches.
ATTENTION = "attention/maps"  # [B, places, P * GLIMPSES], each of sum 1; not in cnn5
READ = "classifier/read"  # what the classifier reads: [B * P, F], in cnn5 [B, F]
MAX_PLACES = 300  # that attend to each other, which costs the square of their number
FILTERS = 16  # of the stem of the default network
LN_EPSILON = 1e-5


def dense(x: Tensor, name: str, units: int, weights: Weights, initializer: Any = None) -> Tensor:
    kernel = weights.get(f"{name}/kernel", [int(x.shape[-1]), units], initializer or he_normal())
    bias = weights.get(f"{name}/bias", [units], tf.zeros_initializer())
    return tf.nn.bias_add(tf.matmul(x, kernel), bias)


def conv_relu_pool(x: Tensor, name: str, filters: int, weights: Weights) -> Tensor:
    kernel = weights.get(f"{name}/kernel", [3, 3, int(x.shape[-1]), filters], he_normal())
    bias = weights.get(f"{name}/bias", [filters], tf.zeros_initializer())
    x = tf.nn.bias_add(
        tf.nn.conv2d(x, kernel, strides=1, padding="SAME"), bias
    )  # [B, h, w, filters]
    x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding="SAME")  # [B, h / 2, w / 2, filters]
    return tf.nn.relu(weights.dropout(x))


def cnn5(images: Tensor, positions: int, classes: int, weights: Weights) -> Tensor:
    """The network of version 2 (docs/en/version-2.md, 1.4): convolutions and dense layers."""
    x = conv_relu_pool(images, "conv1", 32, weights)  # [B, H / 2, W / 2, 32]
    x = conv_relu_pool(x, "conv2", 64, weights)  # [B, H / 4, W / 4, 64]
    x = conv_relu_pool(x, "conv3", 128, weights)  # [B, H / 8, W / 8, 128]
    x = tf.reshape(x, [-1, int(np.prod(x.shape[1:]))])  # [B, H / 8 * W / 8 * 128]
    x = tf.nn.relu(weights.dropout(dense(x, "dense1", 1024, weights)), name=READ)  # [B, 1024]
    x = dense(x, CLASSIFIER, positions * classes, weights)  # [B, P * C]
    return tf.reshape(x, [-1, positions, classes])  # [B, P, C]


def residual_block(x: Tensor, name: str, filters: int, stride: int, weights: Weights) -> Tensor:
    """Add two 3x3 convolutions to a shortcut (He et al. 2016, "Deep residual learning").

    [B, h, w, D] becomes [B, h / stride, w / stride, filters]. A shortcut to a smaller map is a mean
    over each stride x stride places, then a 1x1 convolution (He et al. 2019, "Bag of tricks"): all
    places count, where a strided one would skip most.
    """
    shortcut = x if stride == 1 else tf.nn.avg_pool2d(x, stride, stride, "SAME")
    if int(x.shape[-1]) != filters:
        shortcut = weights.conv_bn(shortcut, f"{name}/shortcut", filters, 1, 1)
    x = tf.nn.relu(weights.conv_bn(x, f"{name}/conv1", filters, 3, stride))
    x = weights.conv_bn(x, f"{name}/conv2", filters, 3, 1)
    return tf.nn.relu(x + shortcut)


def projection(x: Tensor, name: str, units: int, weights: Weights) -> Tensor:
    """Apply one dense layer at each place, [B, places, D] -> [B, places, units]."""
    _, places, depth = x.shape.as_list()
    x = tf.reshape(x, [-1, depth])  # [B * places, D]
    initializer = tf.random_normal_initializer(stddev=depth**-0.5)
    x = dense(x, name, units, weights, initializer)  # [B * places, units]
    return tf.reshape(x, [-1, places, units])


def layer_norm(x: Tensor, name: str, weights: Weights) -> Tensor:
    depth = int(x.shape[-1])
    x -= tf.reduce_mean(x, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(x), axis=-1, keepdims=True)
    gain = weights.get(f"{name}/gain", [depth], tf.ones_initializer())
    bias = weights.get(f"{name}/bias", [depth], tf.zeros_initializer())
    # As onnxruntime knows it, which makes one operation of it.
    return x / tf.sqrt(variance + LN_EPSILON) * gain + bias


def self_attention(x: Tensor, name: str, weights: Weights) -> Tensor:
    """Let each place attend to all others, [B, places, D] -> the same.

    A layer of a transformer's encoder (Vaswani et al. 2017), normalised before its two parts. A
    place then knows how many characters come before it, which labels of several lengths and
    irregular spacing need.
    """
    _, places, depth = x.shape.as_list()
    head = depth // HEADS
    qkv = projection(layer_norm(x, f"{name}/norm1", weights), f"{name}/qkv", 3 * depth, weights)
    qkv = tf.reshape(qkv, [-1, places, 3, HEADS, head])  # of [B, places, 3 * D]
    qkv = tf.transpose(qkv, [2, 0, 3, 1, 4])  # [3, B, HEADS, places, head]
    query, key, value = tf.unstack(qkv)  # each [B, HEADS, places, head]
    scores = tf.matmul(query, key, transpose_b=True) * head**-0.5  # [B, HEADS, places, places]
    seen = tf.matmul(tf.nn.softmax(scores), value)  # [B, HEADS, places, head]
    seen = tf.reshape(tf.transpose(seen, [0, 2, 1, 3]), [-1, places, depth])  # [B, places, D]
    x += projection(seen, f"{name}/seen", depth, weights)
    inner = projection(layer_norm(x, f"{name}/norm2", weights), f"{name}/inner", 2 * depth, weights)
    return x + projection(tf.nn.relu(inner), f"{name}/outer", depth, weights)


def _halvings(height: int, width: int) -> int:
    """Return how often a feature map is halved so that few enough places attend to each other."""
    count = 0
    while height * width > MAX_PLACES:
        height, width, count = -(-height // 2), -(-width // 2), count + 1
    return count


def feature_size(height: int, width: int) -> tuple[int, int]:
    """Return height and width of what the attention head reads of an image of this size."""
    height, width = -(-height // 16), -(-width // 16)
    factor = 2 ** _halvings(height, width)
    return -(-height // factor), -(-width // factor)


def attention_head(features: Tensor, positions: int, classes: int, weights: Weights) -> Tensor:
    """Read one character at each position through attention maps, [B, h, w, D] -> [B, P, C].

    A position has GLIMPSES maps, so that it can attend to several parts of its character. A softmax
    over all places picks what a map shows (the score of a place is its features, and its learned
    place embedding, times the map's query). One classifier serves all positions.
    """
    for _ in range(_halvings(int(features.shape[1]), int(features.shape[2]))):
        features = tf.nn.avg_pool2d(features, 2, 2, "SAME")  # [B, h / 2, w / 2, D]
    _, height, width, depth = features.shape.as_list()
    places, maps = height * width, positions * GLIMPSES
    x = tf.reshape(features, [-1, places, depth])  # [B, places, D]
    x += weights.get("attention/place", [places, depth], tf.random_normal_initializer(stddev=0.1))
    x = self_attention(x, "attention/encoder", weights)
    initializer = tf.random_normal_initializer(stddev=depth**-0.5)
    query = weights.get("attention/query", [depth, maps], initializer)
    scores = tf.matmul(tf.reshape(x, [-1, depth]), query)  # [B * places, maps]
    scores = tf.reshape(scores, [-1, places, maps])  # [B, places, maps]
    attention = tf.nn.softmax(scores, axis=1, name=ATTENTION)
    glimpses = tf.matmul(attention, x, transpose_a=True)  # [B, maps, D]
    glimpses = tf.reshape(glimpses, [-1, GLIMPSES * depth], name=READ)  # [B * P, GLIMPSES * D]
    logits = dense(weights.dropout(glimpses), CLASSIFIER, classes, weights)  # [B * P, C]
    return tf.reshape(logits, [-1, positions, classes])  # [B, P, C]


def resnet_features(images: Tensor, filters: int, weights: Weights) -> tuple[Tensor, Tensor]:
    """Return the feature maps of a small residual network, an eighth and a sixteenth as large."""
    x = tf.nn.relu(weights.conv_bn(images, "stem", filters, 5, 2))  # [B, H / 2, W / 2, filters]
    x = residual_block(x, "stage1/block1", 2 * filters, 2, weights)  # [B, H / 4, W / 4, ...]
    x = residual_block(x, "stage1/block2", 2 * filters, 1, weights)
    x = residual_block(x, "stage2/block1", 4 * filters, 2, weights)  # [B, H / 8, W / 8, ...]
    eighth = residual_block(x, "stage2/block2", 4 * filters, 1, weights)
    x = residual_block(eighth, "stage3/block1", 8 * filters, 2, weights)  # [B, H / 16, W / 16, ...]
    return eighth, residual_block(x, "stage3/block2", 8 * filters, 1, weights)


def resnet_attention(
    images: Tensor, positions: int, classes: int, weights: Weights, filters: int = FILTERS
) -> Tensor:
    """A small residual network with an attention head: the default. `filters` are of the stem."""
    _, features = resnet_features(images, filters, weights)
    return attention_head(features, positions, classes, weights)  # [B, P, C]


def resnet_attention_wide(images: Tensor, positions: int, classes: int, weights: Weights) -> Tensor:
    """The default with one and a half times the filters, and 2.2 times the computing."""
    return resnet_attention(images, positions, classes, weights, filters=24)


def resnet_attention_small(
    images: Tensor, positions: int, classes: int, weights: Weights
) -> Tensor:
    """The default with half the filters after its stem and two blocks less: a quarter of its work.

    The stem keeps its filters: processors work on 8 or 16 at a time, so that half of them would
    take as long. A block is left out on the largest maps, which are read and written most, and one
    on the smallest, whose filters are three quarters of the default's instead: what a place says of
    its letter must fit into them. The layer in which places attend to each other stays: labels of
    several lengths need it.
    """
    x = tf.nn.relu(weights.conv_bn(images, "stem", FILTERS, 5, 2))  # [B, H / 2, W / 2, 16]
    x = residual_block(x, "stage1/block1", FILTERS, 2, weights)  # [B, H / 4, W / 4, 16]
    x = residual_block(x, "stage2/block1", 2 * FILTERS, 2, weights)  # [B, H / 8, W / 8, 32]
    x = residual_block(x, "stage2/block2", 2 * FILTERS, 1, weights)
    x = residual_block(x, "stage3/block1", 6 * FILTERS, 2, weights)  # [B, H / 16, W / 16, 96]
    return attention_head(x, positions, classes, weights)  # [B, P, C]


NETWORKS = {
    "resnet_attention": resnet_attention,
    "resnet_attention_wide": resnet_attention_wide,
    "resnet_attention_small": resnet_attention_small,
    "cnn5": cnn5,
}
WIDER = {"resnet_attention": "resnet_attention_wide"}  # for captchas that are hard
