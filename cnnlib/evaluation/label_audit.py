"""Labels that a trained model doubts, which may be wrong, and what it confuses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnnlib.console import CONSOLE, Reporter
from cnnlib.dataset.image_set import ImageSet
from cnnlib.dataset.labels import ids_to_label
from cnnlib.networks.decoding import decode, sequence_probability
from cnnlib.text_reader import TextReader

DOUBTFUL_RATIO = 0.01  # of the answer's probability, or less
IMAGES_PER_STEP = 256  # of the progress bar


@dataclass(frozen=True)
class DoubtfulLabel:
    """An image whose label is likely wrong, and what the model reads instead."""

    name: str
    label: str
    answer: str
    pixels: np.ndarray  # uint8 [H, W] or [H, W, 3]


@dataclass(frozen=True)
class LabelAudit:
    """The doubtful labels of a folder, the most doubtful first, and (label, answer) of all."""

    doubtful: list[DoubtfulLabel]
    pairs: list[tuple[str, str]]


def audit_labels(
    recognizer: TextReader, images: ImageSet, reporter: Reporter = CONSOLE
) -> LabelAudit:
    """Recognise all images, and compare their labels with the answers."""
    char_set, has_end_class = recognizer.char_set, recognizer.spec.has_end_class
    answers: list[str] = []
    ratios = []
    for start in reporter.progress(range(0, len(images), IMAGES_PER_STEP), "recognising"):
        part = slice(start, start + IMAGES_PER_STEP)
        probabilities = recognizer.probabilities(images.pixels[part])  # [n, P, C]
        char_ids, confidences = decode(probabilities, has_end_class)  # [n, P]
        answers += [ids_to_label(ids, char_set) for ids in char_ids]
        ratios.append(likelihood_ratios(probabilities, images.char_ids[part], confidences))
    labels = images.labels(char_set)
    doubtful = [
        DoubtfulLabel(images.names[i], labels[i], answers[i], images.pixels[i])
        for i in doubtful_labels(np.concatenate(ratios))
    ]
    return LabelAudit(doubtful, list(zip(labels, answers, strict=True)))


def likelihood_ratios(
    probabilities: np.ndarray, char_ids: np.ndarray, confidences: np.ndarray
) -> np.ndarray:
    """Return how likely each label is, compared with the model's own answer, float [N], 0 to 1.

    `probabilities` are float [N, P, C], `char_ids` the labels, int [N, P], `confidences` those of
    the answers' characters, float [N, P].
    """
    return sequence_probability(probabilities, char_ids) / confidences.prod(axis=-1)


def doubtful_labels(ratios: np.ndarray) -> list[int]:
    """Return which labels are likely wrong, by index, the most likely first.

    Those that the model holds for far less likely than its own answer (confident learning,
    Northcutt et al. 2021, for one model and without thresholds by class).
    """
    order = np.argsort(ratios, kind="stable")
    return [int(i) for i in order if ratios[i] <= DOUBTFUL_RATIO]
