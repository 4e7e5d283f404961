"""What a folder of labelled images shows: labels, sizes, colours."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cnnlib.config_reader import IMAGE_SUFFIXES
from cnnlib.console import CONSOLE, Reporter
from cnnlib.dataset.folders import image_names
from cnnlib.dataset.images import open_image, to_gray_or_rgb
from cnnlib.dataset.labels import LABELS_FILE, FolderLabels, read_label_list
from cnnlib.errors import SampleError
from cnnlib.paths import ProjectPath

SEPARATORS = ("_", "-", "#", "@", "=", " ")
MAX_DECODED = 500  # images, to see their sizes and colours
COMMON_WORD_FROM = 10  # images: this many with the same word before the separator have no label
GRAY_WEIGHTS = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True)
class Inspection:
    """What was seen; `sizes` and `hidden_colour` are of those images that were decoded."""

    suffix: str
    suffixes: Counter[str]  # of files that may be images
    labels: list[str]
    listed: int  # labels out of labels.csv; the others are in the names
    unlabelled: list[str]  # names without a label
    separator: str
    unmatched: int  # files that labels.csv names and that are missing
    sizes: Counter[tuple[int, int]]
    broken: list[str]
    hidden_colour: float  # of 255, see `hidden_colour`

    @property
    def lengths(self) -> Counter[int]:
        return Counter(map(len, self.labels))

    @property
    def characters(self) -> list[str]:
        return sorted({c for label in self.labels for c in label})


def inspect_folder(
    folder: ProjectPath, separator: str = "", seed: int = 0, reporter: Reporter = CONSOLE
) -> Inspection:
    """Inspect the images of a folder; raises SampleError where none has a label.

    Without a separator it is the one that most names have.
    """
    found = image_names(folder)
    listed = read_label_list(folder)
    if not found:
        raise SampleError(
            f"no image in {folder}: name a folder with files of the formats "
            f"{', '.join(IMAGE_SUFFIXES)}; those in its sub-folders do not count"
        )
    separator = separator or _separator([name for name in found if name not in listed])
    labels = FolderLabels(listed, separator)
    labelled = {name: label for name in found if (label := _label_or_none(name, labels))}
    _discard_common_word(labelled, listed, folder)
    if not labelled:
        raise SampleError(
            f"no image in {folder} has a label: name them label{separator}serial.suffix, such as "
            f"2e8j{separator}1.png, or list them in {LABELS_FILE} in this folder, a line "
            "`file,label` for each"
        )
    most = Counter(map(_suffix, labelled)).most_common(1)[0][0]  # an image_suffix is one
    names = [name for name in found if _suffix(name) == most]
    chosen = sorted(np.random.default_rng(seed).permutation(len(names))[:MAX_DECODED])
    return Inspection(
        most,
        Counter(map(_suffix, found)),
        [labelled[name] for name in names if name in labelled],
        sum(name in listed for name in names),
        [name for name in names if name not in labelled],
        separator,
        len(set(listed) - set(found)),
        *_inspect_pixels(folder, [names[i] for i in chosen], reporter),
    )


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lstrip(".").lower()


def _label_or_none(name: str, labels: FolderLabels) -> str | None:
    try:
        return labels.label(name)
    except SampleError:
        return None


def _separator(names: Sequence[str]) -> str:
    """Return what most names have between label and serial; the first of several."""
    return max(
        SEPARATORS,
        key=lambda separator: sum(
            _label_or_none(name, FolderLabels(separator=separator)) is not None for name in names
        ),
    )


def _discard_common_word(
    labelled: dict[str, str], listed: Mapping[str, str], folder: ProjectPath
) -> None:
    """Remove what all names begin with that are not listed, such as `img`: it is not a label.

    Raises SampleError where no other label is left.
    """
    in_names = {name: label for name, label in labelled.items() if name not in listed}
    words = set(in_names.values())
    if len(in_names) < COMMON_WORD_FROM or len(words) > 1:
        return
    if not listed:
        raise SampleError(
            f"all {len(in_names)} images in {folder} have the label {words.pop()!r}: "
            "begin each name with what the image shows, such as 2e8j_1.png, or list "
            f"the labels in {LABELS_FILE} in this folder, a line `file,label` for each"
        )
    for name in in_names:
        del labelled[name]


def _inspect_pixels(
    folder: ProjectPath, names: Sequence[str], reporter: Reporter
) -> tuple[Counter[tuple[int, int]], list[str], float]:
    """Return sizes, the names that cannot be decoded, and the mean of the hidden colour."""
    sizes: Counter[tuple[int, int]] = Counter()
    broken, reasons, hidden = [], [], []
    for name in reporter.progress(names, "inspecting"):
        try:
            image = to_gray_or_rgb(open_image(folder.full / name), channels=3)
        except SampleError as error:
            broken.append(name)
            reasons.append(f"{name}: {error}")
            continue
        sizes[image.size] += 1
        hidden.append(hidden_colour(np.asarray(image)))
    if not sizes:
        raise SampleError(f"no image in {folder} can be decoded, such as {reasons[0]}")
    return sizes, broken, float(np.mean(hidden))


def hidden_colour(pixels: np.ndarray) -> float:
    """Return how far the colours of an image, uint8 [H, W, 3], are from what its grays explain.

    It is the root mean square of what is left when each channel is explained by gray, linearly.
    """
    colours = pixels.reshape(-1, 3).astype(float)  # [H * W, 3]
    colours -= colours.mean(axis=0)
    gray = colours @ GRAY_WEIGHTS  # [H * W]
    explained = np.outer(gray, gray @ colours / max(gray @ gray, 1.0))
    return float(np.sqrt(np.mean((colours - explained) ** 2)))
