"""Images made of the characters of others: what is seen is what the label says."""

import dataclasses
import itertools

import numpy as np
import pytest

from cnnlib.dataset.labels import PAD_ID
from cnnlib.training.recipes import Splicing
from cnnlib.training.splicing import find_cuts, splice

SPLICING = Splicing()


def drawn(char_ids, edges, width):
    """Images whose characters are blocks of the shade 10 * class + 10, from edge to edge."""
    images = np.zeros((len(char_ids), 6, width), np.uint8)
    for image, ids, columns in zip(images, char_ids, edges, strict=True):
        for char_id, (start, end) in zip(ids, itertools.pairwise(columns), strict=True):
            image[:, start:end] = 10 * char_id + 10
    return images


def read(image):
    """The classes of an image of blocks: a block is wider than the seam between two."""
    return [
        int(shade) // 10 - 1 for shade, block in itertools.groupby(image[3]) if len(list(block)) > 3
    ]


@pytest.fixture
def batch():
    """Twelve images, 40 wide, of four characters of which no two neighbours are equal."""
    rng = np.random.default_rng(0)
    char_ids = np.array([rng.permutation(np.arange(4) + 4 * (i % 3)) for i in range(12)])
    cuts = np.array([10, 20, 30]) + rng.integers(-2, 3, (12, 3))
    edges = np.pad(cuts, ((0, 0), (1, 1)), constant_values=((0, 0), (0, 40)))
    return drawn(char_ids, edges, 40), char_ids, cuts


def test_spliced_images_show_their_labels(batch):
    pixels, char_ids, cuts = batch
    before = pixels.copy(), char_ids.copy()
    spliced, ids = splice(pixels, char_ids, cuts, SPLICING, np.random.default_rng(1))
    assert spliced.shape == pixels.shape and spliced.dtype == np.uint8
    changed = (ids != char_ids).any(axis=1)
    assert changed.sum() > 5
    for image, label in zip(spliced, ids, strict=True):
        if len(set(label)) == 4:  # neighbours can be told apart
            assert read(image) == label.tolist()
    assert (ids[:, 0] == char_ids[:, 0]).all()
    for now, then in zip((pixels, char_ids), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("ink", [0, 255])
def test_neighbours_overlap_and_neither_loses_a_stroke(ink):
    pixels = np.full((8, 6, 50), 128, np.uint8)
    pixels[:, :3, 24] = ink  # the last column of the left character, in the upper half
    pixels[:, 3:, 25] = ink  # and the first of the right one, in the lower
    cuts = np.full((8, 1), 25)
    spliced, ids = splice(
        pixels, np.arange(16).reshape(8, 2), cuts, SPLICING, np.random.default_rng(0)
    )
    strokes = abs(spliced[ids[:, 0] + 1 != ids[:, 1]].astype(int) - 128)
    upper, lower = strokes[:, 0], strokes[:, 5]
    assert len(strokes) > 1
    assert (upper.max(axis=1) > 60).all() and (lower.max(axis=1) > 60).all()
    assert (upper.argmax(axis=1) > lower.argmax(axis=1)).any()  # they have changed places


def test_pieces_that_do_not_fit_leave_the_image_as_it_is(batch):
    pixels, char_ids, _ = batch
    for cuts in ([0, 20, 30], [20, 10, 30], [10, 20, 40]):  # narrow, or in no order
        spliced, ids = splice(
            pixels, char_ids, np.tile(cuts, (12, 1)), SPLICING, np.random.default_rng(0)
        )
        np.testing.assert_array_equal(spliced, pixels)
        np.testing.assert_array_equal(ids, char_ids)


def test_cuts_lie_between_what_the_characters_depend_on():
    saliency = np.full((2, 3, 50), 0.01)
    for k, (first, second) in enumerate([(5, 8), (20, 25), (44, 40)]):
        saliency[0, k, first - 1 : first + 2] = 1
        saliency[1, k, second - 1 : second + 2] = 1
    cuts = find_cuts(saliency)
    assert cuts.shape == (2, 2)
    np.testing.assert_allclose(cuts, [[13, 32], [17, 33]], atol=1)


def test_images_of_other_lengths_are_not_spliced_with_each_other(batch):
    apart = dataclasses.replace(SPLICING, overlap=0.0)
    pixels, char_ids, cuts = batch
    shorter = char_ids.copy()
    shorter[6:, 2:] = PAD_ID
    two = drawn(shorter[6:, :2], [[0, cut, 40] for cut in cuts[6:, 1]], 40)
    pixels = np.concatenate([pixels[:6], two])
    cuts = np.concatenate([cuts[:6], cuts[6:, [1, 0, 0]]])
    spliced, ids = splice(pixels, shorter, cuts, apart, np.random.default_rng(1))
    lengths = (ids != PAD_ID).sum(axis=1)
    assert lengths.tolist() == [4] * 6 + [2] * 6
    assert (ids[:6] != shorter[:6]).any() and (ids[6:] != shorter[6:]).any()
    for image, padded in zip(spliced, ids, strict=True):
        label = padded[padded != PAD_ID].tolist()
        if len(set(label)) == len(label):
            assert read(image) == label


def test_coloured_images_are_spliced_as_gray_ones_are(batch):
    pixels, char_ids, cuts = batch
    gray, ids = splice(pixels, char_ids, cuts, SPLICING, np.random.default_rng(1))
    coloured, same_ids = splice(
        np.stack([pixels] * 3, axis=-1), char_ids, cuts, SPLICING, np.random.default_rng(1)
    )
    np.testing.assert_array_equal(same_ids, ids)
    for channel in range(3):
        np.testing.assert_array_equal(coloured[..., channel], gray)


def test_of_many_characters_none_is_covered_by_its_neighbours():
    char_ids = np.random.default_rng(0).permuted(np.tile(np.arange(16), (200, 1)), axis=1)[:, :8]
    pixels = np.zeros((200, 6, 160), np.uint8)
    pixels[:, :2] = (100 + 10 * char_ids).repeat(20, axis=1)[:, np.newaxis]
    cuts = np.tile(np.arange(20, 160, 20), (200, 1))
    spliced, ids = splice(pixels, char_ids, cuts, SPLICING, np.random.default_rng(1))
    seen = (spliced[:, 0, np.newaxis] == 100 + 10 * ids[..., np.newaxis]).sum(axis=-1)
    distinct = [i for i in range(200) if len(set(ids[i])) == 8 and (ids[i] != char_ids[i]).any()]
    assert len(distinct) > 10 and seen[distinct].min() >= 3  # of 20 columns


def test_chance_of_another_source_is_that_of_the_recipe(batch):
    pixels, char_ids, cuts = batch
    never = dataclasses.replace(SPLICING, switch=0.0)
    _, ids = splice(pixels, char_ids, cuts, never, np.random.default_rng(1))
    np.testing.assert_array_equal(ids, char_ids)


def test_slack_and_width_of_the_recipe_decide_what_fits(batch):
    pixels, char_ids, cuts = batch
    for strict in ({"slack": -1.0}, {"narrowest": 2.0}):
        settings = dataclasses.replace(SPLICING, **strict)
        _, ids = splice(pixels, char_ids, cuts, settings, np.random.default_rng(1))
        np.testing.assert_array_equal(ids, char_ids)
