"""A round of the loop: what is newly labelled is split off, trained with, compared, put in place.

The test set is drawn once, from the first labels, and stays: rounds can be compared. The new
weights are trained in a folder of their own and take the place of the old ones only where they are
not worse on it. Stopped at any moment, the next round goes on from there.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnnlib.config import SampleConfig
from cnnlib.console import CONSOLE, Reporter, SilentReporter
from cnnlib.dataset import moving
from cnnlib.dataset.image_set import load_images
from cnnlib.dataset.move_recovery import recover
from cnnlib.dataset.splitting import verify_and_split
from cnnlib.dataset.verification import Rules
from cnnlib.errors import SampleError
from cnnlib.evaluation.metrics import clearly_more_right, mcnemar_p_value, wilson_interval
from cnnlib.labelling.acceptance import WAIT_S
from cnnlib.labelling.round_files import RoundFiles, count_labels
from cnnlib.labelling.unlabelled import image_names_in
from cnnlib.networks.model_folder import MODEL_FILE, ModelFolder
from cnnlib.paths import AnyPath, ProjectPath

TEST_FRACTION, MIN_TEST, MAX_TEST = 0.2, 20, 200  # of the first labels
SAVE_STEPS = 100  # and the curve that the page shows is drawn again


@dataclass(frozen=True)
class RoundResult:
    """How a round ended: images right of the test set, before and after, and what was decided.

    `old_right` and `p_value` are None where there was no model before.
    """

    round: int
    date: str
    train_images: int
    test_images: int
    old_right: int | None
    new_right: int
    p_value: float | None
    installed: bool
    weights: str  # the new ones, by their name in model.json
    seconds: float
    message: str


def run_round(config: SampleConfig, *, reporter: Reporter = CONSOLE) -> RoundResult | None:
    """Train with what is newly labelled; None where it was interrupted, and the next goes on.

    Raises SampleError without new labels (unless a round was interrupted), and where there are
    fewer than LEAST_LABELS labels; CaptchaError while another round runs.
    """
    files = RoundFiles(config.labelling_dir.full)
    with files.locked():
        began_s = time.monotonic()
        candidate = ModelFolder(ProjectPath(files.candidate, config.root))
        reporter.say("[1 of 4] verify and split what is new")
        was_stopped = files.is_unfinished()
        files.require_new_labels(config)
        files.note_phase("verify")
        before = _split_labels(config)
        _split(config, files, reporter)
        is_new = _split_labels(config) > before
        if not is_new and not was_stopped:
            files.forget_phase()
            raise SampleError(
                f"no image in {config.new_image_dir} can be used: the reasons are above. Correct "
                "or move what stayed there, and label some more"
            )
        reporter.say("\n[2 of 4] train")
        files.note_phase("train")
        if not _train(config, candidate, files.rounds(), is_new, reporter):
            return None
        reporter.say("\n[3 of 4] compare the old weights and the new ones on the test set")
        files.note_phase("compare")
        result = _compared(config, candidate, len(files.rounds()) + 1, began_s)
        reporter.say(result.message)
        files.note_phase("install")
        if result.installed:
            reporter.say(f"\n[4 of 4] put the new weights into {config.model_save_dir}")
            folder = ModelFolder(config.model_save_dir)
            with folder.locked(reporter):
                folder.adopt(candidate)
        else:
            reporter.say("\n[4 of 4] the old weights stay")
        files.add_round(dataclasses.asdict(result))
        (candidate.full / MODEL_FILE).unlink()  # first: without it nothing is gone on with
        shutil.rmtree(files.candidate)
        return result


def _split_labels(config: SampleConfig) -> int:
    """Return how many labels the training and the test set have."""
    total, new = count_labels(config)
    return total - new


def _split(config: SampleConfig, files: RoundFiles, reporter: Reporter) -> None:
    """Verify what is new, and add it to the training set; draw the test set where there is none."""
    verify_and_split(config, config.seed, reporter, for_testing=lambda images: 0, wait_s=WAIT_S)
    train, test = config.train_image_dir.full, config.test_image_dir.full
    with moving.locked([train, test], reporter, WAIT_S):
        recover({train: str}, [test], reporter)
        chosen = files.test_images() or _draw_test_set(train, test, config.seed)
        if not chosen:
            return
        files.note_test_images(chosen)
        moving.move_all([(train / name, test / name) for name in chosen], reporter)
        files.note_test_images([])
    reporter.say(f"{len(chosen)} of the images are the test set, which stays as it is")


def _draw_test_set(train: Path, test: Path, seed: int) -> list[str]:
    """Return the names of the images that are for testing from now on; none where others are."""
    names = image_names_in(train)
    if image_names_in(test) or len(names) < MIN_TEST * 2:
        return []
    count = min(MAX_TEST, max(MIN_TEST, int(len(names) * TEST_FRACTION)))
    order = np.random.default_rng(seed).permutation(len(names))[:count]
    return [names[i] for i in sorted(order)]


def _train(
    config: SampleConfig,
    candidate: ModelFolder,
    rounds: Sequence[Mapping[str, Any]],
    is_new: bool,
    reporter: Reporter,
) -> bool:
    """Train in the candidate's folder; return whether the run came to its end.

    One that was interrupted goes on. One that had ended, and was not compared, is taken as it is
    where nothing is new.
    """
    info = candidate.read()
    is_stale = info is not None and (
        (info.spec, info.network, info.recipe) != (config.spec, config.network, config.recipe)
        or (info.run.done and is_new)
    )
    if info is not None and info.run.done and not is_stale:
        return True
    if is_stale:
        (candidate.full / MODEL_FILE).unlink()  # else a stop at once would leave it
    from cnnlib.training import TrainModel  # here: TensorFlow takes seconds to load

    in_candidate = dataclasses.replace(
        config,
        model_save_dir=candidate.path,
        cycle_save=min(config.cycle_save, SAVE_STEPS),
        start=_start(config, rounds),
    )
    trainer = TrainModel.from_config(in_candidate, fresh=is_stale, reporter=reporter)
    return not trainer.train_cnn().interrupted


def _start(config: SampleConfig, rounds: Sequence[Mapping[str, Any]]) -> AnyPath:
    """Return what a round starts from: what the configuration says, or the weights in place.

    Those of an earlier round have learned from nothing but the training set, by heart: a fresh
    start reads more images right. Those from elsewhere know more than is in it.
    """
    info = ModelFolder(config.model_save_dir).read()
    if info is None or any(r["installed"] and r.get("weights") == info.best for r in rounds):
        return config.start
    return config.model_save_dir


def _compared(
    config: SampleConfig, candidate: ModelFolder, number: int, began_s: float
) -> RoundResult:
    """Compare the weights in place and the candidate's on the test set."""
    test = load_images(config.test_image_dir, Rules.from_config(config), reporter=SilentReporter())
    labels = test.labels(config.spec.char_set)
    augments = config.test_time_augmentation
    new = right_images(candidate, test.pixels, labels, augments)
    current = ModelFolder(config.model_save_dir)
    info = current.read()
    comparable = info is not None and info.spec.shape == config.spec.shape
    old = right_images(current, test.pixels, labels, augments) if comparable else None
    p_value = None if old is None else mcnemar_p_value(new, old)
    is_worse = old is not None and clearly_more_right(old, new)
    return RoundResult(
        round=number,
        date=time.strftime("%Y-%m-%d %H:%M"),
        train_images=len(image_names_in(config.train_image_dir.full)),
        test_images=len(test),
        old_right=None if old is None else int(old.sum()),
        new_right=int(new.sum()),
        p_value=p_value,
        installed=not is_worse,
        weights=candidate.read_required().best,
        seconds=round(time.monotonic() - began_s, 1),
        message=_in_words(new, old, p_value, is_worse, has_model=info is not None),
    )


