"""How much more images would help: short trainings on parts of the images at hand."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cnnlib.config import BACKBONE, RANDOM, SampleConfig
from cnnlib.console import CONSOLE, Reporter
from cnnlib.dataset.image_set import ImageSet
from cnnlib.errors import SampleError
from cnnlib.evaluation.metrics import wilson_interval
from cnnlib.paths import ProjectPath
from cnnlib.recognizer import Recognizer
from cnnlib.training.trainer import TrainModel

MIN_IMAGES = 100  # for training; a quarter of fewer teaches nothing
MAX_TESTED = 2000  # images that a part did not have, to measure it on
# Share of the wrong answers that a doubling of the images leaves at least. Between 1,000 and
# 100,000 practice captchas it left 0.69 to 0.77; from very few images on it leaves fewer, but only
# once.
MIN_LEFT = 0.7


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
        """Return the share of wrong answers after doubling the half this often.

        Each doubling divides it as the one that was measured did, at most by 1 / MIN_LEFT: error
        falls as a power of the number of images (Hestness et al. 2017, "Deep learning scaling is
        predictable").
        """
        ratio = min(
            1.0,
            (self.half.wrong + 0.5)
            / (self.half.tested + 1)
            * (self.quarter.tested + 1)
            / (self.quarter.wrong + 0.5),
        )
        return (self.half.wrong + 0.5) / (self.half.tested + 1) * max(MIN_LEFT, ratio) ** doublings


def forecast(
    config: SampleConfig, train: ImageSet, test: ImageSet, steps: int, reporter: Reporter = CONSOLE
) -> Forecast:
    """Train on a quarter and on a half; the model of `config` is untouched.

    Each image is read once: test-time augmentation may help one part alone. Raises SampleError for
    too few images.
    """
    if len(train) < MIN_IMAGES:
        raise SampleError(
            f"{config.train_image_dir} holds {len(train)} images: a forecast needs "
            f"at least {MIN_IMAGES}"
        )
    config = dataclasses.replace(config, test_time_augmentation=False)
    order = np.random.default_rng(config.seed).permutation(len(train))
    quarter, half = (
        measure_part(config, train, test, order, size, len(train), steps, reporter)
        for size in (len(train) // 4, len(train) // 2)
    )
    return Forecast(quarter, half, steps)


def measure_part(
    config: SampleConfig,
    train: ImageSet,
    test: ImageSet,
    order: np.ndarray,
    size: int,
    whole: int,
    steps: int,
    reporter: Reporter = CONSOLE,
) -> Part:
    """Train on the first `size` images of an order, and read others that come after them.

    Images are distorted and spliced as for `whole` images, so that parts differ in size alone.
    """
    others = train.take(order[size : size + MAX_TESTED])
    wrong = count_wrong(config, train.take(order[:size]), test, others, whole, steps, reporter)
    return Part(size, len(others), wrong)


def count_wrong(
    config: SampleConfig,
    train: ImageSet,
    test: ImageSet,
    others: ImageSet,
    whole: int,
    steps: int,
    reporter: Reporter,
    unlabelled: ImageSet | None = None,
) -> int:
    """Train in a folder of its own, and return how many of other images are read wrong.

    `test` chooses the best weights. There is no teacher, and no model to start from but the shipped
    weights: it may have learned the other images.
    Raises KeyboardInterrupt where the training was interrupted.
    """
    with tempfile.TemporaryDirectory() as folder:
        trial = dataclasses.replace(
            config,
            model_save_dir=ProjectPath(folder),
            log_dir=ProjectPath(folder),
            cycle_stop=steps,
            acc_stop=1.0,
            start=config.start if config.start in (BACKBONE, RANDOM) else BACKBONE,
            teacher="",
            export_onnx=False,
        )
        model = TrainModel.from_config(trial, reporter=reporter)
        if model.train_subset(train, test, whole, unlabelled).interrupted:
            raise KeyboardInterrupt
        with Recognizer.from_config(trial) as recognizer:
            predictions = recognizer.predict_pixels(others.pixels)
    labels = others.labels(config.char_set)
    return sum(p.text != label for p, label in zip(predictions, labels, strict=True))


def summary(made: Forecast) -> Iterator[str]:
    """Yield the lines that report a forecast."""
    for part in (made.quarter, made.half):
        low, high = wilson_interval(part.tested - part.wrong, part.tested)
        yield (
            f"{part.images:>7} images: {1 - part.share_wrong:.1%} right, measured on "
            f"{part.tested} others ({low:.1%} to {high:.1%})"
        )
    for doublings, what in ((1, "all that there are"), (2, "twice as many")):
        yield (
            f"{made.half.images * 2**doublings:>7} images: about "
            f"{1 - made.expected_wrong(doublings):.1%} right, expected ({what})"
        )
    yield f"in trainings of {made.steps} steps; cycle_stop steps bring higher figures"
