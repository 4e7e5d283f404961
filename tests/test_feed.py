"""What a step learns from: as it is at the beginning and at the end of a run, mixed in between."""

import threading

import numpy as np
import pytest

from cnnlib import feed as feed_module
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
    fed.look(16, saliency, threading.Event())
    np.testing.assert_array_equal(fed.cuts, [[10]] * 30)
    steps = mixed_steps(fed)
    assert len(steps) > 70 and max(steps) == 75  # by chance a batch may be left as it is


@pytest.mark.parametrize(("first_step", "due"), [
    (0, [16, 36]), (20, [21, 36]), (50, [51]), (80, []),
])
def test_looks_are_due_twice_and_at_once_in_a_run_that_goes_on(first_step, due):
    fed, looked = feed(first_step), []
    for step in range(first_step + 1, 101):
        if fed.look_due(step):
            looked.append(step)
    assert looked == due
    assert not any(feed(mixes=False).look_due(step) for step in range(1, 101))


def test_the_step_from_which_on_all_images_are_mixed_is_known():
    fed = feed(first_step=50)
    assert fed.new_kind_at == 0
    fed.look(51, saliency, threading.Event())
    assert fed.new_kind_at == 36
    fed = feed()
    for step in (16, 36):  # at the second look they are mixed already
        fed.look(step, saliency, threading.Event())
        assert fed.new_kind_at == 16


def test_of_many_images_some_are_looked_at_and_mixed_into_each_batch(monkeypatch):
    monkeypatch.setattr(feed_module, "LOOKED_AT", 20)
    fed = feed()
    fed.look(16, saliency, threading.Event())
    assert fed.cuts.shape == (20, 1) and fed.new_kind_at == 0
    known, seen = set(), set()
    for _, batch in zip(range(75), fed.batches(), strict=False):
        own = batch.char_ids[:, 1] - batch.char_ids[:, 0] == 100
        assert own[5:].all()
        np.testing.assert_array_equal(IMAGES.pixels[batch.chosen[5:]], batch.pixels[5:])
        known |= set(batch.char_ids[:5, 0].tolist())
        seen |= set(batch.chosen[5:].tolist())
        if not own.all():
            mixed = np.flatnonzero(~own)[0]
            assert not (IMAGES.pixels == batch.pixels[mixed]).all(axis=(1, 2)).any()
    assert len(known) == 20 and seen == set(range(30))


def test_stopped_look_leaves_what_was_known():
    fed, stop = feed(), threading.Event()
    stop.set()
    fed.look(16, saliency, stop)
    assert fed.cuts is None


def test_a_batch_knows_its_images():
    batch = next(feed().batches())
    np.testing.assert_array_equal(IMAGES.pixels[batch.chosen], batch.pixels)
    np.testing.assert_array_equal(IMAGES.char_ids[batch.chosen], batch.char_ids)
