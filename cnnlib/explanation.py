"""Why a recogniser answered as it did: how sure it is of each character, and where it looked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnnlib.text_reader import Prediction

RUNNERS_UP = 5  # other characters of a position, the most probable ones
LEAST_PROBABILITY = 0.001  # of a runner-up
# Of boxes around characters.
NARROWEST = 4  # pixels
WIDEST = 1.6  # times the median distance of characters, which is their usual one
MARGIN = 0.1  # of that distance, on both sides: centres are not that exact
TALL = 4  # times as high as characters are wide: more than one line of them
SHARPENING = 2  # power of a map, so that little is left of what it looks at besides
LEANING = 0.15  # of a place; measured on the shipped model
SALIENCY_SHARE = 2 / 3  # of a place that two kinds of maps say


@dataclass(frozen=True)
class Details:
    """What a network computed on its way to N answers.

    `probabilities`: of each class at each position, float32 [N, P, C], those of
    `Recognizer.probabilities`. `attention`: where each position looked, float32 [N, P, h, w], a map
    of at least 0 and sum 1 on a coarse grid over the image. `glimpses`: what the classifier
    reads at each position, float32 [N, P, F]; in the network `cnn5` they are the same for all.
    """

    probabilities: np.ndarray
    attention: np.ndarray
    glimpses: np.ndarray


@dataclass(frozen=True)
class CharExplanation:
    """One character of an answer, and its confidence, as in `Prediction.char_confidences`.

    `runners_up`: up to 5 other characters and their probabilities at this position, the most
    probable first, none below 0.001. `attention`: float32 [h, w], see `Details`.
    """

    character: str
    confidence: float
    runners_up: tuple[tuple[str, float], ...]
    attention: np.ndarray


@dataclass(frozen=True)
class Explanation:
    """An answer, and what is behind each of its characters, in reading order."""

    prediction: Prediction
    characters: tuple[CharExplanation, ...]


def explain(
    prediction: Prediction,
    probabilities: np.ndarray,
    attention: np.ndarray,
    char_set: tuple[str, ...],
) -> Explanation:
    """Explain one image's prediction by its details, float [P, C] and [P, h, w]."""
    characters = zip(
        prediction.text, prediction.char_confidences, probabilities, attention, strict=False
    )
    return Explanation(
        prediction,
        tuple(
            CharExplanation(character, confidence, runners_up(row, character, char_set), places)
            for character, confidence, row, places in characters
        ),
    )


def runners_up(
    probabilities: np.ndarray, character: str, char_set: tuple[str, ...]
) -> tuple[tuple[str, float], ...]:
    """Return the most probable other characters of a position, whose classes are float [C].

    The end class, which follows the characters, is not one of them.
    """
    order = np.argsort(-probabilities[: len(char_set)], kind="stable")[: RUNNERS_UP + 1]
    others = [(char_set[i], float(probabilities[i])) for i in order if char_set[i] != character]
    return tuple(pair for pair in others[:RUNNERS_UP] if pair[1] >= LEAST_PROBABILITY)


def character_boxes(
    attention: np.ndarray,
    count: int,
    image: tuple[int, int],
    saliency: np.ndarray | None = None,
) -> np.ndarray:
    """Locate the first `count` characters of an image by their maps of attention, float [P, h, w].

    `saliency`, of `Recognizer.saliency_of`, makes the places more exact: maps of the same
    positions, on a finer grid. `image`: its height and width in pixels, as the model reads it.
    Returns left, top, right and bottom of each, int [count, 4], right and bottom exclusive.
    Characters are parted half way between their centres, with a little of their neighbours. None
    is wider than WIDEST times their usual distance, nor than the image is high. A box has the
    image's height, but in images that are very high for their characters.
    """
    height, width = image
    if not count:
        return np.zeros((0, 4), int)
    x = _means(attention[:count].sum(axis=1) ** SHARPENING, width)  # of [count, w]
    y = _means(attention[:count].sum(axis=2) ** SHARPENING, height)  # of [count, h]
    if saliency is not None:
        x += (_medians(saliency[:count].sum(axis=1), width) - x) * SALIENCY_SHARE
        y += (_medians(saliency[:count].sum(axis=2), height) - y) * SALIENCY_SHARE
    order = np.argsort(x, kind="stable")  # from left to right, which need not be that of reading
    gaps = np.diff(x[order])  # [count - 1]
    usual = float(np.median(gaps)) if count > 1 else float(height)
    widest = float(np.clip(WIDEST * usual, NARROWEST, max(height, NARROWEST)))
    sides = np.full((count, 2), widest / 2)  # from the centre to the left and to the right
    sides[order[1:], 0] = sides[order[:-1], 1] = gaps / 2 + MARGIN * usual
    sides = np.clip(sides, NARROWEST / 2, widest / 2)
    half = widest if height > TALL * widest else height  # from the centre up and down
    left, right = _within(x - sides[:, 0], x + sides[:, 1], width)
    top, bottom = _within(y - half, y + half, height)
    return np.stack([left, top, right, bottom], axis=1)


def _means(weights: np.ndarray, pixels: int) -> np.ndarray:
    """Return the mean place of each row of weights, float [n, places], in pixels."""
    means: np.ndarray = weights @ place_centres(weights.shape[1], pixels) / weights.sum(axis=1)
    return means


def _medians(weights: np.ndarray, pixels: int) -> np.ndarray:
    """Return where each row, float [n, places], has half of its sum on either side, in pixels."""
    totals = np.pad(weights, [(0, 0), (1, 0)]).cumsum(axis=1)  # [n, places + 1]
    bounds = np.linspace(0, pixels, weights.shape[1] + 1)
    return np.array([np.interp(row[-1] / 2, row, bounds) for row in totals])


def _within(low: np.ndarray, high: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return whole pixels from low to high inside a side, at least NARROWEST of them."""
    least = min(NARROWEST, size)
    start = np.clip(np.rint(low), 0, size - least).astype(int)
    return start, np.maximum(np.clip(np.rint(high), 0, size).astype(int), start + least)


def place_centres(places: int, pixels: int) -> np.ndarray:
    """Return what pixel each place of a map looks at, float [places]; 0.5 is the first's middle.

    A network halves a side until it has that many places. From an even number on, the first place
    is between the first two; from an odd one, where padding comes first, on the first. Filters of
    odd sizes with a stride lean to the end besides.
    """
    start, step, size = 0.5, 1.0, pixels
    while size > places:
        if size % 2 == 0:
            start += step / 2
        size, step = -(-size // 2), step * 2
    return start + step * (LEANING + np.arange(places))


def heat_map(attention: np.ndarray, image: tuple[int, int]) -> np.ndarray:
    """Return one map, float [h, w], as large as the image, float [H, W], with 1 as its maximum."""
    height, width = image
    rows, columns = (
        place_centres(places, pixels) for places, pixels in zip(attention.shape, image, strict=True)
    )
    wide = [np.interp(np.arange(width) + 0.5, columns, row) for row in attention]  # h of [W]
    high = [np.interp(np.arange(height) + 0.5, rows, column) for column in np.transpose(wide)]
    result: np.ndarray = np.transpose(high)  # [H, W]
    return result / result.max()
