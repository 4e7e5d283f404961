"""What a folder of labelled images shows, and the configuration that fits it."""

from __future__ import annotations

import math
import os
import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnlib import console, dataset, encoding
from cnnlib.config import IMAGE_SUFFIXES, ProjectPath
from cnnlib.errors import SampleError

SEPARATORS = ("_", "-", "#", "@", "=", " ")
DECODED = 500  # images at most, to see their sizes and colours
SAME_SIZE = 0.98  # of the images: the others are left out, and not all of them scaled
LARGEST = 12_000  # pixels of a scaled image: row `strip` of the bench has 240x48
TOO_LARGE = 24_000  # pixels: four times the computing that an image of 100x60 takes
# Root mean square of what gray does not tell, of 255: one ink on one ground has 0 to 1 as PNG and
# 4 to 6 as JPEG, the practice styles with many colours have 6 to 8.
COLOURFUL = 5.5
FEW = 100  # labelled images
MANY = 1000  # characters: of so many to come less than one will be of a kind not seen yet
SEVERAL = 10  # images: so many with the same word before the separator have no label
GRAY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
CLASSES = (string.digits, string.ascii_lowercase, string.ascii_uppercase)


@dataclass(frozen=True)
class Survey:
    """What was seen; `sizes` and `hidden` are of those images that were decoded."""

    suffix: str
    suffixes: Counter[str]  # of files that may be images
    labels: list[str]
    listed: int  # labels out of labels.csv; the others stand in the names
    unlabelled: list[str]  # names without a label
    separator: str
    unmatched: int  # files that labels.csv names and that are not there
    sizes: Counter[tuple[int, int]]
    broken: list[str]
    hidden: float  # colour that gray does not tell, of 255

    @property
    def lengths(self) -> Counter[int]:
        return Counter(map(len, self.labels))

    @property
    def characters(self) -> list[str]:
        return sorted({c for label in self.labels for c in label})


def survey(folder: ProjectPath, separator: str = "", seed: int = 0) -> Survey:
    """Look at the images of a folder; raises SampleError where none has a label.

    Without a separator it is the one that most names have.
    """
    found = [name for name in dataset.file_names(folder)
             if encoding.has_suffix(name, IMAGE_SUFFIXES)]
    listed = dataset.listed_labels(folder)
    if not found:
        raise SampleError(f"no image in {folder}: name a folder with files of the formats "
                          f"{', '.join(IMAGE_SUFFIXES)}; those in its sub-folders do not count")
    separator = separator or _separator([name for name in found if name not in listed])
    labelled = {name: label for name in found
                if (label := listed.get(name) or _label_in_name(name, separator))}
    _discard_a_common_word(labelled, listed, folder)
    if not labelled:
        raise SampleError(
            f"no image in {folder} has a label: name them label{separator}serial.suffix, such as "
            f"2e8j{separator}1.png, or list them in {dataset.LABELS} there, a line `file,label` "
            "for each")
    suffixes = Counter(map(_suffix, found))
    most = Counter(map(_suffix, labelled)).most_common(1)[0][0]  # an image_suffix is one
    names = [name for name in found if _suffix(name) == most]
    chosen = sorted(np.random.default_rng(seed).permutation(len(names))[:DECODED])
    return Survey(most, suffixes, [labelled[name] for name in names if name in labelled],
                  sum(name in listed for name in names),
                  [name for name in names if name not in labelled], separator,
                  len(set(listed) - set(found)), *_looks(folder, [names[i] for i in chosen]))


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lstrip(".").lower()


def _label_in_name(name: str, separator: str) -> str:
    try:
        return encoding.label_of(name, separator)
    except SampleError:
        return ""


