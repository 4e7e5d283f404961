"""The configuration that fits a folder of images, and the words that explain it."""

from __future__ import annotations

import math
import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cnnlib.dataset.inspection import SEPARATORS, Inspection
from cnnlib.dataset.labels import LABELS_FILE
from cnnlib.dataset.splitting import size_of_test_set
from cnnlib.paths import ProjectPath

SAME_SIZE = 0.98  # of the images: the others are left out, and not all of them scaled
SCALED_AREA = 12_000  # pixels of a scaled image, at most: row `strip` of the bench has 240x48
SCALE_ABOVE = 24_000  # pixels: four times the computing that an image of 100x60 takes
# Hidden colour: one ink on one ground has 0 to 1 as PNG and 4 to 6 as JPEG, the practice styles
# with many colours have 6 to 8.
COLOUR_FROM = 5.5
FEW_LABELS = 100
COMING_CHARACTERS = 1000  # of this many to come less than one will be of a kind not seen yet
RARE_LENGTH = 0.02  # of the labels
ACC_STOP_FROM = 300  # test images; fewer reach any acc_stop by luck
CLASSES = (string.digits, string.ascii_lowercase, string.ascii_uppercase)


def input_size(sizes: Mapping[tuple[int, int], int]) -> tuple[int, int, bool]:
    """Return width and height of the network's images, and whether images are scaled to them."""
    (width, height), count = max(sizes.items(), key=lambda item: item[1])
    if count >= SAME_SIZE * sum(sizes.values()) and width * height <= SCALE_ABOVE:
        return width, height, False
    expanded = np.repeat(np.array(list(sizes)), list(sizes.values()), axis=0)
    height = round(float(np.median(expanded[:, 1])))
    shape = float(np.quantile(expanded[:, 0] / expanded[:, 1], 0.9))
    width = max(1, round(height * shape))
    shrink = min(1.0, math.sqrt(SCALED_AREA / (width * height)))
    return max(1, round(width * shrink)), max(1, round(height * shrink)), True


def suggested_steps(seen: Inspection) -> int:
    """Return a cycle_stop, as the rows of the bench have it for captchas of that kind."""
    if len(seen.labels) >= 50_000:
        return 6000
    return 4000 if len(seen.characters) > 40 or max(seen.lengths) > 5 else 3000


def suggested_keys(seen: Inspection) -> dict[str, Any]:
    """Return the keys of a sample config that the images decide."""
    width, height, resize = input_size(seen.sizes)
    return {
        "image_width": width,
        "image_height": height,
        "resize": resize,
        "min_captcha": min(seen.lengths),
        "max_captcha": max(seen.lengths),
        "image_suffix": seen.suffix,
        "char_set": "".join(seen.characters),
        "image_channels": 3 if seen.hidden_colour >= COLOUR_FROM else 1,
        "label_separator": seen.separator,
        "cycle_stop": suggested_steps(seen),
    }


def proposed_config(seen: Inspection, folder: ProjectPath, name: str) -> dict[str, Any]:
    """Return a whole sample config for the images of a folder, with places of its own."""
    places = {
        f"{kind}_image_dir": f"sample/{name}/{kind}/"
        for kind in ("new", "train", "test", "api", "online", "local")
    }
    tested = size_of_test_set(len(seen.labels))
    return {
        "origin_image_dir": str(folder.full),
        **places,
        "model_save_dir": f"model/{name}/",
        "log_dir": f"logs/{name}/",
        "labels_json_file": f"sample/{name}/labels.json",
        "use_labels_json_file": False,
        **suggested_keys(seen),
        "remote_url": "http://127.0.0.1:6100/captcha/",
        "acc_stop": 0.99 if tested >= ACC_STOP_FROM else 1.0,
        "cycle_save": 500,
        "enable_gpu": 0,
        "train_batch_size": 128,
        "test_batch_size": 100,
    }


