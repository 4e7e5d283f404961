"""Training images that are left out because the network is sure that their label is wrong."""

from __future__ import annotations

import threading

import numpy as np

from cnnlib.dataset.image_set import ImageSet
from cnnlib.evaluation.label_audit import doubtful_labels, likelihood_ratios
from cnnlib.networks.decoding import decode
from cnnlib.training.scoring import Scorer, probabilities_in_parts

MOST = 0.2  # of the images: a network that doubts more does not read well enough to judge


def find_doubtful(
    scorer: Scorer, images: ImageSet, has_end_class: bool, stop: threading.Event
) -> np.ndarray:
    """Return which images have labels that the network holds for wrong, bool [N].

    None where it doubts too many, or where `stop` is set meanwhile.
    """
    doubtful = np.zeros(len(images), bool)
    ratios = []
    for part, probabilities in probabilities_in_parts(scorer, images, stop):
        _, confidences = decode(probabilities, has_end_class)
        ratios.append(likelihood_ratios(probabilities, images.char_ids[part], confidences))
    if stop.is_set():
        return doubtful
    chosen = doubtful_labels(np.concatenate(ratios))
    if len(chosen) <= MOST * len(images):
        doubtful[chosen] = True
    return doubtful
