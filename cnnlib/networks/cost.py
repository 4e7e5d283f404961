"""What a network costs: operations, activations and parameters, counted on its graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.networks.architectures import NETWORKS
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.weights import TrainableWeights

BASE_BYTES = 600 << 20  # of Python and TensorFlow
ACTIVATION_SHARE = 0.7  # of all activations of a step, that is in memory at a time; measured
WEIGHT_COPIES = 7  # with gradients and two averages of Adam; a copy of three of them in Rollback


@dataclass(frozen=True)
class Cost:
    """What a network takes for one image, forward."""

    flop: int  # 2 for each multiply-add of a convolution or matrix product
    activations: int  # floats of the convolutional part, which has nearly all of them
    parameters: int

    def training_bytes(self, batch_size: int) -> float:
        """Return about how much memory a training needs."""
        weights = WEIGHT_COPIES * self.parameters
        return BASE_BYTES + 4 * (weights + ACTIVATION_SHARE * self.activations * batch_size)


def cost(network: str, spec: CaptchaSpec) -> Cost:
    """Count what a network costs, on a graph for one image that is thrown away."""
    graph = tf.Graph()
    with graph.as_default():
        weights = TrainableWeights(tf.constant(False), tf.constant(1.0))
        height, width, channels = spec.image_height, spec.image_width, spec.image_channels
        image = tf.placeholder(tf.float32, [1, height, width, channels])
        NETWORKS[network](image, spec.max_captcha, spec.classes, weights)
        parameters = sum(int(np.prod(v.shape)) for v in tf.trainable_variables())
    flop = activations = 0
    for op in graph.get_operations():
        if op.type in ("Conv2D", "MatMul", "BatchMatMulV2"):
            output, kernel = op.outputs[0].shape.as_list(), op.inputs[1].shape.as_list()
            if op.type == "Conv2D":
                flop += 2 * int(np.prod(output) * np.prod(kernel[:3]))
            else:
                axis = -2 if op.get_attr(_TRANSPOSES_FIRST[op.type]) else -1
                flop += 2 * int(np.prod(output)) * op.inputs[0].shape.as_list()[axis]
        if op.type in _LAYERS and op.outputs[0].shape.rank == 4:  # not what initialises weights
            activations += int(np.prod(op.outputs[0].shape.as_list()))
    return Cost(flop, activations, parameters)


_TRANSPOSES_FIRST = {"MatMul": "transpose_a", "BatchMatMulV2": "adj_x"}
_LAYERS = ("Conv2D", "If", "BiasAdd", "MaxPool", "Relu", "AddV2")  # If: batch norm
