"""Weights that learn, and the same as constants with batch normalisation folded away."""

import numpy as np
import pytest

from cnnlib.errors import ModelError
from cnnlib.networks.architectures import NETWORKS
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.weights import ConstantWeights, TrainableWeights
from tests.networks.helpers import build


@pytest.mark.parametrize("network", NETWORKS)
def test_constant_weights_answer_as_the_trained_ones_without_batch_norm(network):
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(3, 24, 40, 1)).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        images, logits = build(network, TrainableWeights(tf.constant(False), tf.constant(1.0)))
        session.run(tf.global_variables_initializer())
        variables = {v.op.name: v for v in tf.global_variables()}
        # as after a training: nothing at its first value
        values = {
            name: np.abs(rng.normal(1, 0.3, v.shape)).astype(np.float32)
            if name.endswith(("variance", "gamma"))
            else rng.normal(0, 0.2, v.shape).astype(np.float32)
            for name, v in variables.items()
        }
        session.run(
            [v.initializer for v in variables.values()],
            {v.initializer.inputs[1]: values[name] for name, v in variables.items()},
        )
        expected = session.run(logits, {images: pictures})
    with tf.Graph().as_default() as graph, tf.Session() as session:
        images, logits = build(network, ConstantWeights(values))
        folded = session.run(logits, {images: pictures})
        left = [
            op.name
            for op in graph.get_operations()
            if op.type.startswith(("FusedBatchNorm", "VarHandleOp", "If", "Switch"))
        ]
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
