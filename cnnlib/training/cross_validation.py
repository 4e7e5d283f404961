"""How well a kind of captcha is read, measured on all of a few images: k-fold cross-validation."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cnnlib.config import SampleConfig
from cnnlib.console import CONSOLE, Reporter
from cnnlib.dataset.image_set import ImageSet
from cnnlib.errors import SampleError
from cnnlib.evaluation.metrics import wilson_interval
from cnnlib.training.forecast import count_wrong

STEERING_SHARE = 0.1  # of the images that a fold trains on: they choose its best weights
MIN_IMAGES = 10  # of a fold
MAX_IMAGES = 5000  # in all: more have a test set that tells enough, and take long


@dataclass(frozen=True)
class CrossValidation:
    """How many of all images were read right by trainings that had not seen them."""

    images: int
    right: int
    folds: int
    steps: int

    def summary(self) -> str:
        low, high = wilson_interval(self.right, self.images)
        return (
            f"{self.right / self.images:.1%} of all {self.images} images right ({low:.1%} to "
            f"{high:.1%}), each read by one of {self.folds} trainings of {self.steps} steps that "
            "had not seen it; a training on all of them is rather better"
        )


def cross_validate(
    config: SampleConfig,
    sets: Sequence[ImageSet],
    folds: int,
    steps: int,
    reporter: Reporter = CONSOLE,
) -> CrossValidation:
    """Train `folds` times on the images of all sets but a part, and read that.

    The model is untouched. Raises SampleError for too few or too many images.
    """
    count = sum(map(len, sets))
    if not folds * MIN_IMAGES <= count <= MAX_IMAGES:
        raise SampleError(
            f"{count} images: cross-validation in {folds} parts needs at least "
            f"{folds * MIN_IMAGES}, and takes at most {MAX_IMAGES}. With fewer label more; with "
            "more the test set tells enough (test_batch.py)"
        )
    images = functools.reduce(ImageSet.joined, sets)
    order = np.random.default_rng(config.seed).permutation(len(images))
    right = 0
    for number, fold in enumerate(np.array_split(order, folds), 1):
        reporter.say(f"part {number} of {folds}: {len(fold)} images are held back")
        rest = order[~np.isin(order, fold)]
        steering = max(1, round(STEERING_SHARE * len(rest)))
        test, train = images.take(rest[:steering]), images.take(rest[steering:])
        others = images.take(fold)
        wrong = count_wrong(config, train, test, others, len(train), steps, reporter)
        right += len(others) - wrong
    return CrossValidation(len(images), right, folds, steps)
