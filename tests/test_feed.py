"""What a step learns from: as it is at the beginning and at the end of a run, mixed in between."""

import threading

import numpy as np
import pytest

from cnnlib.feed import Feed
from cnnlib.image_set import ImageSet

IMAGES = ImageSet([f"{i}_x.png" for i in range(30)],
                  np.random.default_rng(0).integers(0, 256, (30, 6, 20), np.uint8),
                  np.stack([np.arange(30), np.arange(30) + 100], axis=1).astype(np.int32))


def feed(first_step=0, mixes=True):
    return Feed(IMAGES, 10, 100, first_step, mixes, np.random.default_rng(0))


def saliency(pixels, char_ids):
    """Characters at the columns 5 and 15."""
    assert len(pixels) == len(char_ids) == 10
    found = np.zeros((10, 2, 20))
    found[:, 0, 5] = found[:, 1, 15] = 1
    return found


def mixed_steps(fed, first_step=0):
    """Steps whose batch has an image that nobody labelled."""
    return [step for step, batch in zip(range(first_step + 1, 101), fed.batches(), strict=False)
            if (batch.char_ids[:, 1] - batch.char_ids[:, 0] != 100).any()]


def test_nothing_is_mixed_before_the_characters_are_known_nor_at_the_end():
    fed = feed()
    assert mixed_steps(fed) == []
    fed.look(saliency, threading.Event())
    np.testing.assert_array_equal(fed.cuts, [[10]] * 30)
    assert mixed_steps(fed) == list(range(1, 76))


@pytest.mark.parametrize(("first_step", "due"), [
    (0, [16, 36]), (20, [21, 36]), (50, [51]), (80, []),
])
def test_looks_are_due_twice_and_at_once_in_a_run_that_goes_on(first_step, due):
    fed, looked = feed(first_step), []
    for step in range(first_step + 1, 101):
        if fed.look_due(step):
            looked.append(step)
            fed.look(saliency, threading.Event())
    assert looked == due
    assert not any(feed(mixes=False).look_due(step) for step in range(1, 101))


def test_stopped_look_leaves_what_was_known():
    fed, stop = feed(), threading.Event()
    stop.set()
    fed.look(saliency, stop)
    assert fed.cuts is None


def test_a_batch_knows_its_images():
    batch = next(feed().batches())
    np.testing.assert_array_equal(IMAGES.pixels[batch.chosen], batch.pixels)
    np.testing.assert_array_equal(IMAGES.char_ids[batch.chosen], batch.char_ids)
