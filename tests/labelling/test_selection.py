"""Which images are chosen: unsure ones, of different kinds."""

from __future__ import annotations

import numpy as np

from cnnlib.labelling.selection import GradientSketch, order_by_gain


def test_sketches_keep_inner_products():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(10), (60, 2))  # [N, P, C]
    features = rng.normal(size=(60, 2, 40))
    sketches = GradientSketch(10, 40).describe(probabilities, features)
    errors = probabilities.copy()
    np.put_along_axis(
        errors,
        errors.argmax(-1)[..., None],
        errors.max(-1)[..., None] - 1,
        -1,
    )
    exact = np.einsum("npc,npf->ncf", errors, features).reshape(60, -1)
    wanted, found = exact @ exact.T, sketches @ sketches.T
    assert np.corrcoef(wanted.ravel(), found.ravel())[0, 1] > 0.8


def test_sure_images_have_short_sketches():
    features = np.ones((2, 1, 8))
    probabilities = np.array([[[0.999, 0.001]], [[0.6, 0.4]]])
    sure, unsure = GradientSketch(2, 8).describe(probabilities, features)
    assert np.linalg.norm(unsure) > 50 * np.linalg.norm(sure)


def test_one_of_each_kind_comes_before_a_second_of_any():
    rng = np.random.default_rng(1)
    kinds = np.eye(8)[np.repeat(np.arange(5), 20)] * 10
    sketches = (kinds + rng.normal(scale=0.01, size=kinds.shape)).astype(np.float32)
    order = order_by_gain(sketches, 5, rng)
    assert sorted(order // 20) == [0, 1, 2, 3, 4]


def test_each_image_comes_once_also_where_all_are_the_same():
    for sketches in (np.zeros((6, 4)), np.ones((6, 4)), np.empty((0, 4))):
        order = order_by_gain(sketches.astype(np.float32), 10, np.random.default_rng(0))
        assert sorted(order) == list(range(len(sketches)))
