"""The networks: layers, shapes, costs, and the same answers after folding batch norm."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from cnnlib.architectures import NETWORKS, ConstantWeights, TrainableWeights, cost
from cnnlib.errors import ModelError


def build(network, weights, height=24, width=40, positions=3, classes=5):
    images = tf.placeholder(tf.float32, [None, height, width, 1], "images")
    return images, NETWORKS[network](images, positions, classes, weights)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("height", "width"), [(24, 40), (13, 87), (26, 8)])
def test_logits_have_a_row_for_each_position(network, height, width):
    with tf.Graph().as_default():
        weights = TrainableWeights(tf.constant(False), tf.constant(1.0))
        _, logits = build(network, weights, height, width)
        assert logits.shape.as_list() == [None, 3, 5]


def test_cnn5_has_the_layers_of_the_specification():
    with tf.Graph().as_default() as graph:
        weights = TrainableWeights(tf.constant(False), tf.constant(1.0))
        build("cnn5", weights, 60, 100, 4, 10)
        shapes = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
        kinds = [op.type for op in graph.get_operations()]
    kernels = {name: shape for name, shape in shapes.items() if name.endswith("kernel")}
    assert kernels == {"conv1/kernel": [3, 3, 1, 32], "conv2/kernel": [3, 3, 32, 64],
                       "conv3/kernel": [3, 3, 64, 128], "dense1/kernel": [8 * 13 * 128, 1024],
                       "classifier/kernel": [1024, 40]}
    assert (kinds.count("MaxPool"), kinds.count("Relu")) == (3, 4)


@pytest.mark.parametrize(("network", "mflop"), [("cnn5", 142)])
def test_cost_of_the_specifications_network(network, mflop):
    # 2 x (60*100*9*32 + 30*50*9*32*64 + 15*25*9*64*128 + 13312*1024 + 1024*144) = 142 million
    known = cost(network, 60, 100, 4, 36)
    assert round(known.flop / 1e6) == mflop
    assert known.parameters == 9 * 32 + 32 + 9 * 32 * 64 + 64 + 9 * 64 * 128 + 128 \
        + 13312 * 1024 + 1024 + 1024 * 144 + 144


def test_the_default_network_is_within_its_budget():
    assert cost("resnet_attention", 60, 100, 4, 36).flop <= 100e6


@pytest.mark.parametrize("network", NETWORKS)
def test_constant_weights_answer_as_the_trained_ones_without_batch_norm(network):
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(3, 24, 40, 1)).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        images, logits = build(network, TrainableWeights(tf.constant(False), tf.constant(1.0)))
        session.run(tf.global_variables_initializer())
        variables = {v.op.name: v for v in tf.global_variables()}
        # as after a training: nothing at its first value
        values = {name: np.abs(rng.normal(1, 0.3, v.shape)).astype(np.float32)
                  if name.endswith(("variance", "gamma"))
                  else rng.normal(0, 0.2, v.shape).astype(np.float32)
                  for name, v in variables.items()}
        session.run([v.initializer for v in variables.values()],
                    {v.initializer.inputs[1]: values[name] for name, v in variables.items()})
        expected = session.run(logits, {images: pictures})
    with tf.Graph().as_default() as graph, tf.Session() as session:
        images, logits = build(network, ConstantWeights(values))
        folded = session.run(logits, {images: pictures})
        left = [op.name for op in graph.get_operations()
                if op.type.startswith(("FusedBatchNorm", "VarHandleOp", "If", "Switch"))]
    assert not left
    np.testing.assert_allclose(folded, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_weights_of_another_shape_are_refused():
    with tf.Graph().as_default(), pytest.raises(ModelError, match=r"a should have shape \[2, 3\]"):
        ConstantWeights({"a": np.zeros((2, 2), np.float32)}).get("a", [2, 3], None)


def test_batch_norm_learns_its_averages_only_in_training():
    with tf.Graph().as_default(), tf.Session() as session:
        training = tf.placeholder_with_default(False, [])
        weights = TrainableWeights(training, tf.constant(1.0))
        images, logits = build("resnet_attention", weights)
        step = tf.group(*weights.moving_averages)
        session.run(tf.global_variables_initializer())
        mean = next(v for v in tf.global_variables() if v.op.name == "stem/mean")
        pictures = np.random.default_rng(0).normal(1, 1, (8, 24, 40, 1))
        session.run(step, {images: pictures})
        assert not session.run(mean).any()
        session.run(step, {images: pictures, training: True})
        assert session.run(mean).any()



@pytest.mark.parametrize(("width", "height"), [(250, 50), (800, 250), (1600, 500)])
def test_the_cost_of_large_images_grows_no_faster_than_their_area(width, height):
    base, large = (cost("resnet_attention", h, w, 4, 36).flop
                   for w, h in ((100, 60), (width, height)))
    assert large <= 1.1 * base * width * height / (100 * 60)