def findings(seen: Inspection, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a few lines on what was seen, what follows from it, and how sure that is."""
    yield from _about_files(seen)
    yield from _about_lengths(seen)
    yield from _about_characters(seen)
    yield _about_sizes(seen, values)
    hidden = f"{seen.hidden_colour:.0f} of 255"
    yield (
        f"several colours, {hidden} from what gray shows: image_channels 3, "
        "which costs little; 1 may do as well"
        if values["image_channels"] == 3
        else f"gray shows all but {hidden}: image_channels 1"
    )
    yield f"cycle_stop {values['cycle_stop']}: a guess by the number of images and characters"


def _about_files(seen: Inspection) -> Iterator[str]:
    in_names = len(seen.labels) - seen.listed
    places = [f"{seen.listed} in {LABELS_FILE}"] * (seen.listed > 0)
    places += [f"{in_names} before the first '{seen.separator}' of their names"] * (in_names > 0)
    yield (
        f"{seen.suffixes.total()} images; {len(seen.labels)} of them have a label, "
        f"{' and '.join(places)}, such as {seen.labels[0]!r}"
    )
    if len(seen.labels) < FEW_LABELS:
        yield f"fewer than {FEW_LABELS} teach little: label some hundred"
    if seen.unmatched:
        yield f"{LABELS_FILE} names {seen.unmatched} files that are missing"
    if seen.unlabelled:
        yield (
            f"without a label: {_examples(seen.unlabelled)}. Move them away: verification takes "
            f"what comes before a '{seen.separator}' as their label"
        )
    others = {suffix: n for suffix, n in seen.suffixes.items() if suffix != seen.suffix}
    if others:
        yield (
            f"image_suffix is {seen.suffix}; left out: "
            + ", ".join(f"{n} {suffix}" for suffix, n in others.items())
            + ". Convert or rename them to use them"
        )
    if seen.broken:
        yield f"cannot be decoded: {_examples(seen.broken)}"


def _about_lengths(seen: Inspection) -> Iterator[str]:
    lengths = seen.lengths
    counts = ", ".join(f"{n} of {length}" for length, n in sorted(lengths.items()))
    sure = len(lengths) == 1 or min(lengths.values()) > RARE_LENGTH * len(seen.labels)
    yield f"labels of {counts} characters" + (
        ": sure" if sure else ". Some lengths are rare: check them for wrong labels"
    )


def _about_characters(seen: Inspection) -> Iterator[str]:
    occur = set(seen.characters)
    yield f"{len(occur)} different characters"
    missing = "".join(
        c
        for group in CLASSES
        if 2 * len(occur & set(group)) > len(group)
        for c in group
        if c not in occur
    )
    if missing:
        yield (
            f"never seen: {missing}. Add to char_set what can occur; some captchas leave out "
            "what looks alike"
        )
    elif (new := _share_of_new(seen.labels)) > 1 / COMING_CHARACTERS:
        yield (
            f"of {round(1 / new)} further characters about one will be a new one: label more, "
            "or add to char_set what can occur"
        )
    if occur & set(string.ascii_lowercase) and occur & set(string.ascii_uppercase):
        yield 'upper and lower case: "ignore_case": true where the site ignores it'
    for separator in SEPARATORS:
        if separator in occur and not seen.listed:
            yield f"{separator!r} in labels: where it ends them, --separator {separator!r}"


def _share_of_new(labels: Sequence[str]) -> float:
    """Estimate how many of further characters were never seen: as many as were seen once.

    Good 1953, "The population frequencies of species and the estimation of population parameters".
    """
    counts = Counter("".join(labels))
    return sum(n == 1 for n in counts.values()) / counts.total()


def _about_sizes(seen: Inspection, values: Mapping[str, Any]) -> str:
    size = f"{values['image_width']}x{values['image_height']}"
    if not values["resize"]:
        total = sum(seen.sizes.values())
        rest = total - max(seen.sizes.values())
        return f"{size} pixels: " + (
            f"{rest} of {total} have another size, and are left out" if rest else "sure"
        )
    (width, height), (wide, high) = min(seen.sizes), max(seen.sizes)
    return (
        f"sizes from {width}x{height} to {wide}x{high}: scaled to {size}, with their "
        "proportions kept; a guess, a larger one shows more and takes longer"
    )


def _examples(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
