"""What is wrong with labelled images that each are usable: one line each, with the remedy."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from cnnlib.console import examples
from cnnlib.dataset.image_set import ImageSet
from cnnlib.dataset.labels import PAD_ID
from cnnlib.evaluation.metrics import wilson_interval

BLANK_DEVIATION = 2.0  # gray levels of standard deviation: less shows nothing
RARE_CLASS = 20  # training images with a character: a class with fewer is hardly learned
# Root mean square of the difference, of the contrast: JPEG of quality 30 changes practice captchas
# of twelve styles by at most 0.40, and another drawing of the same text differs by at least 0.98.
SAME_PICTURE = 0.5
MAX_COMPARED = 200  # training images of one label with a test image
WANTED_MARGIN = 0.01  # of the measured accuracy
TYPICAL_ACCURACY = 0.98  # at which the margin is reckoned
MAX_LISTED_CHARACTERS = 10  # characters, in a line
MAX_LISTED_PAIRS = 10
IMAGES_PER_CHUNK = 1000
COSTLY_FLOP = 1e9  # forward, for an image: training then takes more than ten times what 100x60 does


def check_images(train: ImageSet, test: ImageSet, char_set: Sequence[str]) -> list[str]:
    """Return what is wrong with training and test images; nothing for good ones."""
    return [
        *_check_duplicates(train, test),
        *_check_blank(train, test),
        *_check_classes(train, test, char_set),
        *_check_test_size(len(test)),
    ]


def check_cost(flop: int, width: int, height: int) -> Iterator[str]:
    """Yield advice where images cost too much; `flop` are operations forward for each."""
    if flop > COSTLY_FLOP:
        scale = math.sqrt(COSTLY_FLOP / flop)
        yield (
            f'each image costs {flop / 1e9:.1f} GFLOP: "resize": true with, say, image_width '
            f"{round(scale * width)} and image_height {round(scale * height)} trains "
            f"{flop / COSTLY_FLOP:.0f} times as fast; letters of 20 pixels can be read"
        )


def contradictions(images: ImageSet) -> float:
    """Return the share of the images whose picture also has another label."""
    clashes = _clashes(_groups(list(_digests(images))), images.char_ids)
    return sum(map(len, clashes)) / max(1, len(images))


def _clashes(groups: list[np.ndarray], char_ids: np.ndarray) -> list[np.ndarray]:
    """Return the groups of equal pictures that have several labels."""
    return [group for group in groups if len(np.unique(char_ids[group], axis=0)) > 1]


def _check_duplicates(train: ImageSet, test: ImageSet) -> Iterator[str]:
    names, char_ids = [*train.names, *test.names], np.concatenate([train.char_ids, test.char_ids])
    for_test = np.arange(len(names)) >= len(train)
    groups = _groups([*_digests(train), *_digests(test)])
    clashes = _clashes(groups, char_ids)
    if clashes:
        pairs = []
        for first, *others in clashes[:MAX_LISTED_PAIRS]:
            second = next(i for i in others if (char_ids[i] != char_ids[first]).any())
            pairs.append(f"{names[first]} and {names[second]}")
        more = f"; {len(clashes) - len(pairs)} more" if len(clashes) > len(pairs) else ""
        yield (
            f"{_count(len(clashes), 'picture has', 'pictures have')} two labels: "
            f"{'; '.join(pairs)}{more}: remove the files whose label is wrong"
        )
    shared = {i for group in groups if not for_test[group].all() for i in group[for_test[group]]}
    shared |= {len(train) + i for i in near_copies(train, test)}
    if shared:
        yield (
            f"{_count(len(shared), 'test image is', 'test images are')} in the training set "
            f"too, such as {names[min(shared)]}: remove them from the training set, or the "
            "accuracy of the test set is flattered"
        )
    copies = sum(max(0, int((~for_test[group]).sum()) - 1) for group in groups)
    if copies:
        yield (
            f"{_count(copies, 'training image is a copy', 'training images are copies')} of "
            "another: nothing is learned from them; label other images instead"
        )


def near_copies(train: ImageSet, test: ImageSet) -> list[int]:
    """Return the test images that are nearly a training image of the same label: re-encoded ones.

    Pictures whose label is another one are not compared: a copy keeps its label.
    """
    found = []
    by_label: dict[bytes, list[int]] = {}
    for i, ids in enumerate(train.char_ids):
        by_label.setdefault(ids.tobytes(), []).append(i)
    for i, ids in enumerate(test.char_ids):
        alike = by_label.get(ids.tobytes(), [])
        if alike and _is_near_any(test.pixels[i], train.pixels[alike[:MAX_COMPARED]]):
            found.append(i)
    return found


def _is_near_any(image: np.ndarray, others: np.ndarray) -> bool:
    """Return whether an image, uint8, differs from one of [N, ...] by what a poor JPEG loses."""
    exact = image.astype(np.float32)
    limit = SAME_PICTURE * max(float(exact.std()), BLANK_DEVIATION)
    return any(np.sqrt(np.mean((other - exact) ** 2)) < limit for other in others)


def _digests(images: ImageSet) -> Iterator[int]:
    for pixels in images.pixels:
        yield int.from_bytes(hashlib.blake2b(pixels.tobytes(), digest_size=8).digest(), "big")


def _groups(digests: list[int]) -> list[np.ndarray]:
    """Return the indices of what occurs more than once, each group ascending."""
    _, place, counts = np.unique(
        np.array(digests, np.uint64), return_inverse=True, return_counts=True
    )
    repeated = np.flatnonzero(counts[place] > 1)
    order = repeated[np.argsort(place[repeated], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(place[order])) + 1) if len(order) else []


def _check_blank(*sets: ImageSet) -> Iterator[str]:
    names = [
        images.names[start + i]
        for images in sets
        for start in range(0, len(images), IMAGES_PER_CHUNK)
        for i in np.flatnonzero(
            _contrast(images.pixels[start : start + IMAGES_PER_CHUNK]) < BLANK_DEVIATION
        )
    ]
    if names:
        yield (
            f"{_count(len(names), 'image is', 'images are')} of one shade, such as "
            f"{names[0]}: look at {'it' if len(names) == 1 else 'them'}, and remove what shows "
            "no text"
        )


def _contrast(pixels: np.ndarray) -> np.ndarray:
    """Return the greatest standard deviation of a channel, float32 [N]."""
    deviations = pixels.std(axis=(1, 2), dtype=np.float32)
    return deviations.reshape(len(pixels), -1).max(axis=1)


def _check_classes(train: ImageSet, test: ImageSet, char_set: Sequence[str]) -> Iterator[str]:
    in_train, in_test = (
        Counter(c for ids in images.char_ids for c in set(ids.tolist())) for images in (train, test)
    )
    for counts in (in_train, in_test):
        del counts[PAD_ID]
    absent = [c for c in range(len(char_set)) if not in_train[c]]
    only_tested = [c for c in absent if in_test[c]]
    never = [c for c in absent if not in_test[c]]
    few = sorted((c for c in in_train if in_train[c] < RARE_CLASS), key=in_train.__getitem__)
    if never:
        yield (
            f"no image shows {_listed(char_set[c] for c in never)}: label images that do, or "
            "take what never occurs out of char_set"
        )
    if only_tested:
        yield (
            f"no training image shows {_listed(char_set[c] for c in only_tested)}, but test "
            "images do: move some to the training set, and label more"
        )
    if few:
        shown = _listed(f"{char_set[c]} ({in_train[c]})" for c in few)
        yield (
            f"fewer than {RARE_CLASS} training images show {shown}: such characters are hardly "
            "learned; label more images that have them"
        )


def _listed(characters: Iterator[str]) -> str:
    return examples(list(characters), MAX_LISTED_CHARACTERS, " ")


def _check_test_size(count: int) -> Iterator[str]:
    low, high = wilson_interval(round(TYPICAL_ACCURACY * count), count)
    margin = (high - low) / 2
    if margin > WANTED_MARGIN:
        yield (
            f"a test set of {count} cannot tell {WANTED_MARGIN:.0%} apart (95 % interval: give "
            f"or take {margin:.1%}): believe small differences only after more images are "
            "labelled, 1,000 are enough; python3 doctor.py --cross-validate measures on all images"
        )


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