def _discard_a_common_word(labelled: dict[str, str], listed: Mapping[str, str],
                           folder: ProjectPath) -> None:
    """Take out what all names begin with that are not listed, such as `img`: it is no label.

    Raises SampleError where nothing else is there.
    """
    in_names = {name: label for name, label in labelled.items() if name not in listed}
    words = set(in_names.values())
    if len(in_names) < SEVERAL or len(words) > 1:
        return
    if not listed:
        raise SampleError(f"all {len(in_names)} images in {folder} have the label {words.pop()!r}: "
                          "begin each name with what the image shows, such as 2e8j_1.png, or list "
                          f"the labels in {dataset.LABELS} there, a line `file,label` for each")
    for name in in_names:
        del labelled[name]


def _looks(folder: ProjectPath,
           names: Sequence[str]) -> tuple[Counter[tuple[int, int]], list[str], float]:
    """Return sizes, the names that cannot be decoded, and the mean of the hidden colour."""
    sizes: Counter[tuple[int, int]] = Counter()
    broken, reasons, hidden = [], [], []
    for name in console.progress(names, "looking"):
        try:
            image = encoding.flat(encoding.open_image(folder.full / name), channels=3)
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
    """Return how far the colours of an image, uint8 [H, W, 3], are from those its grays tell.

    It is the root mean square of what is left when each channel is explained by gray, linearly.
    """
    colours = pixels.reshape(-1, 3).astype(float)
    colours -= colours.mean(axis=0)
    gray = colours @ GRAY
    explained = np.outer(gray, gray @ colours / max(gray @ gray, 1.0))
    return float(np.sqrt(np.mean((colours - explained) ** 2)))


def _separator(names: Sequence[str]) -> str:
    """Return what most names have between label and serial; the first of several."""
    return max(SEPARATORS, key=lambda separator: sum(bool(_label_in_name(name, separator))
                                                     for name in names))


def input_size(sizes: Mapping[tuple[int, int], int]) -> tuple[int, int, bool]:
    """Return width and height of the network's images, and whether images are scaled to them."""
    (width, height), count = max(sizes.items(), key=lambda item: item[1])
    if count >= SAME_SIZE * sum(sizes.values()) and width * height <= TOO_LARGE:
        return width, height, False
    expanded = np.repeat(np.array(list(sizes)), list(sizes.values()), axis=0)
    height = round(float(np.median(expanded[:, 1])))
    shape = float(np.quantile(expanded[:, 0] / expanded[:, 1], 0.9))
    width = max(1, round(height * shape))
    shrink = min(1.0, math.sqrt(LARGEST / (width * height)))
    return max(1, round(width * shrink)), max(1, round(height * shrink)), True


def suggested_steps(seen: Survey) -> int:
    """Return a cycle_stop, as the rows of the bench have it for captchas of that kind."""
    if len(seen.labels) >= 50_000:
        return 6000
    return 4000 if len(seen.characters) > 40 or max(seen.lengths) > 5 else 3000


def suggestion(seen: Survey) -> dict[str, Any]:
    """Return the keys of a sample config that the images decide."""
    width, height, resize = input_size(seen.sizes)
    return {
        "image_width": width, "image_height": height, "resize": resize,
        "min_captcha": min(seen.lengths), "max_captcha": max(seen.lengths),
        "image_suffix": seen.suffix, "char_set": "".join(seen.characters),
        "image_channels": 3 if seen.hidden >= COLOURFUL else 1,
        "label_separator": seen.separator, "cycle_stop": suggested_steps(seen)}


def configuration(seen: Survey, folder: ProjectPath, name: str) -> dict[str, Any]:
    """Return a whole sample config for the images of a folder, with places of its own."""
    places = {f"{kind}_image_dir": f"sample/{name}/{kind}/"
              for kind in ("new", "train", "test", "api", "online", "local")}
    tested = len(seen.labels) // dataset.TEST_SHARE
    return {
        "origin_image_dir": str(folder.full), **places, "model_save_dir": f"model/{name}/",
        "log_dir": f"logs/{name}/", "labels_json_file": f"sample/{name}/labels.json",
        "use_labels_json_file": False, **suggestion(seen),
        "remote_url": "http://127.0.0.1:6100/captcha/", "acc_stop": 0.99 if tested >= 300 else 1.0,
        "cycle_save": 500, "enable_gpu": 0, "train_batch_size": 128, "test_batch_size": 100}


