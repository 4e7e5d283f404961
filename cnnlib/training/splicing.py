"""New training images out of the characters of others: cut between characters, joined again.

A character then has neighbours that it never had, which makes a thousand images worth several
thousand. Nothing need be known of the captcha: the network in training shows where its
characters are, by the pixels that their scores depend on (saliency: Simonyan et al. 2014, "Deep
inside convolutional networks").

Shapes: N or B images, H x W pixels (x 3 in colour), L characters in a label.
"""

from __future__ import annotations

import functools

import numpy as np

from cnnlib.dataset.labels import PAD_ID
from cnnlib.training.recipes import Splicing


def find_cuts(saliency: np.ndarray) -> np.ndarray:
    """Return where to cut between neighbours, columns int [N, L - 1].

    `saliency`, float [N, L, W], is what each column contributes to each character. The centre of a
    character is where half of that is on either side; the cut is in the middle between two centres.
    After the end of a label there is nothing to cut, and a column means nothing.
    """
    total = saliency.cumsum(axis=-1)  # [N, L, W]
    centres = (total < total[..., -1:] / 2).sum(axis=-1)  # [N, L]
    return (centres[:, :-1] + centres[:, 1:] + 1) // 2  # [N, L - 1]


def splice(
    pixels: np.ndarray,
    char_ids: np.ndarray,
    cuts: np.ndarray,
    settings: Splicing,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return images whose characters come from different images of the batch, and their labels.

    Takes and gives pixels uint8 [B, H, W] and char_ids int [B, L]; `cuts` is int [B, L - 1]. What
    is joined comes from images with as many characters. An image stays as it is where its pieces
    would not fit.
    """
    spliced, spliced_ids = pixels.copy(), char_ids.copy()
    lengths = (char_ids != PAD_ID).sum(axis=1)  # [B]
    for length in np.unique(lengths[lengths > 1]):
        equal = np.flatnonzero(lengths == length)
        spliced[equal], spliced_ids[equal, :length] = _splice_equal_lengths(
            pixels[equal], char_ids[equal, :length], cuts[equal, : length - 1], settings, rng
        )
    return spliced, spliced_ids


def _splice_equal_lengths(
    pixels: np.ndarray,
    char_ids: np.ndarray,
    cuts: np.ndarray,
    settings: Splicing,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Splice images whose labels all have L characters."""
    count, _, width = pixels.shape[:3]
    length = char_ids.shape[1]
    spliced, spliced_ids = pixels.copy(), char_ids.copy()
    left, right = np.zeros((count, 1), int), np.full((count, 1), width)
    edges = np.concatenate([left, cuts, right], axis=1)  # [B, L + 1]
    positions = np.arange(length)
    sources = _sources(count, length, settings.switch, rng)  # [B, L]
    starts, ends = edges[sources, positions], edges[sources, positions + 1]  # [B, L]
    fits = _fits(sources, ends - starts, width, settings)  # [B]
    # A ninth of the pixels shows what most of them are.
    grounds = np.median(pixels[:, ::3, ::3], axis=(1, 2)).astype(np.float32)  # [B] or [B, 3]
    most = round(settings.overlap * width * min(1, 4 / length))
    overlaps = rng.integers(most + 1, size=(count, length))
    for i in np.flatnonzero(fits):
        joined = pixels[i, :, : ends[i, 0]]  # [H, width of the first piece]
        for k in range(1, length):
            source, left_source = sources[i, k], sources[i, k - 1]
            piece = pixels[source, :, starts[i, k] : ends[i, k]]
            ground, left_ground = grounds[source], grounds[left_source]
            joined = _join(joined, piece, int(overlaps[i, k]), left_ground, ground)
        spliced[i] = _scale_width(joined, width)
        spliced_ids[i] = char_ids[sources[i], positions]
    return spliced, spliced_ids


def _sources(count: int, length: int, switch: float, rng: np.random.Generator) -> np.ndarray:
    """Return the image that each character comes from, int [B, L]; the first from its own."""
    positions = np.arange(length)
    sources = rng.integers(count, size=(count, length))
    sources[:, 0] = np.arange(count)
    switched = np.where(rng.random((count, length)) < switch, positions, 0)
    return np.take_along_axis(sources, np.maximum.accumulate(switched, axis=1), axis=1)


def _fits(sources: np.ndarray, widths: np.ndarray, width: int, settings: Splicing) -> np.ndarray:
    """Return which images are spliced, bool [B]: of several sources, and pieces that fit."""
    return (
        (sources != sources[:, :1]).any(axis=1)
        & (widths >= settings.narrowest * width / widths.shape[1]).all(axis=1)
        & (abs(widths.sum(axis=1) - width) <= settings.slack * width)
    )


def _join(
    left: np.ndarray,
    right: np.ndarray,
    overlap: int,
    left_ground: np.ndarray,
    right_ground: np.ndarray,
) -> np.ndarray:
    """Join two pieces, uint8 [H, any width]; where they overlap, what stands out from its ground.

    So of two strokes that cross, dark on light or light on dark, none is cut. A ground is one gray
    or one colour.
    """
    overlap = min(overlap, left.shape[1], right.shape[1])  # columns
    above, below = left[:, left.shape[1] - overlap :], right[:, :overlap]
    upper, lower = np.abs(above - left_ground), np.abs(below - right_ground)  # [H, overlap]
    if left.ndim == 3:
        upper, lower = upper.sum(-1, keepdims=True), lower.sum(-1, keepdims=True)
    shown = np.where(upper >= lower, above, below)
    return np.concatenate([left[:, : left.shape[1] - overlap], shown, right[:, overlap:]], axis=1)


def _scale_width(pixels: np.ndarray, width: int) -> np.ndarray:
    """Scale uint8 [H, any width] or [H, any width, 3] to a width, linearly."""
    if pixels.shape[1] == width:
        return pixels
    left, share = _source_columns(pixels.shape[1], width)
    share = share.reshape(-1, *[1] * (pixels.ndim - 2))
    return np.rint(pixels[:, left] * (1 - share) + pixels[:, left + 1] * share).astype(np.uint8)


@functools.lru_cache(maxsize=1000)
def _source_columns(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the column to the left of each new one, and the share of that to its right, [new]."""
    place = np.linspace(0, old - 1, new)
    left = np.minimum(place.astype(int), old - 2)
    return left, (place - left).astype(np.float32)
