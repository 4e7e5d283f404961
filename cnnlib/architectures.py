"""The networks, as small functions from standardised images to logits.

Every function takes the weights from a `Weights` object, so that one description of a network
serves training (`TrainableWeights`: variables, batch normalisation over the batch) and inference
(`ConstantWeights`: constants, batch normalisation folded into the convolution before it).

Shapes: B images, H x W pixels, P character positions, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow.compat.v1 as tf

from cnnlib.errors import ModelError

Tensor = Any  # TensorFlow ships no type information

CLASSIFIER = "classifier"  # the layer whose outputs are the classes, at one or each position
GLIMPSES = 4
HEADS = 4
MOST_PLACES = 300  # that all look at each other, which costs the square of their number
LN_EPSILON = 1e-5
BN_EPSILON = 1e-3
BN_MOMENTUM = 0.97  # short trainings: the averages must forget the first steps by the first save


class Weights(Protocol):
    """Where a network's weights come from; `name` is unique within the network."""

    def get(self, name: str, shape: list[int], initializer: Any) -> Tensor: ...

    def conv_bn(self, x: Tensor, name: str, filters: int, size: int, stride: int) -> Tensor: ...

    def dropout(self, x: Tensor) -> Tensor: ...


class TrainableWeights:
    """Variables in the current graph; `training` and `keep_prob` are scalar tensors."""

    def __init__(self, training: Tensor, keep_prob: Tensor) -> None:
        self._training = training
        self._keep_prob = keep_prob
        self.moving_averages: list[Tensor] = []  # operations to run with each training step

    def get(self, name: str, shape: list[int], initializer: Any) -> Tensor:
        return tf.get_variable(name, shape, tf.float32, initializer)

    def conv_bn(self, x: Tensor, name: str, filters: int, size: int, stride: int) -> Tensor:
        channels = int(x.shape[-1])
        kernel = self.get(f"{name}/kernel", [size, size, channels, filters], he_normal())
        x = tf.nn.conv2d(x, kernel, strides=stride, padding="SAME")
        return self._batch_norm(x, name, filters)

    def _batch_norm(self, x: Tensor, name: str, channels: int) -> Tensor:
        gamma = self.get(f"{name}/gamma", [channels], tf.ones_initializer())
        beta = self.get(f"{name}/beta", [channels], tf.zeros_initializer())
        mean, variance = (
            tf.get_variable(f"{name}/{what}", [channels], tf.float32, initial, trainable=False)
            for what, initial in (("mean", tf.zeros_initializer()),
                                  ("variance", tf.ones_initializer()))
        )

        def over_batch() -> tuple[Tensor, Tensor, Tensor]:
            return tf.nn.fused_batch_norm(x, gamma, beta, epsilon=BN_EPSILON, is_training=True)

        def over_history() -> tuple[Tensor, Tensor, Tensor]:
            return tf.nn.fused_batch_norm(
                x, gamma, beta, mean, variance, epsilon=BN_EPSILON, is_training=False)

        y, batch_mean, batch_variance = tf.cond(self._training, over_batch, over_history)
        y.set_shape(x.shape)
        for average, value in ((mean, batch_mean), (variance, batch_variance)):
            self.moving_averages.append(
                average.assign_sub((1.0 - BN_MOMENTUM) * (average - value)))
        return y

    def dropout(self, x: Tensor) -> Tensor:
        return tf.nn.dropout(x, rate=1.0 - self._keep_prob)


class ConstantWeights:
    """Trained values as constants, batch normalisation folded away; dropout does nothing."""

    def __init__(self, values: Mapping[str, np.ndarray]) -> None:
        self._values = values

    def get(self, name: str, shape: list[int], initializer: Any) -> Tensor:
        return tf.constant(self._value(name, shape), name=name)

    def conv_bn(self, x: Tensor, name: str, filters: int, size: int, stride: int) -> Tensor:
        kernel, bias = fold_batch_norm(
            self._value(f"{name}/kernel", [size, size, int(x.shape[-1]), filters]),
            *(self._value(f"{name}/{part}", [filters])
              for part in ("gamma", "beta", "mean", "variance")))
        x = tf.nn.conv2d(x, tf.constant(kernel), strides=stride, padding="SAME")
        return tf.nn.bias_add(x, tf.constant(bias))

    def dropout(self, x: Tensor) -> Tensor:
        return x

    def _value(self, name: str, shape: list[int]) -> np.ndarray:
        return saved_weight(self._values, name, shape)


def saved_weight(values: Mapping[str, np.ndarray], name: str, shape: list[int]) -> np.ndarray:
    """Return a weight; raises ModelError where it is missing or of another shape."""
    value = values.get(name)
    if value is None or list(value.shape) != shape:
        raise ModelError(
            f"the saved weights do not fit this version of the network ({name} should have "
            f"shape {shape}): use the version that trained them, or train with --fresh")
    return value


