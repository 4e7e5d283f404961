"""Images without labels in a training: what the network reads in them with confidence is learned.

It reads them with calibrated confidence, undistorted, and learns its answers on distorted ones:
that holds for what it knows well, and carries it to images that look a little different (Lee 2013,
"Pseudo-label"; Sohn et al. 2020, "FixMatch"). Characters that it doubts are left open.

Shapes: N images, P character positions.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence

import numpy as np

from cnnlib.console import Reporter
from cnnlib.dataset.folders import image_names
from cnnlib.dataset.image_set import ImageSet, load_images
from cnnlib.dataset.labels import PAD_ID, UNKNOWN_ID
from cnnlib.dataset.verification import Rules
from cnnlib.errors import SampleError
from cnnlib.evaluation.checks import digests
from cnnlib.evaluation.metrics import fit_temperature, mcnemar_p_value
from cnnlib.networks.decoding import decode
from cnnlib.paths import ProjectPath
from cnnlib.training.recipes import SelfTraining
from cnnlib.training.scoring import Scorer, probabilities_in_parts

CHANCE = 0.05  # a loss of the test set with a smaller p value is no chance
MIN_TESTED = 10  # images: fewer cannot show such a loss


def load_unlabelled(
    folder: ProjectPath,
    rules: Rules,
    train: ImageSet,
    test: ImageSet,
    settings: SelfTraining,
    seed: int,
    reporter: Reporter,
) -> ImageSet | None:
    """Decode the images of a folder, as many as the settings say at most, chosen by seed.

    None where there are fewer than with labels; what is there and not used is reported. Their
    char_ids are UNKNOWN_ID. An image that cannot be used is reported and skipped, one that is
    also a training or a test image is skipped.
    """
    least, most = len(train), settings.most_images
    try:
        count = len(image_names(folder))
    except SampleError:  # there is no folder
        count = 0
    if not count:
        return None
    unused = ""
    if count < least:
        unused = f"fewer than the {least:,} with labels"
    elif least > most:
        unused = f"next to {least:,} with labels they would teach little"
    elif len(test) < MIN_TESTED:
        unused = f"{len(test)} test images cannot show whether they help, {MIN_TESTED} can"
    if not unused:
        images = _load_new(folder, rules, [train, test], most, seed, reporter)
        if images is not None and len(images) >= least:
            return images
        usable = len(images) if images is not None else 0
        unused = f"{usable:,} can be used and are new, fewer than the {least:,} with labels"
    reporter.say(f"unlabelled {count:,} images in {folder} are not learned from: {unused}")
    return None


def _load_new(
    folder: ProjectPath,
    rules: Rules,
    known: Sequence[ImageSet],
    most: int,
    seed: int,
    reporter: Reporter,
) -> ImageSet | None:
    """Return the images of a folder that are in no known set; None where none is of use."""
    try:
        images = load_images(
            folder,
            dataclasses.replace(rules, labelled=False),
            limit=most,
            rng=np.random.default_rng(seed),
            cached=True,
            reporter=reporter,
        )
    except SampleError:  # nothing of use in it
        return None
    seen = {digest for images in known for digest in digests(images)}
    new = [i for i, digest in enumerate(digests(images)) if digest not in seen]
    return images if len(new) == len(images) else images.take(np.array(new, int))


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
        self._most_right = np.zeros(len(test), bool)  # test images, at the best reading so far

    def read(self, stop: threading.Event) -> tuple[ImageSet, np.ndarray] | None:
        """Return the images with what was read in them, and of which enough is known, int [n].

        None where the test set is clearly read worse than at a reading before. None are chosen
        where `stop` is set meanwhile.
        """
        images, none = self._images, np.array([], int)
        logits, char_ids, _ = self._scorer.outputs(self._test.pixels, self._test.char_ids)
        right = self._scorer.right_images(logits, char_ids)
        if right.sum() >= self._most_right.sum():
            self._most_right = right
        elif mcnemar_p_value(right, self._most_right) < CHANCE:
            return None
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
