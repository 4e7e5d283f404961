"""Images made of the characters of others: what is seen is what the label says."""

import itertools

import numpy as np
import pytest

from cnnlib import mixing
from cnnlib.encoding import NO_CHARACTER


def drawn(char_ids, edges, width):
    """Images whose characters are blocks of the shade 10 * class + 10, from edge to edge."""
    images = np.zeros((len(char_ids), 6, width), np.uint8)
    for image, ids, its_edges in zip(images, char_ids, edges, strict=True):
        for char_id, start, end in zip(ids, its_edges[:-1], its_edges[1:], strict=True):
            image[:, start:end] = 10 * char_id + 10
    return images


def read(image):
    """The classes of an image of blocks: a block is wider than the seam between two."""
    return [int(shade) // 10 - 1 for shade, block in itertools.groupby(image[3])
            if len(list(block)) > 3]


@pytest.fixture
def batch():
    """Twelve images, 40 wide, of four characters of which no two neighbours are equal."""
    rng = np.random.default_rng(0)
    char_ids = np.array([rng.permutation(np.arange(4) + 4 * (i % 3)) for i in range(12)])
    cuts = np.array([10, 20, 30]) + rng.integers(-2, 3, (12, 3))
    edges = np.pad(cuts, ((0, 0), (1, 1)), constant_values=((0, 0), (0, 40)))
    return drawn(char_ids, edges, 40), char_ids, cuts


def test_mixed_images_show_their_labels(batch):
    pixels, char_ids, cuts = batch
    before = pixels.copy(), char_ids.copy()
    mixed, ids = mixing.mix(pixels, char_ids, cuts, np.random.default_rng(1))
    assert mixed.shape == pixels.shape and mixed.dtype == np.uint8
    changed = (ids != char_ids).any(axis=1)
    assert changed.sum() > 5
    for image, its_ids in zip(mixed, ids, strict=True):
        if len(set(its_ids)) == 4:  # neighbours can be told apart
            assert read(image) == its_ids.tolist()
    assert (ids[:, 0] == char_ids[:, 0]).all()
    for now, then in zip((pixels, char_ids), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("ink", [0, 255])
def test_neighbours_overlap_and_neither_loses_a_stroke(ink):
    pixels = np.full((8, 6, 50), 128, np.uint8)
    pixels[:, :3, 24] = ink  # the last column of the left character, in the upper half
    pixels[:, 3:, 25] = ink  # and the first of the right one, in the lower
    cuts = np.full((8, 1), 25)
    mixed, ids = mixing.mix(pixels, np.arange(16).reshape(8, 2), cuts, np.random.default_rng(0))
    strokes = abs(mixed[ids[:, 0] + 1 != ids[:, 1]].astype(int) - 128)
    upper, lower = strokes[:, 0], strokes[:, 5]
    assert len(strokes) > 1
    assert (upper.max(axis=1) > 60).all() and (lower.max(axis=1) > 60).all()
    assert (upper.argmax(axis=1) > lower.argmax(axis=1)).any()  # they have changed places


def test_pieces_that_do_not_fit_leave_the_image_as_it_is(batch):
    pixels, char_ids, _ = batch
    for cuts in ([0, 20, 30], [20, 10, 30], [10, 20, 40]):  # narrow, or in no order
        mixed, ids = mixing.mix(pixels, char_ids, np.tile(cuts, (12, 1)), np.random.default_rng(0))
        np.testing.assert_array_equal(mixed, pixels)
        np.testing.assert_array_equal(ids, char_ids)


def test_cuts_lie_between_what_the_characters_depend_on():
    saliency = np.full((2, 3, 50), 0.01)
    for k, (first, second) in enumerate([(5, 8), (20, 25), (44, 40)]):
        saliency[0, k, first - 1:first + 2] = 1
        saliency[1, k, second - 1:second + 2] = 1
    cuts = mixing.cuts(saliency)
    assert cuts.shape == (2, 2)
    np.testing.assert_allclose(cuts, [[13, 32], [17, 33]], atol=1)


def test_images_of_other_lengths_are_not_mixed_with_each_other(batch, monkeypatch):
    monkeypatch.setattr(mixing, "OVERLAP", 0.0)
    pixels, char_ids, cuts = batch
    shorter = char_ids.copy()
    shorter[6:, 2:] = NO_CHARACTER
    two = drawn(shorter[6:, :2], [[0, cut, 40] for cut in cuts[6:, 1]], 40)
    pixels = np.concatenate([pixels[:6], two])
    cuts = np.concatenate([cuts[:6], cuts[6:, [1, 0, 0]]])
    mixed, ids = mixing.mix(pixels, shorter, cuts, np.random.default_rng(1))
    lengths = (ids != NO_CHARACTER).sum(axis=1)
    assert lengths.tolist() == [4] * 6 + [2] * 6
    assert (ids[:6] != shorter[:6]).any() and (ids[6:] != shorter[6:]).any()
    for image, its_ids in zip(mixed, ids, strict=True):
        its_ids = its_ids[its_ids != NO_CHARACTER].tolist()
        if len(set(its_ids)) == len(its_ids):
            assert read(image) == its_ids


def test_coloured_images_are_mixed_as_gray_ones_are(batch):
    pixels, char_ids, cuts = batch
    gray, ids = mixing.mix(pixels, char_ids, cuts, np.random.default_rng(1))
    coloured, same_ids = mixing.mix(np.stack([pixels] * 3, axis=-1), char_ids, cuts,
                                    np.random.default_rng(1))
    np.testing.assert_array_equal(same_ids, ids)
    for channel in range(3):
        np.testing.assert_array_equal(coloured[..., channel], gray)


def test_of_many_characters_none_is_covered_by_its_neighbours():
    char_ids = np.random.default_rng(0).permuted(np.tile(np.arange(16), (200, 1)), axis=1)[:, :8]
    pixels = np.zeros((200, 6, 160), np.uint8)
    pixels[:, :2] = (100 + 10 * char_ids).repeat(20, axis=1)[:, np.newaxis]
    cuts = np.tile(np.arange(20, 160, 20), (200, 1))
    mixed, ids = mixing.mix(pixels, char_ids, cuts, np.random.default_rng(1))
    seen = (mixed[:, 0, np.newaxis] == 100 + 10 * ids[..., np.newaxis]).sum(axis=-1)
    distinct = [i for i in range(200) if len(set(ids[i])) == 8 and (ids[i] != char_ids[i]).any()]
    assert len(distinct) > 10 and seen[distinct].min() >= 3  # of 20 columns
