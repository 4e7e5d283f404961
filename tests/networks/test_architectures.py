"""The networks: their layers and shapes."""

import pytest

from cnnlib.config import NETWORK_NAMES
from cnnlib.networks.architectures import NETWORKS, WIDER
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.weights import TrainableWeights
from tests.networks.helpers import build


def test_the_networks_are_those_that_a_config_may_name():
    assert tuple(NETWORKS) == NETWORK_NAMES
    assert {*WIDER, *WIDER.values()} <= set(NETWORKS)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("height", "width"), [(24, 40), (13, 87), (26, 8)])
def test_logits_have_a_row_for_each_position(network, height, width):
    with tf.Graph().as_default():
        weights = TrainableWeights(tf.constant(False), tf.constant(1.0))
        _, logits = build(network, weights, height, width)
        assert logits.shape.as_list() == [None, 3, 5]


def test_cnn5_has_the_layers_of_version_2():
    with tf.Graph().as_default() as graph:
        weights = TrainableWeights(tf.constant(False), tf.constant(1.0))
        build("cnn5", weights, 60, 100, 4, 10)
        shapes = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
        kinds = [op.type for op in graph.get_operations()]
    kernels = {name: shape for name, shape in shapes.items() if name.endswith("kernel")}
    assert kernels == {
        "conv1/kernel": [3, 3, 1, 32],
        "conv2/kernel": [3, 3, 32, 64],
        "conv3/kernel": [3, 3, 64, 128],
        "dense1/kernel": [8 * 13 * 128, 1024],
        "classifier/kernel": [1024, 40],
    }
    assert (kinds.count("MaxPool"), kinds.count("Relu")) == (3, 4)
