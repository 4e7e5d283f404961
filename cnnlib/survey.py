"""What a folder of labelled images shows, and the configuration that fits it."""

from __future__ import annotations

import math
import os
import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnlib import console, dataset, encoding
from cnnlib.config import IMAGE_SUFFIXES, ProjectPath
from cnnlib.errors import SampleError

SEPARATORS = ("_", "-", "#", "@", "=", " ")
DECODED = 500  # images at most, to see their sizes and colours
SAME_SIZE = 0.98  # of the images: the others are left out, and not all of them scaled
# Pixels of a scaled image, its height and its area: row `strip` of the bench has 240x48.
HIGHEST, LARGEST = 48, 12_000
TOO_LARGE = 60_000  # pixels: such images take more than a second of computing for a step's image
COLOURFUL = 40.0  # mean distance of a pixel's channels, where colour may tell letters from noise
CLASSES = (string.digits, string.ascii_lowercase, string.ascii_uppercase)


@dataclass(frozen=True)
class Survey:
    """What was seen; `sizes` and `chroma` are of those images that were decoded."""

    suffixes: Counter[str]  # of files that may be images
    labels: list[str]
    unlabelled: list[str]  # names without a label
    separator: str
    unmatched: int  # files that labels.csv names and that are not there
    sizes: Counter[tuple[int, int]]
    broken: list[str]
    chroma: float

    @property
    def suffix(self) -> str:
        return self.suffixes.most_common(1)[0][0]

    @property
    def lengths(self) -> Counter[int]:
        return Counter(map(len, self.labels))

    @property
    def characters(self) -> list[str]:
        return sorted({c for label in self.labels for c in label})


def survey(folder: ProjectPath, seed: int = 0) -> Survey:
    """Look at the images of a folder; raises SampleError where none has a label."""
    found = [name for name in dataset.file_names(folder)
             if encoding.has_suffix(name, IMAGE_SUFFIXES)]
    listed = dataset.listed_labels(folder)
    if not found:
        raise SampleError(f"no image in {folder} ({folder.full}): name a folder with files of "
                          f"the formats {', '.join(IMAGE_SUFFIXES)}")
    suffixes = Counter(os.path.splitext(name)[1].lstrip(".").lower() for name in found)
    most = suffixes.most_common(1)[0][0]  # an image_suffix is one
    names = [name for name in found if encoding.has_suffix(name, [most])]
    separator = _separator([name for name in names if name not in listed])
    labels, unlabelled = [], []
    for name in names:
        try:
            labels.append(listed[name] if name in listed else encoding.label_of(name, separator))
        except SampleError:
            unlabelled.append(name)
    if not labels:
        raise SampleError(
            f"no image in {folder} has a label: name them label_serial.suffix, such as "
            f"2e8j_1.png, or list them in {dataset.LABELS} there, a line `file,label` for each")
    chosen = sorted(np.random.default_rng(seed).permutation(len(names))[:DECODED])
    return Survey(suffixes, labels, unlabelled, separator, len(set(listed) - set(found)),
                  *_looks(folder, [names[i] for i in chosen]))


def _looks(folder: ProjectPath,
           names: Sequence[str]) -> tuple[Counter[tuple[int, int]], list[str], float]:
    """Return sizes, the names that cannot be decoded, and the mean distance of channels."""
    sizes: Counter[tuple[int, int]] = Counter()
    broken, chroma = [], []
    for name in console.progress(names, "looking"):
        try:
            image = encoding.flat(encoding.open_image(folder.full / name), channels=3)
        except SampleError:
            broken.append(name)
            continue
        sizes[image.size] += 1
        pixels = np.asarray(image).astype(int)
        chroma.append(float((pixels.max(-1) - pixels.min(-1)).mean()))
    if not sizes:
        raise SampleError(f"no image in {folder} can be decoded, {broken[0]} for one: save them as "
                          "PNG, JPEG, GIF, BMP or WebP")
    return sizes, broken, float(np.mean(chroma))


def _separator(names: Sequence[str]) -> str:
    """Return what most names have between label and serial.

    Of several it is the one that leaves the fewest different characters in labels.
    """
    def unfitness(separator: str) -> tuple[float, int, int]:
        labels = []
        for name in names:
            with suppress(SampleError):
                labels.append(encoding.label_of(name, separator))
        fitting = len(labels) / max(1, len(names))
        return -round(fitting, 1), len(set("".join(labels))), sum(map(len, labels))

    return min(SEPARATORS, key=unfitness)


def input_size(sizes: Mapping[tuple[int, int], int]) -> tuple[int, int, bool]:
    """Return width and height of the network's images, and whether images are scaled to them."""
    (width, height), count = max(sizes.items(), key=lambda item: item[1])
    if count >= SAME_SIZE * sum(sizes.values()) and width * height <= TOO_LARGE:
        return width, height, False
    expanded = np.repeat(np.array(list(sizes)), list(sizes.values()), axis=0)
    height = min(HIGHEST, round(float(np.median(expanded[:, 1]))))
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
        "image_channels": 3 if seen.chroma >= COLOURFUL else 1,
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
    yield (f"{seen.suffixes.total()} images; {len(seen.labels)} of them have a label, in "
           f"{dataset.LABELS} or before the first '{seen.separator}' of their names, such as "
           f"{seen.labels[0]!r}")
    if seen.unmatched:
        yield f"{dataset.LABELS} names {seen.unmatched} files that are not there"
    if seen.unlabelled:
        yield f"without a label: {_some(seen.unlabelled)}"
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
    yield _about_characters(seen)
    yield _about_sizes(seen, values)
    yield (f"colour {seen.chroma:.0f} of 255 on average: "
           + ("image_channels 3, which helps where colour tells letters from noise; 1 trains a "
              "little faster" if values["image_channels"] == 3 else
              "gray is enough, most likely"))
    yield f"cycle_stop {values['cycle_stop']}: a guess by the number of images and characters"


def _about_characters(seen: Survey) -> str:
    occur = set(seen.characters)
    line = f"{len(occur)} different characters"
    missing = "".join(c for group in CLASSES if 2 * len(occur & set(group)) > len(group)
                      for c in group if c not in occur)
    if missing:
        return (f"{line}; never seen: {missing}. Add to char_set what can occur; some captchas "
                "leave out what looks alike")
    if occur & set(string.ascii_lowercase) and occur & set(string.ascii_uppercase):
        return f"{line}, upper and lower case: \"ignore_case\": true where the site ignores it"
    return line


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
