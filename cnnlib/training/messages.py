"""The words of a training: how it begins, how far it is, how it ends."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from cnnlib import console
from cnnlib.evaluation.metrics import Scores
from cnnlib.network import CNN
from cnnlib.networks.cost import Cost
from cnnlib.networks.test_time_augmentation import SHIFTS

REPORT_SHARE = 1.1  # reports and saves add a tenth to the time of the steps


def beginning(
    cnn: CNN,
    cost: Cost,
    *,
    images: tuple[int, int],
    steps: int,
    batch_size: int,
    recipe: str,
    origin: str,
    own_batch_size: int,
    replicas: int,
) -> str:
    """Return the summary of a run that begins; `images` counts those for training and testing.

    Each of `replicas` processes takes `own_batch_size` images of a step.
    """
    shared = f"\ncluster   {replicas} processes learn from {own_batch_size} images each in a step"
    spec = cnn.spec
    lengths = f"{spec.min_captcha} to " * spec.has_end_class + f"{spec.max_captcha}"
    return (
        f"images    {images[0]} for training, {images[1]} for testing, "
        f"{spec.image_width}x{spec.image_height} pixels\n"
        f"labels    {lengths} characters of {len(spec.char_set)}\n"
        f"network   {cnn.network}: {cost.parameters / 1e6:.2f} million parameters, "
        f"{cost.flop / 1e6:.0f} MFLOP an image\n"
        f"run       {steps} steps of {batch_size} images, recipe {recipe}, {origin}"
        f"{shared * (replicas > 1)}\n"
        f"memory    about {cost.training_bytes(own_batch_size) / 1e9:.1f} GB\n"
        f"model     {cnn.folder}"
    )


def step_scores(step: int, train: Scores, test: Scores) -> str:
    """Return the lines of version 2 for one step (docs/en/version-2.md, 2.4)."""
    return "\n".join(
        [
            console.training_step(step),
            *(
                console.training_scores(which, s.char_accuracy, s.image_accuracy, s.loss)
                for which, s in (("训练集", train), ("验证集", test))
            ),
        ]
    )


def restored(step: int) -> str:
    return f"the loss has leapt: back to the weights of step {step}, with half the learning rate"


def progress(step: int, last_step: int, step_seconds: Sequence[float], best: str) -> str:
    step_s = statistics.median(step_seconds)  # the first steps set things up
    left_s = step_s * (last_step - step) * REPORT_SHARE
    return (
        f"step {step} of {last_step}, about {duration(left_s)} to go, "
        f"at {step_s * 1000:.0f} ms a step" + (f"; {best}" if best else "")
    )


def best_so_far(scores: Scores, best_step: int) -> str:
    """Return the best scores and where they are from; `best_step` counts from the run's start."""
    return f"best {scores.image_accuracy:.2%}, {_at(best_step)}"


def _at(best_step: int) -> str:
    return f"at step {best_step}" if best_step else "before this run"


def ending(
    scores: Scores, tested: int, best_step: int, steps: int, seconds: float, interrupted: bool
) -> str:
    right = round(scores.image_accuracy * tested)
    return (
        f"{'interrupted' if interrupted else 'done'} after {steps} steps, {duration(seconds)}\n"
        f"best      {scores.image_accuracy:.2%} of the test images right "
        f"({right} of {tested}), {_at(best_step)}"
    )


def ending_unsaved(cnn: CNN, steps: int) -> str:
    return (
        f"interrupted after {steps} steps, before the first save: the model that was in "
        f"{cnn.folder} is still there"
    )


def shifts(accuracy: float) -> str:
    """Return how much is right with test-time augmentation, and what it costs."""
    return (
        f"shifts    {accuracy:.2%} right where {SHIFTS} shifts of each image are read, as is done "
        f'from now on; that takes {SHIFTS} times as long. "test_time_augmentation": false in conf/ '
        "reads once"
    )


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
