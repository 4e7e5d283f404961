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
THUMBNAIL = 8, 16  # rows and columns, at most: what copies have in common
ALIKE_PAIRS = 200  # of training images of one label, at most
ALIKE_SHARE = 0.5  # of those pairs: from here on captchas of one text are all nearly the same
MIN_ALIKE_PAIRS = 5
WANTED_MARGIN = 0.01  # of the measured accuracy
TYPICAL_ACCURACY = 0.98  # at which the margin is reckoned
MAX_LISTED_CHARACTERS = 10  # characters, in a line
MAX_LISTED_PAIRS = 10
IMAGES_PER_CHUNK = 1000
BEARABLE_FLOP = 1e9  # forward, for an image: training takes ten times as long as with 100x60
COSTLY_FACTOR = 1.5  # more than that many times, a smaller size is worth a word


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
    if flop > COSTLY_FACTOR * BEARABLE_FLOP:
        scale = math.sqrt(BEARABLE_FLOP / flop)
        yield (
            f'each image costs {flop / 1e9:.1f} GFLOP: "resize": true with, say, image_width '
            f"{round(scale * width)} and image_height {round(scale * height)} trains "
            f"{flop / BEARABLE_FLOP:.1f} times as fast; letters of 20 pixels can be read"
        )


def contradictions(images: ImageSet) -> float:
    """Return the share of the images whose picture also has another label."""
    clashes = _clashes(_groups(list(digests(images))), images.char_ids)
    return sum(map(len, clashes)) / max(1, len(images))


def _clashes(groups: list[np.ndarray], char_ids: np.ndarray) -> list[np.ndarray]:
    """Return the groups of equal pictures that have several labels."""
    return [group for group in groups if len(np.unique(char_ids[group], axis=0)) > 1]


def _check_duplicates(train: ImageSet, test: ImageSet) -> Iterator[str]:
    names, char_ids = [*train.names, *test.names], np.concatenate([train.char_ids, test.char_ids])
    for_test = np.arange(len(names)) >= len(train)
    groups = _groups([*digests(train), *digests(test)])
    clashes = _clashes(groups, char_ids)
    if clashes:
        pairs = []
        for first, *others in clashes:
            second = next(i for i in others if (char_ids[i] != char_ids[first]).any())
            pairs.append((names[first], names[second]))
        yield (
            f"{_count(len(clashes), 'picture has', 'pictures have')} two labels: "
            f"{_listed_pairs(pairs, 'and')}: remove the files whose label is wrong"
        )
    near = near_copies(train, test)
    twins = {len(train) + i: j for i, j in near.items()}
    for group in groups:
        if not for_test[group].all():
            twins |= dict.fromkeys(group[for_test[group]].tolist(), group[0])
    if twins:
        is_plain = bool(near) and _are_texts_alike(train)
        plain = " (or this captcha draws a text nearly the same each time: then leave them)"
        yield (
            f"{_count(len(twins), 'test image is', 'test images are')} in the training set too, "
            f"{_listed_pairs([(names[i], names[twins[i]]) for i in sorted(twins)], 'as')}: remove "
            f"the latter, or the accuracy of the test set is flattered{plain * is_plain}"
        )
    copies = [(names[i], names[group[0]]) for group in groups for i in group[~for_test[group]][1:]]
    if copies:
        yield (
            f"{_count(len(copies), 'training image is a copy', 'training images are copies')} of "
            f"another, such as {copies[0][0]} of {copies[0][1]}: nothing is learned from them; "
            "label other images instead"
        )


def near_copies(train: ImageSet, test: ImageSet) -> dict[int, int]:
    """Return which test images are nearly a training image of the same label: re-encoded ones.

    Indices of test images to those of training images. Pictures whose label is another one are not
    compared: a copy keeps its label.
    """
    found = {}
    tested, trained = _by_label(test), _by_label(train)
    for label in tested.keys() & trained.keys():
        mine, others = tested[label], trained[label]
        thumbnails = _thumbnails(test.pixels, mine), _thumbnails(train.pixels, others)
        for i, nearest in zip(mine, _nearest(*thumbnails), strict=True):
            if _is_near(test.pixels[i], train.pixels[others[nearest]]):
                found[i] = others[nearest]
    return found


def _by_label(images: ImageSet) -> dict[bytes, list[int]]:
    found: dict[bytes, list[int]] = {}
    for i, ids in enumerate(images.char_ids):
        found.setdefault(ids.tobytes(), []).append(i)
    return found


def _thumbnails(pixels: np.ndarray, chosen: Sequence[int]) -> np.ndarray:
    """Return sums over blocks of n chosen images, uint8 [N, H, W, ...], as float32 [n, F]."""
    rows, columns = (
        np.linspace(0, size, min(size, wanted), endpoint=False).astype(int)
        for size, wanted in zip(pixels.shape[1:3], THUMBNAIL, strict=True)
    )
    sums = [
        np.add.reduceat(
            np.add.reduceat(
                pixels[chosen[start : start + IMAGES_PER_CHUNK]], rows, axis=1, dtype=np.int32
            ),
            columns,
            axis=2,
        )
        for start in range(0, len(chosen), IMAGES_PER_CHUNK)
    ]
    return np.concatenate(sums).reshape(len(chosen), -1).astype(np.float32)


def _nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return for each point, [N, F], the index of the nearest of the others, [M, F], int [N]."""
    squares = (others**2).sum(axis=1)
    return np.concatenate(
        [
            (squares - 2 * points[start : start + IMAGES_PER_CHUNK] @ others.T).argmin(axis=1)
            for start in range(0, len(points), IMAGES_PER_CHUNK)
        ]
    )


def _is_near(image: np.ndarray, other: np.ndarray) -> bool:
    """Return whether an image, uint8, differs from another by no more than a poor JPEG loses."""
    exact = image.astype(np.float32)
    limit = SAME_PICTURE * max(float(exact.std()), BLANK_DEVIATION)
    return bool(np.sqrt(np.mean((other - exact) ** 2)) < limit)


def _are_texts_alike(images: ImageSet) -> bool:
    """Return whether most images that share a label are nearly the same, but for equal ones."""
    pairs = [group[:2] for group in _by_label(images).values() if len(group) > 1][:ALIKE_PAIRS]
    pictures = [(images.pixels[i], images.pixels[j]) for i, j in pairs]
    near = [_is_near(one, other) for one, other in pictures if (one != other).any()]
    return len(near) >= MIN_ALIKE_PAIRS and sum(near) >= ALIKE_SHARE * len(near)


def _listed_pairs(pairs: Sequence[tuple[str, str]], between: str) -> str:
    shown = "; ".join(f"{a} {between} {b}" for a, b in pairs[:MAX_LISTED_PAIRS])
    return shown + (f"; {more} more" if (more := len(pairs) - MAX_LISTED_PAIRS) > 0 else "")


def digests(images: ImageSet) -> Iterator[int]:
    """Yield a number for each picture, the same for the same pixels."""
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
