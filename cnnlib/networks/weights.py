"""Where a network's weights come from: variables that learn, or constants that recognise.

One description of a network (architectures.py) serves both: `TrainableWeights` normalise over the
batch, `ConstantWeights` have batch normalisation folded into the convolution before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from cnnlib.errors import ModelError
from cnnlib.networks.tensorflow_v1 import cond, tf

Tensor = Any  # TensorFlow ships no type information

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
        x = tf.nn.conv2d(x, kernel, strides=stride, padding="SAME")  # [B, H/stride, W/stride, F]
        return self._batch_norm(x, name, filters)

    def _batch_norm(self, x: Tensor, name: str, channels: int) -> Tensor:
        gamma = self.get(f"{name}/gamma", [channels], tf.ones_initializer())
        beta = self.get(f"{name}/beta", [channels], tf.zeros_initializer())
        mean, variance = (
            tf.get_variable(f"{name}/{what}", [channels], tf.float32, initial, trainable=False)
            for what, initial in (
                ("mean", tf.zeros_initializer()),
                ("variance", tf.ones_initializer()),
            )
        )

        def over_batch() -> tuple[Tensor, Tensor, Tensor]:
            return tf.nn.fused_batch_norm(x, gamma, beta, epsilon=BN_EPSILON, is_training=True)

        def over_history() -> tuple[Tensor, Tensor, Tensor]:
            return tf.nn.fused_batch_norm(
                x, gamma, beta, mean, variance, epsilon=BN_EPSILON, is_training=False
            )

        y, batch_mean, batch_variance = cond(self._training, over_batch, over_history)
        y.set_shape(x.shape)
        for average, value in ((mean, batch_mean), (variance, batch_variance)):
            self.moving_averages.append(average.assign_sub((1.0 - BN_MOMENTUM) * (average - value)))
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
            *(
                self._value(f"{name}/{part}", [filters])
                for part in ("gamma", "beta", "mean", "variance")
            ),
        )
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
            f"shape {shape}): use the version that trained them, or train with --fresh"
        )
    return value


def fold_batch_norm(
    kernel: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel [h, w, in, out] and bias [out] of a convolution with its batch norm."""
    scale = gamma / np.sqrt(variance + BN_EPSILON)
    return kernel * scale, beta - mean * scale


def he_normal() -> Any:
    """He et al. 2015, "Delving deep into rectifiers"."""
    return tf.variance_scaling_initializer(scale=2.0, mode="fan_in")
