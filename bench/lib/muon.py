"""Muon, an optimiser for the kernels of hidden layers (Jordan et al. 2024).

A step is the momentum of the gradients, made nearly orthogonal: each direction that a layer knows
is moved equally far, also those with small gradients.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cnnlib.networks.architectures import CLASSIFIER
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.weights import Tensor

MOMENTUM = 0.95
ITERATIONS = 5
A, B, C = 3.4445, -4.7750, 2.0315  # of the iteration, by the same authors
# Elements of a step have this root mean square, as with Adam, so that rates suit both (Liu et al.
# 2025, "Muon is scalable for LLM training"). Half of what they use.
STEP_RMS = 0.1


def suits(variable: Any) -> bool:
    """Return whether a variable is a hidden layer's kernel; the rest is Adam's."""
    name = variable.op.name
    return name.endswith("kernel") and CLASSIFIER not in name and "stem" not in name


def apply_gradients(pairs: Iterable[tuple[Tensor, Any]], rate: Tensor) -> Tensor:
    """Return what moves each kernel, [..., in, out], by its gradient."""
    steps = []
    for gradient, kernel in pairs:
        name, shape = f"{kernel.op.name}/momentum", kernel.shape.as_list()
        momentum = tf.get_variable(name, shape, tf.float32, tf.zeros_initializer(), trainable=False)
        moved = momentum.assign(MOMENTUM * momentum + gradient).read_value()
        step = tf.reshape(gradient + MOMENTUM * moved, [-1, shape[-1]])  # [... * in, out]
        longer = max(step.shape.as_list())
        step = STEP_RMS * longer**0.5 * orthogonalized(step)
        steps.append(kernel.assign_sub(rate * tf.reshape(step, shape)))
    return tf.group(*steps)


def orthogonalized(matrix: Tensor) -> Tensor:
    """Return U V^T, nearly, of a matrix U S V^T, [r, c]: each singular value comes close to 1.

    All iterations multiply from the shorter side, and so do with products of that size.
    """
    rows, columns = matrix.shape.as_list()
    x = matrix / (tf.norm(matrix) + 1e-7)
    tall = rows >= columns
    gram = tf.matmul(x, x, transpose_a=tall, transpose_b=not tall)  # [s, s], s the shorter side
    identity = tf.eye(min(rows, columns))
    product = identity  # of the factors of all iterations
    for _ in range(ITERATIONS):
        factor = A * identity + B * gram + C * tf.matmul(gram, gram)
        product = tf.matmul(factor, product)
        gram = tf.matmul(tf.matmul(factor, gram), factor)
    return tf.matmul(x, product) if tall else tf.matmul(product, x)  # [r, c]
