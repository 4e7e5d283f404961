"""What seems to go wrong in a training, and what would help: one line each."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cnnlib.dataset.labels import PAD_ID
from cnnlib.evaluation.metrics import Scores, count_right, wilson_interval

# While training
RECENT_REPORTS = 10  # whose mean is compared
CHANCE_FACTOR = 1.5  # of chance accuracy; at most halfway to all right
PLATEAU_REPORTS = 30  # of which the loss should have fallen below that of as many before
PLATEAU_FROM = 2 / 3  # of the run; before, the rate is high and the images may turn harder
LEARNED_ACCURACY = 0.9  # of training images: more than that is not stuck
OVERFITTING_GAP = 0.15  # of images right, between training and test set
# What the images show of a training that stays at chance
MANY_CONTRADICTIONS = 0.01  # of the training images
SMALL_LETTERS = 12.0  # pixels high, as the network sees them
FITTING_LABELS = 0.06  # of the way from chance to all right: starting weights read the labels
CHANCE_LABELS = 1000  # which tell what chance has right, where lengths differ


@dataclass(frozen=True)
class Evidence:
    """What is known of the images, but for the scores of the training."""

    contradictions: float = 0.0  # share of the training images whose picture has another label, too
    letter_height: float = 0.0  # pixels, as the network sees them; 0: not known
    read_at_start: float | None = None  # share of characters that the starting weights have right


class TrainingMonitor:
    """Observe the reports of a training, and say once what seems to go wrong.

    `chance_accuracy` is that of answers by chance, `tested` the number of test images in each
    report. `evidence` is asked where the answers are no better than chance.
    """

    def __init__(
        self,
        chance_accuracy: float,
        tested: int,
        cycle_stop: int,
        evidence: Callable[[], Evidence] = Evidence,
    ) -> None:
        self._evidence, self._chance_accuracy = evidence, chance_accuracy
        self.leapt_at = 0  # the last step at which the loss leapt
        self._learning_from = min(CHANCE_FACTOR * chance_accuracy, (1 + chance_accuracy) / 2)
        self._tested = tested
        self._first_check = max(300, cycle_stop // 5)
        self._plateau_from = PLATEAU_FROM * cycle_stop
        self._train: list[Scores] = []
        self._test: list[Scores] = []
        self._said: set[str] = set()

    def observe(self, step: int, train: Scores, test: Scores) -> str:
        """Return one line, or nothing; `step` counts from 1, the scores are of this report."""
        for known, scores in ((self._train, train), (self._test, test)):
            known.append(scores)
            del known[: -2 * PLATEAU_REPORTS]  # nothing looks further back
        if len(self._train) < RECENT_REPORTS or step < self._first_check:
            return ""
        checks = {"chance": self._at_chance, "gap": self._gap}
        if step >= self._plateau_from:
            checks["plateau"] = self._plateau
        for name, check in checks.items():
            if name not in self._said and (line := check()):
                self._said.add(name)
                return f"after {step} steps {line}"
        return ""

    def is_guessing(self, scores: Scores) -> bool:
        """Return whether scores are no better than those of answers by chance."""
        return scores.char_accuracy < self._learning_from

    def _at_chance(self) -> str:
        if _recent(self._train, "char_accuracy") >= self._learning_from:
            return ""
        return f"the answers are no better than guessing: {self._likeliest_cause()}"

    def _likeliest_cause(self) -> str:
        seen, chance = self._evidence(), self._chance_accuracy
        compare = "Compare some images of train_image_dir with their names"
        if self.leapt_at:
            return (
                f"the loss leapt at step {self.leapt_at}, and has not come back with a lower rate. "
                "Start over with --fresh and another --seed"
            )
        if seen.contradictions >= MANY_CONTRADICTIONS:
            return (
                f"labels contradict each other, {seen.contradictions:.0%} of the training images "
                "are the same picture as one with another label. python3 doctor.py names them"
            )
        if 0 < seen.letter_height < SMALL_LETTERS:
            return (
                f"letters are about {seen.letter_height:.0f} pixels high as the network sees them, "
                "too small to tell apart. Set a larger image_width and image_height"
            )
        if seen.read_at_start is None:
            return (
                "nothing is learned yet. Most often labels do not belong to their images, or "
                f"max_captcha is wrong. {compare}; if they agree, another --seed may help"
            )
        if seen.read_at_start < chance + FITTING_LABELS * (1 - chance):
            return (
                f"the starting weights read {seen.read_at_start:.0%} of the characters as they are "
                f"labelled. Labels that do not belong to their images look like that. {compare}"
            )
        return (
            f"the labels fit the images: the starting weights read {seen.read_at_start:.0%} of the "
            "characters. This captcha is hard to enter: train more steps (cycle_stop), or "
            "another --seed"
        )

    def _gap(self) -> str:
        train, test = (_recent(scores, "image_accuracy") for scores in (self._train, self._test))
        _, at_most = wilson_interval(round(test * self._tested), self._tested)
        if train < LEARNED_ACCURACY or train - at_most < OVERFITTING_GAP:
            return ""
        return (
            f"{train:.0%} of the training images are right and {test:.0%} of the test images: "
            "too few images for this kind of captcha. Label more; python3 doctor.py --forecast "
            "estimates how much they would help"
        )

    def _plateau(self) -> str:
        if len(self._train) < 2 * PLATEAU_REPORTS:
            return ""
        before, now = (
            statistics.median(s.loss for s in part)
            for part in (
                self._train[-2 * PLATEAU_REPORTS : -PLATEAU_REPORTS],
                self._train[-PLATEAU_REPORTS:],
            )
        )
        right = _recent(self._train, "image_accuracy")
        if now < before or right > LEARNED_ACCURACY:
            return ""
        return (
            f"the loss has stopped falling at {right:.0%} of the training images right: look "
            "for wrong labels (python3 doctor.py), or train more steps (cycle_stop)"
        )


def chance_accuracy(char_ids: np.ndarray) -> float:
    """Return the share of characters that answers have right which do not depend on the image.

    `char_ids` are the labels, int [N, L], of at least one image. Such an answer is a text of the
    most frequent length, of the most frequent class at each position. Where lengths differ, it may
    be the label of another image, too: what is right more often counts.
    """
    lengths = (char_ids != PAD_ID).sum(axis=1)  # [N]
    length = np.bincount(lengths).argmax()
    text = np.full(char_ids.shape[1], PAD_ID)
    text[:length] = [
        np.bincount(column[column != PAD_ID]).argmax() for column in char_ids.T[:length]
    ]
    labels, others = char_ids, []
    if (lengths != length).any():
        labels = char_ids[np.random.default_rng(0).permutation(len(char_ids))[:CHANCE_LABELS]]
        others = [np.roll(labels, 1, axis=0)]
    answers = [np.tile(text, (len(labels), 1)), *others]
    characters = (labels != PAD_ID).sum()
    return max(float(count_right(labels, given).sum() / characters) for given in answers)


def _recent(scores: Sequence[Scores], what: str) -> float:
    return statistics.mean(getattr(s, what) for s in scores[-RECENT_REPORTS:])


# After training
NO_ADVICE_FROM = 0.99  # of test images right: no advice is needed
TOO_NARROW = 0.05  # of training images wrong, after a run of some length
TOO_NARROW_STEPS = 1000


def advice(
    train: Scores, test: Scores, cycle_stop: int, wider: str = "", ended_early: bool = False
) -> list[str]:
    """Return what would help most, or nothing; from the scores of images of both sets.

    Where training images are wrong, too, more steps help, unless the run `ended_early` because the
    loss no longer fell; where they are right, more images. `wider` is the network to try next, if
    there is one.
    """
    if test.image_accuracy >= NO_ADVICE_FROM:
        return []
    lines = [_steps_or_images(train, test, cycle_stop, ended_early)]
    if wider and 1 - train.image_accuracy > TOO_NARROW and cycle_stop >= TOO_NARROW_STEPS:
        lines.append(
            "this captcha is hard: a wider network would pay, too, and take twice as long "
            f'("network": "{wider}", with --fresh)'
        )
    return lines


def _steps_or_images(train: Scores, test: Scores, cycle_stop: int, ended_early: bool) -> str:
    wrong, wrong_in_training = 1 - test.image_accuracy, 1 - train.image_accuracy
    if 2 * wrong_in_training >= wrong and ended_early:
        return (
            f"{wrong_in_training:.1%} of the training images are wrong, too, and more steps did "
            "not help: look for wrong labels (python3 doctor.py); larger images would pay where "
            "letters are small (image_width, image_height)"
        )
    if 2 * wrong_in_training >= wrong:
        return (
            f"{wrong_in_training:.1%} of the training images are wrong, too: more steps would "
            f"pay ({2 * cycle_stop}, say: cycle_stop), and larger images where letters are "
            "small (image_width, image_height)"
        )
    return (
        f"{train.image_accuracy:.1%} of the training images are right and "
        f"{test.image_accuracy:.1%} of the test images: more images would pay more than more "
        "steps. python3 doctor.py --forecast estimates how much"
    )
