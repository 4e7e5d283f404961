"""What more images would bring: short trainings on parts of those that are there."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass

import numpy as np

from cnnlib import console, encoding
from cnnlib.config import ProjectPath, SampleConfig
from cnnlib.errors import SampleError
from cnnlib.image_set import ImageSet
from cnnlib.metrics import wilson_interval
from cnnlib.recognizer import Recognizer
from cnnlib.training import TrainModel

FEWEST = 100  # training images; a quarter of fewer teaches nothing
TESTED = 2000  # images that a part did not have, to measure it on
# Of the wrong answers a doubling of the images leaves so many at least. Between 1,000 and 100,000
# practice captchas it left 0.69 to 0.77; from very few images on it leaves fewer, but only once.
LEFT = 0.7


@dataclass(frozen=True)
class Part:
    """A training on a part of the images, and how many of others it then had wrong."""

    images: int
    tested: int
    wrong: int

    @property
    def share_wrong(self) -> float:
        return self.wrong / self.tested


@dataclass(frozen=True)
class Forecast:
    """Measured on a quarter and on a half; expected of all images and of twice as many."""

    quarter: Part
    half: Part
    steps: int

    def expected_wrong(self, doublings: int) -> float:
        """Return the share of wrong answers after doubling the half so often.

        Each doubling divides it as the one that was measured did, at most by 1 / LEFT: error falls
        as a power of the number of images (Hestness et al. 2017, "Deep learning scaling is
        predictable").
        """
        ratio = min(1.0, (self.half.wrong + 0.5) / (self.half.tested + 1)
                    * (self.quarter.tested + 1) / (self.quarter.wrong + 0.5))
        return (self.half.wrong + 0.5) / (self.half.tested + 1) * max(LEFT, ratio)**doublings


def forecast(config: SampleConfig, train: ImageSet, test: ImageSet, steps: int) -> Forecast:
    """Train on a quarter and on a half, from random weights; the model of `config` is untouched.

    Raises SampleError for too few images.
    """
    if len(train) < FEWEST:
        raise SampleError(f"{config.train_image_dir} holds {len(train)} images: a forecast needs "
                          f"at least {FEWEST}")
    order = np.random.default_rng(config.seed).permutation(len(train))
    quarter, half = (measure_part(config, train, test, order, size, len(train), steps)
                     for size in (len(train) // 4, len(train) // 2))
    return Forecast(quarter, half, steps)


def measure_part(config: SampleConfig, train: ImageSet, test: ImageSet, order: np.ndarray,
                 size: int, whole: int, steps: int) -> Part:
    """Train on the first `size` images of an order, and read others that come after them.

    How images are distorted and mixed is as for `whole` images, so that parts differ in size alone.
    """
    others = train.take(order[size:size + TESTED])
    with tempfile.TemporaryDirectory() as folder:
        trial = dataclasses.replace(
            config, model_save_dir=ProjectPath(folder), log_dir=ProjectPath(folder),
            cycle_stop=steps, acc_stop=1.0)
        model = TrainModel.from_config(trial)
        if model.try_on(train.take(order[:size]), test, whole).interrupted:
            raise KeyboardInterrupt
        predictions = Recognizer.from_config(trial).predict_pixels(others.pixels)
    labels = [encoding.ids_to_label(ids, config.char_set) for ids in others.char_ids]
    wrong = sum(p.text != label for p, label in zip(predictions, labels, strict=True))
    return Part(size, len(others), wrong)


def print_forecast(made: Forecast) -> None:
    for part in (made.quarter, made.half):
        low, high = wilson_interval(part.tested - part.wrong, part.tested)
        console.say(f"{part.images:>7} images: {1 - part.share_wrong:.1%} right, measured on "
                    f"{part.tested} others ({low:.1%} to {high:.1%})")
    for doublings, what in ((1, "all that there are"), (2, "twice as many")):
        console.say(f"{made.half.images * 2**doublings:>7} images: about "
                    f"{1 - made.expected_wrong(doublings):.1%} right, expected ({what})")
    console.say(f"in trainings of {made.steps} steps; cycle_stop steps bring all of them further")
