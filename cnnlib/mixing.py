"""New training images out of the characters of others: cut between characters, joined anew.

A character's label then stands in company that it never had, which makes a thousand images worth
several thousand. Nothing need be known of the captcha: the network that is being trained tells
where its characters are, by the pixels that their scores depend on (saliency: Simonyan et al.
2014, "Deep inside convolutional networks").

Shapes: N or B images, H x W pixels (x 3 in colour), L characters in a label.
"""

from __future__ import annotations

import functools

import numpy as np

from cnnlib.encoding import NO_CHARACTER

SWITCH = 0.5  # chance that a character comes from another image than the one to its left
NARROWEST = 0.2  # of the mean width of a character: a narrower piece shows nothing
SLACK = 0.15  # of the image's width, by which the pieces may be wider or narrower together
OVERLAP = 0.1  # of the image's width, at most, with four characters; less where there are more


def cuts(saliency: np.ndarray) -> np.ndarray:
    """Return where to cut between neighbours, columns int [N, L - 1].

    `saliency`, float [N, L, W], is what each column does for each character. A character stands
    where half of that is on either side; the cut is in the middle between two characters. After
    the end of a label there is nothing to cut, and a column means nothing.
    """
    total = saliency.cumsum(axis=-1)
    centres = (total < total[..., -1:] / 2).sum(axis=-1)
    return (centres[:, :-1] + centres[:, 1:] + 1) // 2


def mix(pixels: np.ndarray, char_ids: np.ndarray, cuts: np.ndarray,
        rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return images whose characters come from different images of the batch, and their labels.

    Takes and gives pixels uint8 [B, H, W] and char_ids int [B, L]; `cuts` is int [B, L - 1]. What
    is joined comes from images with as many characters. An image stays as it is where its pieces
    would not fit.
    """
    mixed, mixed_ids = pixels.copy(), char_ids.copy()
    lengths = (char_ids != NO_CHARACTER).sum(axis=1)
    for length in np.unique(lengths[lengths > 1]):
        equal = np.flatnonzero(lengths == length)
        mixed[equal], mixed_ids[equal, :length] = _mix_equal(
            pixels[equal], char_ids[equal, :length], cuts[equal, :length - 1], rng)
    return mixed, mixed_ids


def _mix_equal(pixels: np.ndarray, char_ids: np.ndarray, cuts: np.ndarray,
               rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mix images whose labels all have L characters."""
    count, _, width = pixels.shape[:3]
    length = char_ids.shape[1]
    mixed, mixed_ids = pixels.copy(), char_ids.copy()
    edges = np.concatenate([np.zeros((count, 1), int), cuts, np.full((count, 1), width)], axis=1)
    places = np.arange(length)
    sources = rng.integers(count, size=(count, length))
    sources[:, 0] = np.arange(count)
    switched = np.where(rng.random((count, length)) < SWITCH, places, 0)
    sources = np.take_along_axis(sources, np.maximum.accumulate(switched, axis=1), axis=1)
    starts, ends = edges[sources, places], edges[sources, places + 1]
    widths = ends - starts
    fits = ((sources != sources[:, :1]).any(axis=1)
            & (widths >= NARROWEST * width / length).all(axis=1)
            & (abs(widths.sum(axis=1) - width) <= SLACK * width))
    # A ninth of the pixels shows what most of them are.
    grounds = np.median(pixels[:, ::3, ::3], axis=(1, 2)).astype(np.float32)
    overlaps = rng.integers(round(OVERLAP * width * min(1, 4 / length)) + 1, size=(count, length))
    for i in np.flatnonzero(fits):
        joined = pixels[i, :, :ends[i, 0]]
        for k in range(1, length):
            source, left = sources[i, k], sources[i, k - 1]
            joined = _joined(joined, pixels[source, :, starts[i, k]:ends[i, k]],
                             int(overlaps[i, k]), grounds[left], grounds[source])
        mixed[i] = _scaled(joined, width)
        mixed_ids[i] = char_ids[sources[i], places]
    return mixed, mixed_ids


def _joined(left: np.ndarray, right: np.ndarray, overlap: int, left_ground: np.ndarray,
            right_ground: np.ndarray) -> np.ndarray:
    """Join two pieces, uint8 [H, any width]; where they overlap, what stands out from its ground.

    So of two strokes that cross, dark on light or light on dark, none is cut. A ground is one gray
    or one colour.
    """
    overlap = min(overlap, left.shape[1], right.shape[1])
    above, below = left[:, left.shape[1] - overlap:], right[:, :overlap]
    upper, lower = np.abs(above - left_ground), np.abs(below - right_ground)
    if left.ndim == 3:
        upper, lower = upper.sum(-1, keepdims=True), lower.sum(-1, keepdims=True)
    shown = np.where(upper >= lower, above, below)
    return np.concatenate([left[:, :left.shape[1] - overlap], shown, right[:, overlap:]], axis=1)


def _scaled(pixels: np.ndarray, width: int) -> np.ndarray:
    """Scale uint8 [H, any width] or [H, any width, 3] to a width, linearly."""
    if pixels.shape[1] == width:
        return pixels
    left, share = _places(pixels.shape[1], width)
    share = share.reshape(-1, *[1] * (pixels.ndim - 2))
    return np.rint(pixels[:, left] * (1 - share) + pixels[:, left + 1] * share).astype(np.uint8)


@functools.lru_cache(maxsize=1000)
def _places(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the column to the left of each new one, and the share of that to its right, [new]."""
    place = np.linspace(0, old - 1, new)
    left = np.minimum(place.astype(int), old - 2)
    return left, (place - left).astype(np.float32)
