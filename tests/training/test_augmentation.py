"""Random distortions: within their limits, different for each image, whole in the middle."""

import numpy as np
import pytest

from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.training.augmentation import distort, vary_light, warp
from cnnlib.training.recipes import Augmentation

LIMITS = Augmentation()


def run(function, images):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(0)
        placeholder = tf.placeholder(tf.float32, [None, *images.shape[1:]])
        output = function(placeholder)
        assert output.shape.as_list() == placeholder.shape.as_list()
        return session.run(output, {placeholder: images})


def spot(row, column, height=60, width=100):
    rows, columns = np.mgrid[:height, :width]
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 18.0)[..., np.newaxis]


def place(image):
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    weight = image[..., 0] / image.sum()
    return np.array([(rows * weight).sum(), (columns * weight).sum()])


def test_warp_moves_a_centre_by_the_shift_alone():
    moved = run(lambda tensor: warp(tensor, LIMITS), np.repeat(spot(29.5, 49.5)[np.newaxis], 64, 0))
    places = np.array([place(image) for image in moved])
    # the shift, and what scale, shear and rotation make of it
    limits = 1.3 * LIMITS.shift * np.array([60, 100]) + 0.5
    assert (np.abs(places - [29.5, 49.5]) < limits).all()
    assert places.std(axis=0).min() > 0.5, "every image is moved differently"


def test_warp_keeps_characters_at_the_edge_in_the_image():
    moved = run(lambda tensor: warp(tensor, LIMITS), np.repeat(spot(29.5, 14)[np.newaxis], 64, 0))
    assert moved.sum(axis=(1, 2, 3)).min() > 0.6 * spot(29.5, 14).sum()


def test_strength_zero_changes_nothing():
    images = np.random.default_rng(0).normal(size=(3, 24, 40, 1)).astype(np.float32)
    unchanged = run(lambda tensor: distort(tensor, LIMITS, 0.0), images)
    np.testing.assert_allclose(unchanged, images, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_light_is_one_factor_and_one_shift_an_image(channels):
    images = np.random.default_rng(0).normal(size=(50, 6, 8, channels)).astype(np.float32)
    changed = run(lambda tensor: vary_light(tensor, LIMITS), images)
    for before, after in zip(images, changed, strict=True):
        slope, shift = np.polyfit(before.ravel(), after.ravel(), 1)
        assert abs(slope - 1) <= LIMITS.contrast + 1e-4
        assert abs(shift) <= LIMITS.brightness + 1e-4
        np.testing.assert_allclose(after, before * slope + shift, atol=1e-4)
    assert changed.mean(axis=(1, 2, 3)).std() > 0.05


def test_half_the_strength_is_half_the_limits():
    images = np.random.default_rng(0).normal(size=(200, 6, 8, 1)).astype(np.float32)
    changed = run(lambda tensor: vary_light(tensor, LIMITS, 0.5), images)
    slopes, shifts = np.array(
        [
            np.polyfit(*pair, 1)
            for pair in zip(images.reshape(200, -1), changed.reshape(200, -1), strict=True)
        ]
    ).T
    for found, limit in ((slopes - 1, LIMITS.contrast), (shifts, LIMITS.brightness)):
        assert 0.45 * limit < np.abs(found).max() <= 0.5 * limit + 1e-4


def test_limits_of_the_recipe_hold():
    only_shift = Augmentation(0, 0, 0, shift=0.1, contrast=0, brightness=0)
    moved = run(
        lambda tensor: distort(tensor, only_shift), np.repeat(spot(29.5, 49.5)[np.newaxis], 64, 0)
    )
    places = np.array([place(image) for image in moved]) - [29.5, 49.5]
    assert (np.abs(places) <= np.array([6, 10]) + 0.1).all()
    assert (np.abs(places).max(axis=0) > [4, 7]).all()
