"""Measures of right and wrong answers, in numpy alone.

Shapes: N images, P positions, C classes. Logits float [N, P, C], char_ids int [N, P], PAD_ID after
the end of a label.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from cnnlib.dataset.labels import PAD_ID
from cnnlib.networks.decoding import class_ids, counted_positions, decode

Z95 = 1.959964  # of the normal distribution, two-sided 95 %
TEMPERATURE_RANGE = (0.1, 10.0)
MASKED_BELOW = -1e3  # a logit below it says that the position cannot have the class
MAX_FITTED = 5_000_000  # logits, in some 150 MB: enough for one number
CALIBRATION_BINS, MIN_BIN_SIZE = 10, 100
CONFIDENCE_THRESHOLDS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Scores:
    """Shares of right characters and of wholly right images, 0 to 1, and the mean loss.

    `right`, bool [N], says which images are right; None where only the shares are known.
    """

    char_accuracy: float
    image_accuracy: float
    loss: float
    right: np.ndarray | None = field(default=None, compare=False, repr=False)

    def to_json(self) -> dict[str, float]:
        return {
            "char_accuracy": self.char_accuracy,
            "image_accuracy": self.image_accuracy,
            "loss": self.loss,
        }

    def better_than(self, other: Scores, count: int) -> bool:
        """Compare two scores of the same `count` images: by the images right; then by loss.

        The loss decides where the difference is within chance: of 50 images one more may be luck,
        and would keep weights from the middle of a run.
        """
        return self.clearly_above(other, count) or (
            self.loss < other.loss and not other.clearly_above(self, count)
        )

    def clearly_above(self, other: Scores, count: int) -> bool:
        """Return whether more images are right by more than a standard error.

        Where it is not known which are right, as if the images were others.
        """
        if self.right is None or other.right is None:
            share = ((self.image_accuracy + other.image_accuracy) / 2 * count + 2) / (count + 4)
            chance = math.sqrt(share * (1 - share) / (count + 4))  # Agresti and Coull 1998
            return self.image_accuracy - other.image_accuracy > chance
        return clearly_more_right(self.right, other.right)


def scores(
    logits: np.ndarray, char_ids: np.ndarray, losses: np.ndarray, has_end_class: bool
) -> Scores:
    """Return the scores of N images; `losses` has one value for each."""
    answers = decode(softmax(logits), has_end_class)[0]  # [N, P]
    right = (answers == char_ids).all(axis=1)  # [N]
    return Scores(
        float(count_right(char_ids, answers).sum() / (char_ids != PAD_ID).sum()),
        float(right.mean()),
        float(losses.mean()),
        right,
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def right_characters(label: Sequence[Any], text: Sequence[Any]) -> int:
    """Count the characters of a label that were read: those that are at their place in the text.

    In a text of another length, where all after a missing character would be out of place, those
    that match in order. This is the one definition of character accuracy, on which version 2 agrees
    for labels of one length.
    """
    if len(label) == len(text):
        return sum(true == read for true, read in zip(label, text, strict=True))
    matcher = SequenceMatcher(None, label, text, autojunk=False)
    return sum(block.size for block in matcher.get_matching_blocks())


def count_right(char_ids: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Return `right_characters` of each label and answer, both int [N, L], as int [N]."""
    counts = ((answers == char_ids) & (char_ids != PAD_ID)).sum(axis=1)
    lengths, read = ((ids != PAD_ID).sum(axis=1) for ids in (char_ids, answers))
    for i in np.flatnonzero(lengths != read):
        counts[i] = right_characters(
            char_ids[i, : lengths[i]].tolist(), answers[i, : read[i]].tolist()
        )
    return counts


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927); all of 0 to 1 where nothing was tried."""
    if total == 0:
        return 0.0, 1.0
    share, z2 = right / total, Z95 * Z95
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = (
        Z95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    )
    return max(0.0, centre - half), min(1.0, centre + half)


def clearly_more_right(right: np.ndarray, other_right: np.ndarray) -> bool:
    """Return whether more of the same N images are right, by more than a standard error.

    Both are bool [N]. Images right in both, or wrong in both, say nothing. Of the others each is as
    likely to be right here as there, unless one is better (McNemar 1947).
    """
    gained, lost = _differing(right, other_right)
    return gained - lost > math.sqrt(gained + lost)


def mcnemar_p_value(right: np.ndarray, other_right: np.ndarray) -> float:
    """Return how likely so unequal results are, by chance, of two models on the same N images.

    Both are bool [N]: McNemar's test, by the exact two-sided binomial distribution.
    """
    gained, lost = _differing(right, other_right)
    differing = gained + lost
    tail = sum(math.comb(differing, k) for k in range(min(gained, lost) + 1)) / 2**differing
    return min(1.0, 2 * tail)


def _differing(right: np.ndarray, other_right: np.ndarray) -> tuple[int, int]:
    """Return how many images are right here alone, and how many there alone."""
    return int((right & ~other_right).sum()), int((other_right & ~right).sum())


def surely_reaches(accuracy: float, total: int, wanted: float) -> bool:
    """Return whether a share of `total` images is `wanted` or more, whatever chance did."""
    return wilson_interval(round(accuracy * total), total)[0] >= wanted


def confusions(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str, int]]:
    """Count (true character, wrong answer) over pairs of (label, text); most frequent first.

    A text of another length than its label says nothing of single characters.
    """
    counts = Counter(
        (true, read)
        for label, text in pairs
        if len(label) == len(text)
        for true, read in zip(label, text, strict=True)
        if true != read
    )
    return [
        (true, read, count)
        for (true, read), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def calibration_error(confidences: np.ndarray, right: np.ndarray) -> float:
    """Return how far confidences, float [N], are from the share of right answers, bool [N].

    The mean over bins of equally many answers, sorted by confidence, of the difference between
    mean confidence and accuracy (expected calibration error, Naeini et al. 2015; equal-mass bins,
    since most confidences lie near 1).
    """
    order = np.argsort(confidences, kind="stable")
    # In small bins chance alone would make a gap.
    bins = np.array_split(order, max(1, min(CALIBRATION_BINS, len(order) // MIN_BIN_SIZE)))
    gaps = [abs(confidences[part].mean() - right[part].mean()) * len(part) for part in bins]
    return float(sum(gaps) / len(order))


@dataclass(frozen=True)
class Coverage:
    """What is left where only answers of at least some confidence are given; shares 0 to 1.

    `accuracy` is the share of right ones among the answered; None where none is.
    """

    threshold: float
    answered: float
    accuracy: float | None


def coverage(confidences: np.ndarray, right: np.ndarray) -> list[Coverage]:
    """Return the choice between many answers and sure ones: float [N] and bool [N] become rows."""
    rows = []
    for threshold in CONFIDENCE_THRESHOLDS:
        given = confidences >= threshold
        rows.append(
            Coverage(
                threshold, float(given.mean()), float(right[given].mean()) if given.any() else None
            )
        )
    return rows


def fit_temperature(logits: np.ndarray, char_ids: np.ndarray) -> float:
    """Return what to divide logits by so that confidences are calibrated (Guo et al. 2017).

    It minimises the cross-entropy of the characters. Their labels are smoothed by one wrong
    answer among all: after a test set that was all right nothing would limit the confidence.
    """
    every = -(-logits.size // MAX_FITTED) or 1
    logits, char_ids = logits[::every], char_ids[::every]
    counted = counted_positions(char_ids)  # [N, P]
    flat = logits[counted].astype(np.float64)  # [positions that count, C]
    true = flat[np.arange(len(flat)), class_ids(char_ids, logits.shape[-1])[counted]]
    smoothing = 1 / (len(flat) + 1)
    mean = flat.mean(axis=1, where=flat > MASKED_BELOW)
    wanted = (1 - smoothing) * true + smoothing * mean

    def cross_entropy(log_temperature: float) -> float:
        scale = math.exp(-log_temperature)
        highest = flat.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp((flat - highest) * scale).sum(axis=1)) + highest[:, 0] * scale
        return float((log_sum - wanted * scale).mean())

    return math.exp(_minimum(cross_entropy, *map(math.log, TEMPERATURE_RANGE)))


def _minimum(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function with one valley is lowest, by golden-section search."""
    ratio = (math.sqrt(5) - 1) / 2
    while high - low > 1e-3:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if function(left) < function(right):
            high = right
        else:
            low = left
    return (low + high) / 2
