"""What a step learns from: images as they are at both ends of a run, spliced in between."""

import dataclasses
import threading

import numpy as np
import pytest

from cnnlib.console import CONSOLE
from cnnlib.dataset.image_set import ImageSet
from cnnlib.errors import SampleError
from cnnlib.training.batches import TrainingBatches, prefetch
from cnnlib.training.recipes import Splicing

IMAGES = ImageSet(
    [f"{i}_x.png" for i in range(30)],
    np.random.default_rng(0).integers(0, 256, (30, 6, 20), np.uint8),
    np.stack([np.arange(30), np.arange(30) + 100], axis=1).astype(np.int32),
)


SPLICING = Splicing()


def training_batches(first_step=0, splicing=SPLICING):
    return TrainingBatches(IMAGES, 10, 100, first_step, splicing, np.random.default_rng(0))


def locate(source, step, stop=None):
    source.locate_characters(step, saliency, stop or threading.Event(), CONSOLE)


def saliency(pixels, char_ids):
    """Characters at the columns 5 and 15."""
    assert len(pixels) == len(char_ids) == 10
    found = np.zeros((10, 2, 20))
    found[:, 0, 5] = found[:, 1, 15] = 1
    return found


def spliced_steps(source, first_step=0):
    """Return the steps whose batch has an image that nobody labelled."""
    return [
        step
        for step, batch in zip(range(first_step + 1, 101), source.batches(), strict=False)
        if (batch.char_ids[:, 1] - batch.char_ids[:, 0] != 100).any()
    ]


def test_nothing_is_spliced_before_the_characters_are_located_nor_at_the_end():
    source = training_batches()
    assert spliced_steps(source) == []
    locate(source, 16)
    np.testing.assert_array_equal(source.cuts, [[10]] * 30)
    steps = spliced_steps(source)
    assert len(steps) > 70 and max(steps) == 75  # by chance a batch may be left as it is


@pytest.mark.parametrize(
    ("first_step", "expected"), [(0, [16, 36]), (20, [21, 36]), (50, [51]), (80, [])]
)
def test_characters_are_located_twice_and_at_once_in_a_run_that_goes_on(first_step, expected):
    source, steps = training_batches(first_step), range(first_step + 1, 101)
    assert [step for step in steps if source.should_locate(step)] == expected
    without = training_batches(first_step, splicing=None)
    assert not any(without.should_locate(step) for step in range(1, 101))


def test_the_step_from_which_on_all_images_are_spliced_is_known():
    source = training_batches(first_step=50)
    assert source.splicing_starts_at == 0
    locate(source, 51)
    assert source.splicing_starts_at == 36
    source = training_batches()
    for step in (16, 36):  # the second time they are spliced already
        locate(source, step)
        assert source.splicing_starts_at == 16


def test_of_many_images_some_are_located_and_spliced_into_each_batch():
    source = training_batches(splicing=dataclasses.replace(SPLICING, located_images=20))
    locate(source, 16)
    assert source.cuts.shape == (20, 1) and source.splicing_starts_at == 0
    located, seen = set(), set()
    for _, batch in zip(range(75), source.batches(), strict=False):
        own = batch.char_ids[:, 1] - batch.char_ids[:, 0] == 100
        assert own[5:].all()
        np.testing.assert_array_equal(IMAGES.pixels[batch.chosen[5:]], batch.pixels[5:])
        located |= set(batch.char_ids[:5, 0].tolist())
        seen |= set(batch.chosen[5:].tolist())
        if not own.all():
            spliced = np.flatnonzero(~own)[0]
            assert not (IMAGES.pixels == batch.pixels[spliced]).all(axis=(1, 2)).any()
    assert len(located) == 20 and seen == set(range(30))


def test_share_of_a_batch_that_is_spliced_is_that_of_the_recipe():
    few = dataclasses.replace(SPLICING, located_images=20, batch_share=0.2)
    source = training_batches(splicing=few)
    locate(source, 16)
    for _, batch in zip(range(20), source.batches(), strict=False):
        np.testing.assert_array_equal(IMAGES.pixels[batch.chosen[2:]], batch.pixels[2:])


def test_splicing_ends_where_the_recipe_says():
    source = training_batches(splicing=dataclasses.replace(SPLICING, until=0.5, locate_at=(0.1,)))
    assert [step for step in range(1, 101) if source.should_locate(step)] == [11]
    locate(source, 11)
    assert max(spliced_steps(source)) == 50


def test_locating_that_is_stopped_leaves_what_was_known():
    source, stop = training_batches(), threading.Event()
    stop.set()
    locate(source, 16, stop)
    assert source.cuts is None


def test_batch_knows_its_images():
    batch = next(training_batches().batches())
    np.testing.assert_array_equal(IMAGES.pixels[batch.chosen], batch.pixels)
    np.testing.assert_array_equal(IMAGES.char_ids[batch.chosen], batch.char_ids)


# --- prefetch ---


def test_items_come_in_order_and_an_error_at_its_place():
    def items():
        yield from range(5)
        raise SampleError("gone")

    with prefetch(items()) as taken:
        assert [next(taken) for _ in range(5)] == [0, 1, 2, 3, 4]
        with pytest.raises(SampleError, match="gone"):
            next(taken)
