"""Images without labels in a training: what the network reads in them with confidence is learned.

It reads them with calibrated confidence, undistorted, and learns its answers on distorted ones:
that holds for what it knows well, and carries it to images that look a little different (Lee 2013,
"Pseudo-label"; Sohn et al. 2020, "FixMatch"). Characters that it doubts are left open.

Shapes: N images, P character positions.
"""

from __future__ import annotations

import dataclasses
import threading

import numpy as np

from cnnlib.console import Reporter
from cnnlib.dataset.folders import image_names
from cnnlib.dataset.image_set import ImageSet, load_images
from cnnlib.dataset.labels import PAD_ID, UNKNOWN_ID
from cnnlib.dataset.verification import Rules
from cnnlib.errors import SampleError
from cnnlib.evaluation.metrics import fit_temperature, mcnemar_p_value
from cnnlib.networks.decoding import decode
from cnnlib.paths import ProjectPath
from cnnlib.training.recipes import SelfTraining
from cnnlib.training.scoring import Scorer, probabilities_in_parts

CHANCE = 0.05  # a loss of the test set with a smaller p value is no chance


def load_unlabelled(
    folder: ProjectPath, rules: Rules, least: int, most: int, seed: int, reporter: Reporter
) -> ImageSet | None:
    """Decode the images of a folder, `most` at most, chosen by seed; None for fewer than `least`.

    Their char_ids are UNKNOWN_ID. An image that cannot be used is reported and skipped.
    """
    try:
        if len(image_names(folder)) < least:
            return None
        images = load_images(
            folder,
            dataclasses.replace(rules, labelled=False),
            limit=most,
            rng=np.random.default_rng(seed),
            cached=True,
            reporter=reporter,
        )
    except SampleError:  # there is no folder, or nothing of use in it
        return None
    return images if len(images) >= least else None


class SelfReader:
    """Reads images without labels in the session of a training."""

    def __init__(
        self,
        images: ImageSet,
        test: ImageSet,
        scorer: Scorer,
        settings: SelfTraining,
        has_end_class: bool,
    ) -> None:
        self._images, self._test, self._scorer = images, test, scorer
        self.settings, self._has_end_class = settings, has_end_class
        self._before: np.ndarray | None = None  # which test images were right before, bool [M]

    def read(self, stop: threading.Event) -> tuple[ImageSet, np.ndarray]:
        """Return the images with what was read in them, and of which enough is known, int [n].

        None are chosen where the test set is clearly read worse than before such images were
        learned, or where `stop` is set meanwhile.
        """
        images, none = self._images, np.array([], int)
        logits, char_ids, _ = self._scorer.outputs(self._test.pixels, self._test.char_ids)
        right = self._scorer.right_images(logits, char_ids)
        before = self._before = right if self._before is None else self._before
        if right.sum() < before.sum() and mcnemar_p_value(right, before) < CHANCE:
            return images, none
        temperature = fit_temperature(logits, char_ids)
        parts = [
            decode(probabilities, self._has_end_class)
            for _, probabilities in probabilities_in_parts(self._scorer, images, stop, temperature)
        ]
        if stop.is_set():
            return images, none
        char_ids, confidences = (np.concatenate(column) for column in zip(*parts, strict=True))
        known = known_positions(char_ids, confidences, self.settings.confidence)
        read = np.where(known, char_ids, UNKNOWN_ID).astype(np.int32)
        chosen = np.flatnonzero(known.mean(axis=1) >= self.settings.least_known)
        return dataclasses.replace(images, char_ids=read), chosen


def known_positions(char_ids: np.ndarray, confidences: np.ndarray, least: float) -> np.ndarray:
    """Return which positions are read with enough confidence, bool [N, P].

    That a text has ended is known where all its characters are.
    """
    sure = confidences >= least
    return np.where(char_ids == PAD_ID, sure.all(axis=1, keepdims=True), sure)
