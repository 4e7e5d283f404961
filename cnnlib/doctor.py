"""What is wrong with a data set or a training: one line each, with the remedy."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from cnnlib import reading
from cnnlib.encoding import NO_CHARACTER
from cnnlib.image_set import ImageSet
from cnnlib.metrics import Scores, wilson_interval

BLANK = 2.0  # gray levels of standard deviation: less shows nothing
FEW = 20  # training images with a character: a class with fewer is hardly learned
WANTED_MARGIN = 0.01  # of the measured accuracy
TYPICAL_ACCURACY = 0.98  # at which the margin is reckoned
SHOWN = 10  # characters, in a line
CHUNK = 1000  # images
MUCH_FLOP = 1e9  # forward, for an image: training then takes more than ten times what 100x60 does


# --- before training ---


def examine(train: ImageSet, test: ImageSet, char_set: Sequence[str]) -> list[str]:
    """Return what is wrong with labelled images that each are usable; nothing for good ones."""
    return [*_same_pixels(train, test), *_blank(train, test), *_classes(train, test, char_set),
            *_test_size(len(test))]


def expensive(flop: int, width: int, height: int) -> Iterator[str]:
    """Say where images cost so much that smaller ones would do; `flop` forward for each."""
    if flop > MUCH_FLOP:
        scale = math.sqrt(MUCH_FLOP / flop)
        yield (f"each image costs {flop / 1e9:.1f} GFLOP: \"resize\": true with, say, image_width "
               f"{round(scale * width)} and image_height {round(scale * height)} trains "
               f"{flop / MUCH_FLOP:.0f} times as fast; letters of 20 pixels can be read")


def _same_pixels(train: ImageSet, test: ImageSet) -> Iterator[str]:
    names, char_ids = [*train.names, *test.names], np.concatenate([train.char_ids, test.char_ids])
    for_test = np.arange(len(names)) >= len(train)
    groups = _groups([*_digests(train), *_digests(test)])
    clashes = [group for group in groups if len(np.unique(char_ids[group], axis=0)) > 1]
    if clashes:
        first, *others = clashes[0]
        second = next(i for i in others if (char_ids[i] != char_ids[first]).any())
        yield (f"{_count(len(clashes), 'picture has', 'pictures have')} two labels, such as "
               f"{names[first]} and {names[second]}: remove the files whose label is wrong")
    shared = [i for group in groups if not for_test[group].all()
              for i in group[for_test[group]]]
    if shared:
        yield (f"{_count(len(shared), 'test image is', 'test images are')} in the training set "
               f"too, such as {names[min(shared)]}: remove them from the test set, whose accuracy "
               "they flatter")
    copies = sum(max(0, int((~for_test[group]).sum()) - 1) for group in groups)
    if copies:
        yield (f"{_count(copies, 'training image is a copy', 'training images are copies')} of "
               "another: nothing is learned from them; label other images instead")


def _digests(images: ImageSet) -> Iterator[int]:
    for pixels in images.pixels:
        yield int.from_bytes(hashlib.blake2b(pixels.tobytes(), digest_size=8).digest(), "big")


def _groups(digests: list[int]) -> list[np.ndarray]:
    """Return the indices of what stands there more than once, each group ascending."""
    _, place, counts = np.unique(np.array(digests, np.uint64), return_inverse=True,
                                 return_counts=True)
    repeated = np.flatnonzero(counts[place] > 1)
    order = repeated[np.argsort(place[repeated], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(place[order])) + 1) if len(order) else []


def _blank(*sets: ImageSet) -> Iterator[str]:
    names = [images.names[start + i] for images in sets
             for start in range(0, len(images), CHUNK)
             for i in np.flatnonzero(_contrast(images.pixels[start:start + CHUNK]) < BLANK)]
    if names:
        yield (f"{_count(len(names), 'image is', 'images are')} of one shade, such as "
               f"{names[0]}: look at {'it' if len(names) == 1 else 'them'}, and remove what shows "
               "no text")


def _contrast(pixels: np.ndarray) -> np.ndarray:
    """Return the greatest standard deviation of a channel, float32 [N]."""
    deviations = pixels.std(axis=(1, 2), dtype=np.float32)
    return deviations.reshape(len(pixels), -1).max(axis=1)


def _classes(train: ImageSet, test: ImageSet, char_set: Sequence[str]) -> Iterator[str]:
    in_train, in_test = (Counter(c for ids in images.char_ids for c in set(ids.tolist()))
                         for images in (train, test))
    for counts in (in_train, in_test):
        del counts[NO_CHARACTER]
    absent = [c for c in range(len(char_set)) if not in_train[c]]
    only_tested = [c for c in absent if in_test[c]]
    never = [c for c in absent if not in_test[c]]
    few = sorted((c for c in in_train if in_train[c] < FEW), key=in_train.__getitem__)
    if never:
        yield (f"no image shows {_listed(char_set[c] for c in never)}: label images that do, or "
               "take what never occurs out of char_set")
    if only_tested:
        yield (f"no training image shows {_listed(char_set[c] for c in only_tested)}, but test "
               "images do: move some to the training set, and label more")
    if few:
        shown = _listed(f"{char_set[c]} ({in_train[c]})" for c in few)
        yield (f"fewer than {FEW} training images show {shown}: such characters are hardly "
               "learned; label more images that have them")


def _listed(characters: Iterator[str]) -> str:
    items = list(characters)
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return " ".join(items[:SHOWN]) + more


def _test_size(count: int) -> Iterator[str]:
    low, high = wilson_interval(round(TYPICAL_ACCURACY * count), count)
    margin = (high - low) / 2
    if margin > WANTED_MARGIN:
        yield (f"a test set of {count} cannot tell {WANTED_MARGIN:.0%} apart (95 % interval: give "
               f"or take {margin:.1%}): believe small differences only after more images are "
               "labelled; 1,000 are enough")


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


# --- while training ---

WINDOW = 10  # reports, whose mean is compared
CHANCE_FACTOR = 1.5  # of what guessing gives; at most halfway to all right
PLATEAU_REPORTS = 30  # of which the loss should have fallen below that of as many before
PLATEAU_SHARE = 2 / 3  # of the run; before, the rate is high and the images may turn harder
LEARNED = 0.9  # of training images right: more than that is not stuck
GAP = 0.15  # of images right, between training and test set


class Watch:
    """Look at the reports of a training, and say once what seems to go wrong.

    `chance` is the share of characters that the best guess without looking has right, `tested`
    the number of test images in each report.
    """

    def __init__(self, chance: float, tested: int, cycle_stop: int) -> None:
        self._guessing = min(CHANCE_FACTOR * chance, (1 + chance) / 2)
        self._tested = tested
        self._fair_steps = max(300, cycle_stop // 5)
        self._calm_steps = PLATEAU_SHARE * cycle_stop
        self._train: list[Scores] = []
        self._test: list[Scores] = []
        self._said: set[str] = set()

    def look(self, step: int, train: Scores, test: Scores) -> str:
        """Return one line, or nothing; `step` counts from 1, the scores are of this report."""
        self._train.append(train)
        self._test.append(test)
        if len(self._train) < WINDOW or step < self._fair_steps:
            return ""
        checks = {"chance": self._at_chance, "gap": self._gap}
        if step >= self._calm_steps:
            checks["plateau"] = self._plateau
        for name, check in checks.items():
            if name not in self._said and (line := check()):
                self._said.add(name)
                return f"after {step} steps {line}"
        return ""

    def _at_chance(self) -> str:
        if _recent(self._train, "char_accuracy") >= self._guessing:
            return ""
        return ("the answers are no better than guessing: most often labels that do not belong to "
                "their images, or the wrong max_captcha. Look at some images of train_image_dir "
                "beside their names")

    def _gap(self) -> str:
        train, test = (_recent(scores, "image_accuracy") for scores in (self._train, self._test))
        _, at_most = wilson_interval(round(test * self._tested), self._tested)
        if train < LEARNED or train - at_most < GAP:
            return ""
        return (f"{train:.0%} of the training images are right and {test:.0%} of the test images: "
                "too few images for this kind of captcha. Label more; python3 doctor.py --forecast "
                "estimates what they bring")

    def _plateau(self) -> str:
        if len(self._train) < 2 * PLATEAU_REPORTS:
            return ""
        before, now = (statistics.median(s.loss for s in part) for part in (
            self._train[-2 * PLATEAU_REPORTS:-PLATEAU_REPORTS], self._train[-PLATEAU_REPORTS:]))
        right = _recent(self._train, "image_accuracy")
        if now < before or right > LEARNED:
            return ""
        return (f"the loss has stopped falling at {right:.0%} of the training images right: look "
                "for wrong labels (python3 doctor.py), or train more steps (cycle_stop)")


def guessing(char_ids: np.ndarray) -> float:
    """Return the share of characters that the most frequent class at each position has right."""
    columns = [column[column != NO_CHARACTER] for column in char_ids.T]
    return statistics.mean(float(np.bincount(column).max() / len(column))
                           for column in columns if len(column))


def _recent(scores: Sequence[Scores], what: str) -> float:
    return statistics.mean(getattr(s, what) for s in scores[-WINDOW:])


# --- after training ---

GOOD_ENOUGH = 0.99  # of test images right: no advice is needed
HARD = 0.05  # of training images wrong, after FAIR_STEPS at least: the network is too narrow
FAIR_STEPS = 1000


def advice(train: Scores, test: Scores, cycle_stop: int, wider: str = "") -> list[str]:
    """Return what would bring most, or nothing; from the scores of images of both sets.

    Where training images are wrong, too, more steps help; where they are right, more images.
    `wider` is the network to try next, if there is one.
    """
    if test.image_accuracy >= GOOD_ENOUGH:
        return []
    lines = [_steps_or_images(train, test, cycle_stop)]
    if wider and 1 - train.image_accuracy > HARD and cycle_stop >= FAIR_STEPS:
        lines.append("this captcha is hard: a wider network would pay, too, and take twice as long "
                     f"(\"network\": \"{wider}\", with --fresh)")
    return lines


def _steps_or_images(train: Scores, test: Scores, cycle_stop: int) -> str:
    wrong, wrong_in_training = 1 - test.image_accuracy, 1 - train.image_accuracy
    if 2 * wrong_in_training >= wrong:
        return (f"{wrong_in_training:.1%} of the training images are wrong, too: more steps would "
                f"pay ({2 * cycle_stop}, say: cycle_stop), and larger images where letters are "
                "small (image_width, image_height)")
    return (f"{train.image_accuracy:.1%} of the training images are right and "
            f"{test.image_accuracy:.1%} of the test images: more images would pay more than more "
            "steps. python3 doctor.py --forecast estimates what they bring")


DOUBTFUL = 0.01  # as likely as the answer, or less


def likelihoods(probabilities: np.ndarray, char_ids: np.ndarray, ends: bool) -> np.ndarray:
    """Return how likely each label is, compared with the model's own answer, float [N], 0 to 1.

    `probabilities` are float [N, P, C], `char_ids` the labels, int [N, P]; `ends` as in reading.py.
    """
    answers = reading.most_probable(probabilities, ends)[1].prod(axis=-1)
    return reading.probability(probabilities, char_ids) / answers


def doubtful_labels(likelihood: np.ndarray) -> list[int]:
    """Return which labels are likely wrong, by index, the most likely first.

    Those that the model holds for far less likely than its own answer (confident learning,
    Northcutt et al. 2021, for one model and without thresholds by class).
    """
    return [int(i) for i in np.argsort(likelihood, kind="stable") if likelihood[i] <= DOUBTFUL]
