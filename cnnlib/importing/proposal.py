"""The configuration that fits labelled images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cnnlib.captcha_spec import fold_case
from cnnlib.importing.inspection import Inspection
from cnnlib.paths import ProjectPath

SAME_SIZE = 0.98  # of the images: the others are left out, and not all of them scaled
SCALED_AREA = 12_000  # pixels of a scaled image: row `strip` of the bench has 240x48
MAX_AREA = 24_000  # pixels: four times the computing that an image of 100x60 takes
TEXT_HEIGHT = (20.0, 40.0)  # pixels, of the network's images, where they are scaled
# Smaller text is enlarged: bench/bench_small_letters.py had 70.0 % right of images of 72x27 with
# letters of 16 pixels, and 92.1 % with letters of 26.
SMALL_TEXT, ENLARGED_TEXT = 18.0, 26.0
MAX_ENLARGED = 2.0
# Of a step with 128 images on the two cores of docs/*/results.md: rows `20k` and `strip`.
STEP_S, STEP_S_PER_PIXEL = 0.06, 19e-6
MAX_TRAINING_S = 15 * 60
FEW_IMAGES, MAX_TRAINING_OF_FEW_S = 12_000, 9 * 60  # the starting weights know most of it
FIRST_ROUND_STEPS = 1000  # with some hundred labels: `bench/bench_labelling.py`
# Hidden colour: one ink on one ground has 0 to 1 as PNG and 4 to 6 as JPEG, the practice styles
# with many colours have 6 to 8.
COLOUR_FROM = 5.5
RARE_CASE = 0.05  # of the letters
SAME_SHAPES = "cosuvwxz"  # letters whose upper and lower case differ in size alone


def input_size(
    sizes: Mapping[tuple[int, int], int], text_height: float = 0.0
) -> tuple[int, int, bool]:
    """Return width and height of the network's images, and whether images are scaled to them.

    `text_height` is that of the letters in an image of median height, 0 where it is not known.
    """
    (width, height), count = max(sizes.items(), key=lambda item: item[1])
    equal = count >= SAME_SIZE * sum(sizes.values())
    small_text = 0 < text_height < SMALL_TEXT
    if equal and width * height <= MAX_AREA and not small_text:
        return width, height, False
    if not equal:
        expanded = np.repeat(np.array(list(sizes)), list(sizes.values()), axis=0)
        height = round(float(np.median(expanded[:, 1])))
        shape = float(np.quantile(expanded[:, 0] / expanded[:, 1], 0.9))
        width = max(1, round(height * shape))
    scale = _scale(width * height, text_height)
    return max(1, round(width * scale)), max(1, round(height * scale)), True


def _scale(area: int, text_height: float) -> float:
    """Return the factor of an image's sides: its letters in TEXT_HEIGHT, its area not too large."""
    fits, most = math.sqrt(SCALED_AREA / area), math.sqrt(MAX_AREA / area)
    if not text_height:
        return min(1.0, fits)
    least, largest = (height / text_height for height in TEXT_HEIGHT)
    if text_height < SMALL_TEXT:
        return max(min(ENLARGED_TEXT / text_height, MAX_ENLARGED, most), min(1.0, most))
    return min(max(min(1.0, fits, largest), min(1.0, least)), most)


def suggested_steps(seen: Inspection, area: int) -> int:
    """Return a cycle_stop, as the rows of the bench have it for captchas of that kind.

    Images of `area` pixels are trained for MAX_TRAINING_S at most, few of them for less.
    """
    if not seen.labels:
        return FIRST_ROUND_STEPS
    many = len(seen.characters) > 40 or max(seen.lengths) > 5
    steps = 6000 if len(seen.labels) >= 50_000 else 4000 if many else 3000
    most_s = MAX_TRAINING_OF_FEW_S if len(seen.labels) < FEW_IMAGES else MAX_TRAINING_S
    possible = most_s / (STEP_S + STEP_S_PER_PIXEL * area)
    return min(steps, max(100, int(possible) // 100 * 100))


def training_minutes(steps: int, area: int) -> int:
    """Return about how long a training takes on two cores as in docs/*/results.md."""
    return max(1, round(steps * (STEP_S + STEP_S_PER_PIXEL * area) / 60))


def suggested_keys(seen: Inspection) -> dict[str, Any]:
    """Return the keys of a sample config that the images decide."""
    width, height, resize = input_size(seen.sizes, seen.text_height)
    ignore_case = folds_case(seen.labels) or (
        not seen.labels and len(set(map(str.isupper, filter(str.isalpha, seen.characters)))) == 1
    )
    char_set = dict.fromkeys(map(fold_case, seen.characters) if ignore_case else seen.characters)
    return {
        "image_width": width,
        "image_height": height,
        "resize": resize,
        "min_captcha": min(seen.lengths),
        "max_captcha": max(seen.lengths),
        "image_suffix": seen.suffixes[0] if len(seen.suffixes) == 1 else list(seen.suffixes),
        "char_set": "".join(char_set),
        "image_channels": 3 if seen.hidden_colour >= COLOUR_FROM else 1,
        "label_separator": seen.separator,
        "cycle_stop": suggested_steps(seen, width * height),
    } | ({"ignore_case": True} if ignore_case else {})


def folds_case(labels: Sequence[str]) -> bool:
    """Return whether labels seem to mean the same by upper and lower case.

    One of both is rare, or only letters occur in both that look the same in both.
    """
    counts = Counter("".join(labels))
    both = [c for c in counts if c.islower() and c.upper() in counts and len(c.upper()) == 1]
    lower = sum(n for c, n in counts.items() if c.islower())
    upper = sum(n for c, n in counts.items() if c.isupper())
    if not both:
        return False
    return min(lower, upper) < RARE_CASE * (lower + upper) or set(both) <= set(SAME_SHAPES)


def proposed_config(
    seen: Inspection, name: str, origin: ProjectPath | None = None
) -> dict[str, Any]:
    """Return a whole sample config for a project of this name; `origin` is where images are."""
    places = {
        f"{kind}_image_dir": f"sample/{name}/{kind}/"
        for kind in ("new", "train", "test", "api", "online", "local", "unlabelled")
    }
    return {
        "origin_image_dir": str(origin.full) if origin else f"sample/{name}/origin/",
        **places,
        "model_save_dir": f"model/{name}/",
        "labelling_dir": f"sample/{name}/labelling/",
        "log_dir": f"logs/{name}/",
        "labels_json_file": f"sample/{name}/labels.json",
        "use_labels_json_file": False,
        **suggested_keys(seen),
        "remote_url": "http://127.0.0.1:6100/captcha/",
        "acc_stop": 0.99,
        "cycle_save": 500,
        "enable_gpu": 0,
        "train_batch_size": 128,
        "test_batch_size": 100,
    }
