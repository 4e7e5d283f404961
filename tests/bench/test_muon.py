"""The optimiser of the starting weights: steps of one length in all directions."""

import numpy as np
import pytest

from bench.lib import muon
from cnnlib.networks.tensorflow_v1 import tf
from tests.training.helpers import exact_session


@pytest.mark.parametrize("shape", [(96, 16), (16, 96), (32, 32)])
def test_singular_values_come_close_to_1_and_directions_stay(shape):
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    with tf.Graph().as_default() as graph, exact_session(graph) as session:
        step = session.run(muon.orthogonalized(tf.constant(matrix)))
    assert step.shape == shape
    u, values, v = np.linalg.svd(matrix, full_matrices=False)
    turned = u.T @ step @ v.T  # [s, s]
    assert np.abs(turned - np.diag(np.diag(turned))).max() < 0.01
    # Those below a twentieth of the largest come less far.
    large = values > values[0] / 20
    assert (np.diag(turned)[large] > 0.6).all() and np.diag(turned).max() < 1.3


def test_kernels_of_hidden_layers_alone_are_moved():
    with tf.Graph().as_default():
        names = ["stage1/block1/conv1/kernel", "stage1/block1/conv1/gamma", "stem/kernel"]
        names += ["classifier/kernel", "columns/classifier/kernel", "attention/place"]
        variables = [tf.get_variable(name, [2, 2], tf.float32) for name in names]
    assert [muon.suits(variable) for variable in variables] == [True] + 5 * [False]
