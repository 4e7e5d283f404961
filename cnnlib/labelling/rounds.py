"""A round of the loop: what is newly labelled is split off, trained with, compared, put in place.

The test set is drawn once, from the first labels, and stays: rounds can be compared. The new
weights are trained in a folder of their own and take the place of the old ones only where they are
not worse on it. Stopped at any moment, the next round goes on from there.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cnnlib.config import SampleConfig
from cnnlib.console import CONSOLE, Reporter, SilentReporter
from cnnlib.dataset.image_set import load_images
from cnnlib.dataset.splitting import verify_and_split
from cnnlib.dataset.verification import Rules
from cnnlib.errors import SampleError
from cnnlib.evaluation.metrics import mcnemar_p_value, wilson_interval
from cnnlib.labelling.round_files import LEAST_LABELS, RoundFiles
from cnnlib.labelling.unlabelled import image_names_in
from cnnlib.networks.model_folder import ModelFolder
from cnnlib.paths import ProjectPath

TEST_SHARE, MIN_TEST, MAX_TEST = 5, 20, 200  # a fifth of the first labels, of these bounds
SAVE_STEPS = 100  # the curve of the page has a point for each
WORSE_BELOW = 0.05  # p-value with fewer right images: the new weights are not used


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
        files.note_phase("verify")
        is_new = _has_new_labels(config, may_be_none=candidate.read() is not None)
        _split(config, reporter)
        reporter.say("\n[2 of 4] train")
        files.note_phase("train")
        if not _train(config, candidate, is_new, reporter):
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
        shutil.rmtree(files.candidate)
        return result


def _has_new_labels(config: SampleConfig, may_be_none: bool) -> bool:
    """Return whether there are labels that were not split yet; raises SampleError for too few."""
    new = len(_names(config.new_image_dir)) + len(_names(config.origin_image_dir))
    total = new + len(_names(config.train_image_dir)) + len(_names(config.test_image_dir))
    if total < LEAST_LABELS:
        raise SampleError(
            f"{total} images are labelled, and a training needs {LEAST_LABELS}: label some more"
        )
    if not new and not may_be_none:
        raise SampleError(
            f"nothing in {config.new_image_dir} is new since the last round: label some more, or "
            "train with what is there by train_model.py"
        )
    return new > 0


def _names(folder: ProjectPath) -> list[str]:
    return image_names_in(folder.full)


def _split(config: SampleConfig, reporter: Reporter) -> None:
    """Verify and split; a test set that is there stays as it is."""
    has_test_set = bool(_names(config.test_image_dir))

    def for_testing(images: int) -> int:
        if has_test_set or images < LEAST_LABELS:
            return 0
        return min(MAX_TEST, max(MIN_TEST, images // TEST_SHARE))

    verify_and_split(config, config.seed, reporter, for_testing=for_testing)


def _train(config: SampleConfig, candidate: ModelFolder, is_new: bool, reporter: Reporter) -> bool:
    """Train in the candidate's folder; return whether the run came to its end.

    One that was interrupted goes on. One that had ended, and was not compared, is taken as it is
    where nothing is new.
    """
    info = candidate.read()
    is_stale = info is not None and (info.spec != config.spec or (info.run.done and is_new))
    if info is not None and info.run.done and not is_stale:
        return True
    from cnnlib.training import TrainModel  # here: TensorFlow takes seconds to load

    has_model = ModelFolder(config.model_save_dir).read() is not None
    in_candidate = dataclasses.replace(
        config,
        model_save_dir=candidate.path,
        cycle_save=min(config.cycle_save, SAVE_STEPS),
        start=config.model_save_dir if has_model else config.start,
    )
    trainer = TrainModel.from_config(in_candidate, fresh=is_stale, reporter=reporter)
    return not trainer.train_cnn().interrupted


def _compared(
    config: SampleConfig, candidate: ModelFolder, number: int, began_s: float
) -> RoundResult:
    """Compare the weights in place and the candidate's on the test set."""
    test = load_images(config.test_image_dir, Rules.from_config(config), reporter=SilentReporter())
    labels = test.labels(config.spec.char_set)
    new = right_images(candidate, test.pixels, labels)
    current = ModelFolder(config.model_save_dir)
    info = current.read()
    comparable = info is not None and info.spec.shape == config.spec.shape
    old = right_images(current, test.pixels, labels) if comparable else None
    p_value = None if old is None else mcnemar_p_value(new, old)
    is_worse = old is not None and new.sum() < old.sum() and (p_value or 0.0) < WORSE_BELOW
    return RoundResult(
        round=number,
        date=time.strftime("%Y-%m-%d %H:%M"),
        train_images=len(_names(config.train_image_dir)),
        test_images=len(test),
        old_right=None if old is None else int(old.sum()),
        new_right=int(new.sum()),
        p_value=p_value,
        installed=not is_worse,
        seconds=round(time.monotonic() - began_s, 1),
        message=_in_words(new, old, p_value, is_worse),
    )


def right_images(folder: ModelFolder, pixels: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Return which images, uint8 [N, H, W(, 3)], the model of a folder reads right, bool [N]."""
    from cnnlib.recognizer import Recognizer

    with Recognizer.from_spec(folder.read_required().spec, folder.path) as recognizer:
        texts = [prediction.text for prediction in recognizer.predict_pixels(pixels)]
    return np.array([text == label for text, label in zip(texts, labels, strict=True)])


def _in_words(
    new: np.ndarray, old: np.ndarray | None, p_value: float | None, is_worse: bool
) -> str:
    total, right = len(new), int(new.sum())
    low, high = wilson_interval(right, total)
    words = f"{right} of {total} test images right ({low:.0%} to {high:.0%})"
    if old is None or p_value is None:
        return f"{words}: the first weights"
    words += f", {int(old.sum())} with the old weights (McNemar's p = {p_value:.2g})"
    return f"{words}: " + (
        "the new ones are worse and are not used" if is_worse else "the new ones are used"
    )