def findings(seen: Survey, values: Mapping[str, Any]) -> Iterator[str]:
    """Say in a few lines what was seen, what follows from it, and how sure that is."""
    in_names = len(seen.labels) - seen.listed
    places = [f"{seen.listed} in {dataset.LABELS}"] * (seen.listed > 0)
    places += [f"{in_names} before the first '{seen.separator}' of their names"] * (in_names > 0)
    yield (f"{seen.suffixes.total()} images; {len(seen.labels)} of them have a label, "
           f"{' and '.join(places)}, such as {seen.labels[0]!r}")
    if len(seen.labels) < FEW:
        yield f"fewer than {FEW} teach little: label some hundred"
    if seen.unmatched:
        yield f"{dataset.LABELS} names {seen.unmatched} files that are not there"
    if seen.unlabelled:
        yield (f"without a label: {_some(seen.unlabelled)}. Move them away: verification takes "
               f"what stands before a '{seen.separator}' for one")
    others = {suffix: n for suffix, n in seen.suffixes.items() if suffix != seen.suffix}
    if others:
        yield (f"image_suffix is {seen.suffix}; left out: "
               + ", ".join(f"{n} {suffix}" for suffix, n in others.items())
               + ". Convert or rename them to use them")
    if seen.broken:
        yield f"cannot be decoded: {_some(seen.broken)}"
    lengths = seen.lengths
    counts = ", ".join(f"{n} of {length}" for length, n in sorted(lengths.items()))
    yield f"labels of {counts} characters" + (
        ": sure" if len(lengths) == 1 or min(lengths.values()) > 0.02 * len(seen.labels) else
        ". Some lengths are rare: look for wrong labels")
    yield from _about_characters(seen)
    yield _about_sizes(seen, values)
    yield (f"several colours, {seen.hidden:.0f} of 255 from what gray tells: image_channels 3, "
           "which costs little; 1 may do as well" if values["image_channels"] == 3 else
           f"gray tells all but {seen.hidden:.0f} of 255: image_channels 1")
    yield f"cycle_stop {values['cycle_stop']}: a guess by the number of images and characters"


def _about_characters(seen: Survey) -> Iterator[str]:
    occur = set(seen.characters)
    yield f"{len(occur)} different characters"
    missing = "".join(c for group in CLASSES if 2 * len(occur & set(group)) > len(group)
                      for c in group if c not in occur)
    if missing:
        yield (f"never seen: {missing}. Add to char_set what can occur; some captchas leave out "
               "what looks alike")
    elif (new := _share_of_new(seen.labels)) > 1 / MANY:
        yield (f"of {round(1 / new)} further characters about one will be a new one: label more, "
               "or add to char_set what can occur")
    if occur & set(string.ascii_lowercase) and occur & set(string.ascii_uppercase):
        yield "upper and lower case: \"ignore_case\": true where the site ignores it"
    for separator in SEPARATORS:
        if separator in occur and not seen.listed:
            yield f"{separator!r} in labels: where they end there, --separator {separator!r}"


def _share_of_new(labels: Sequence[str]) -> float:
    """Estimate how many of further characters were never seen: as many as were seen once.

    Good 1953, "The population frequencies of species and the estimation of population parameters".
    """
    counts = Counter("".join(labels))
    return sum(n == 1 for n in counts.values()) / counts.total()


def _about_sizes(seen: Survey, values: Mapping[str, Any]) -> str:
    size = f"{values['image_width']}x{values['image_height']}"
    if not values["resize"]:
        rest = sum(seen.sizes.values()) - max(seen.sizes.values())
        return f"{size} pixels: " + (f"{rest} of {sum(seen.sizes.values())} have another size, and "
                                     "are left out" if rest else "sure")
    (width, height), (wide, high) = min(seen.sizes), max(seen.sizes)
    return (f"sizes from {width}x{height} to {wide}x{high}: scaled to {size}, with their "
            "proportions kept; a guess, a larger one shows more and takes longer")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