def fold_batch_norm(kernel: np.ndarray, gamma: np.ndarray, beta: np.ndarray,
                    mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel [h, w, in, out] and bias [out] of a convolution with its batch norm."""
    scale = gamma / np.sqrt(variance + BN_EPSILON)
    return kernel * scale, beta - mean * scale


def he_normal() -> Any:
    return tf.variance_scaling_initializer(scale=2.0, mode="fan_in")


def dense(x: Tensor, name: str, units: int, weights: Weights, initializer: Any = None) -> Tensor:
    kernel = weights.get(f"{name}/kernel", [int(x.shape[-1]), units], initializer or he_normal())
    bias = weights.get(f"{name}/bias", [units], tf.zeros_initializer())
    return tf.nn.bias_add(tf.matmul(x, kernel), bias)


def conv_relu_pool(x: Tensor, name: str, filters: int, weights: Weights) -> Tensor:
    kernel = weights.get(f"{name}/kernel", [3, 3, int(x.shape[-1]), filters], he_normal())
    bias = weights.get(f"{name}/bias", [filters], tf.zeros_initializer())
    x = tf.nn.bias_add(tf.nn.conv2d(x, kernel, strides=1, padding="SAME"), bias)
    x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding="SAME")
    return tf.nn.relu(weights.dropout(x))


def cnn5(images: Tensor, positions: int, classes: int, weights: Weights) -> Tensor:
    """The network of the specification, section 1.4: three convolutions and two dense layers."""
    x = conv_relu_pool(images, "conv1", 32, weights)
    x = conv_relu_pool(x, "conv2", 64, weights)
    x = conv_relu_pool(x, "conv3", 128, weights)
    x = tf.reshape(x, [-1, int(np.prod(x.shape[1:]))])
    x = tf.nn.relu(weights.dropout(dense(x, "dense1", 1024, weights)))
    x = dense(x, CLASSIFIER, positions * classes, weights)
    return tf.reshape(x, [-1, positions, classes])


def residual_block(x: Tensor, name: str, filters: int, stride: int, weights: Weights) -> Tensor:
    """Two 3x3 convolutions beside a shortcut (He et al. 2016, "Deep residual learning").

    A shortcut to a smaller map is a mean over each stride x stride places, then a 1x1 convolution
    (He et al. 2019, "Bag of tricks"): all places count, where a strided one would skip most.
    """
    shortcut = x if stride == 1 else tf.nn.avg_pool2d(x, stride, stride, "SAME")
    if int(x.shape[-1]) != filters:
        shortcut = weights.conv_bn(shortcut, f"{name}/shortcut", filters, 1, 1)
    x = tf.nn.relu(weights.conv_bn(x, f"{name}/conv1", filters, 3, stride))
    x = weights.conv_bn(x, f"{name}/conv2", filters, 3, 1)
    return tf.nn.relu(x + shortcut)


def projection(x: Tensor, name: str, units: int, weights: Weights) -> Tensor:
    """Apply one dense layer at each place, float [B, places, depth] -> [B, places, units]."""
    _, places, depth = x.shape.as_list()
    x = dense(tf.reshape(x, [-1, depth]), name, units, weights,
              tf.random_normal_initializer(stddev=depth ** -0.5))
    return tf.reshape(x, [-1, places, units])


def layer_norm(x: Tensor, name: str, weights: Weights) -> Tensor:
    depth = int(x.shape[-1])
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    gain = weights.get(f"{name}/gain", [depth], tf.ones_initializer())
    bias = weights.get(f"{name}/bias", [depth], tf.zeros_initializer())
    return (x - mean) * tf.rsqrt(variance + LN_EPSILON) * gain + bias


def self_attention(x: Tensor, name: str, weights: Weights) -> Tensor:
    """Let each place look at all others, float [B, places, depth] -> the same.

    A layer of a transformer's encoder (Vaswani et al. 2017), normalised before its two parts. What
    a place shows then says how many characters stand before it, which labels of several lengths
    and irregular spacing need.
    """
    _, places, depth = x.shape.as_list()
    three = projection(layer_norm(x, f"{name}/norm1", weights), f"{name}/qkv", 3 * depth, weights)
    three = tf.transpose(tf.reshape(three, [-1, places, 3, HEADS, depth // HEADS]), [2, 0, 3, 1, 4])
    query, key, value = tf.unstack(three)  # [B, HEADS, places, depth / HEADS]
    scores = tf.matmul(query, key, transpose_b=True) * (depth // HEADS) ** -0.5
    seen = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), [0, 2, 1, 3])
    x += projection(tf.reshape(seen, [-1, places, depth]), f"{name}/seen", depth, weights)
    inner = projection(layer_norm(x, f"{name}/norm2", weights), f"{name}/inner", 2 * depth, weights)
    return x + projection(tf.nn.relu(inner), f"{name}/outer", depth, weights)


def attention_head(features: Tensor, positions: int, classes: int, weights: Weights) -> Tensor:
    """Read one character at each position through learned attention maps over the features.

    A position has GLIMPSES maps, so that it can look at several parts of its character. A softmax
    over all places picks what a map shows (the score of a place is its features, and its learned
    place embedding, times the map's query). One classifier serves all positions.
    """
    while features.shape[1] * features.shape[2] > MOST_PLACES:
        features = tf.nn.avg_pool2d(features, 2, 2, "SAME")
    _, height, width, depth = features.shape.as_list()
    places, maps = height * width, positions * GLIMPSES
    x = tf.reshape(features, [-1, places, depth])
    x += weights.get("attention/place", [places, depth], tf.random_normal_initializer(stddev=0.1))
    x = self_attention(x, "attention/encoder", weights)
    query = weights.get("attention/query", [depth, maps],
                        tf.random_normal_initializer(stddev=depth ** -0.5))
    scores = tf.reshape(tf.matmul(tf.reshape(x, [-1, depth]), query), [-1, places, maps])
    glimpses = tf.matmul(tf.nn.softmax(scores, axis=1), x, transpose_a=True)  # [B, maps, depth]
    glimpses = weights.dropout(tf.reshape(glimpses, [-1, GLIMPSES * depth]))
    logits = dense(glimpses, CLASSIFIER, classes, weights)
    return tf.reshape(logits, [-1, positions, classes])


def resnet_attention(images: Tensor, positions: int, classes: int, weights: Weights,
                     filters: int = 16) -> Tensor:
    """A small residual network with an attention head: the default. `filters` are of the stem."""
    x = tf.nn.relu(weights.conv_bn(images, "stem", filters, 5, 2))
    x = residual_block(x, "stage1/block1", 2 * filters, 2, weights)
    x = residual_block(x, "stage1/block2", 2 * filters, 1, weights)
    x = residual_block(x, "stage2/block1", 4 * filters, 2, weights)
    x = residual_block(x, "stage2/block2", 4 * filters, 1, weights)
    x = residual_block(x, "stage3/block1", 8 * filters, 2, weights)
    x = residual_block(x, "stage3/block2", 8 * filters, 1, weights)
    return attention_head(x, positions, classes, weights)


def resnet_attention_wide(images: Tensor, positions: int, classes: int,
                          weights: Weights) -> Tensor:
    """The default with one and a half times the filters, and 2.2 times the computing."""
    return resnet_attention(images, positions, classes, weights, filters=24)


NETWORKS = {"resnet_attention": resnet_attention, "resnet_attention_wide": resnet_attention_wide,
            "cnn5": cnn5}
WIDER = {"resnet_attention": "resnet_attention_wide"}  # for captchas that are hard


@dataclass(frozen=True)
class Cost:
    """What a network takes for one image: operations forward, and floats that layers put out."""

    flop: int  # 2 for each multiply-add of a convolution or matrix product
    activations: int  # of the convolutional part, which has nearly all of them
    parameters: int


def cost(network: str, height: int, width: int, positions: int, classes: int,
         channels: int = 1) -> Cost:
    """Count what a network costs, on a graph for one image that is thrown away."""
    graph = tf.Graph()
    with graph.as_default():
        weights = TrainableWeights(tf.constant(False), tf.constant(1.0))
        image = tf.placeholder(tf.float32, [1, height, width, channels])
        NETWORKS[network](image, positions, classes, weights)
        parameters = sum(int(np.prod(v.shape)) for v in tf.trainable_variables())
    flop = activations = 0
    for op in graph.get_operations():
        if op.type in ("Conv2D", "MatMul", "BatchMatMulV2"):
            output, kernel = op.outputs[0].shape.as_list(), op.inputs[1].shape.as_list()
            if op.type == "Conv2D":
                flop += 2 * int(np.prod(output) * np.prod(kernel[:3]))
            else:
                axis = -2 if op.get_attr(_TRANSPOSED[op.type]) else -1
                flop += 2 * int(np.prod(output)) * op.inputs[0].shape.as_list()[axis]
        if op.type in _LAYERS and op.outputs[0].shape.rank == 4:  # not what makes first weights
            activations += int(np.prod(op.outputs[0].shape.as_list()))
    return Cost(flop, activations, parameters)


_TRANSPOSED = {"MatMul": "transpose_a", "BatchMatMulV2": "adj_x"}
_LAYERS = ("Conv2D", "If", "BiasAdd", "MaxPool", "Relu", "AddV2")  # If: batch norm