def right_images(
    folder: ModelFolder, pixels: np.ndarray, labels: Sequence[str], augments: bool
) -> np.ndarray:
    """Return which images, uint8 [N, H, W(, 3)], the model of a folder reads right, bool [N].

    `augments`: with test-time augmentation, where the model has it.
    """
    from cnnlib.recognizer import Recognizer

    spec = folder.read_required().spec
    with Recognizer.from_spec(spec, folder.path, test_time_augmentation=augments) as recognizer:
        texts = [prediction.text for prediction in recognizer.predict_pixels(pixels)]
    return np.array([text == label for text, label in zip(texts, labels, strict=True)])


def _in_words(
    new: np.ndarray, old: np.ndarray | None, p_value: float | None, is_worse: bool, has_model: bool
) -> str:
    total, right = len(new), int(new.sum())
    low, high = wilson_interval(right, total)
    words = f"{right} of {total} test images right ({low:.0%} to {high:.0%})"
    if old is None or p_value is None:
        return f"{words}: " + (
            "the weights before were for images of another size"
            if has_model
            else "the first weights"
        )
    words += f", {int(old.sum())} with the old weights (McNemar's p = {p_value:.2g})"
    return f"{words}: " + (
        "the new ones are worse and are not used" if is_worse else "the new ones are used"
    )
