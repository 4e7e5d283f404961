"""The configuration that fits a folder of images, and the words that explain it."""

from __future__ import annotations

import math
import string
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cnnlib.captcha_spec import fold_case
from cnnlib.dataset.inspection import Inspection
from cnnlib.dataset.source_folder import examples
from cnnlib.dataset.splitting import size_of_test_set
from cnnlib.paths import ProjectPath

SAME_SIZE = 0.98  # of the images: the others are left out, and not all of them scaled
SCALED_AREA = 12_000  # pixels of a scaled image: row `strip` of the bench has 240x48
MAX_AREA = 24_000  # pixels: four times the computing that an image of 100x60 takes
TEXT_HEIGHT = (20.0, 40.0)  # pixels, of the network's images, where they are scaled
SMALL_TEXT = 14.0  # pixels; smaller text is enlarged
MAX_ENLARGED = 2.0
# Of a step with 128 images on the two cores of docs/*/results.md: rows `20k` and `strip`.
STEP_S, STEP_S_PER_PIXEL = 0.06, 19e-6
MAX_TRAINING_S = 15 * 60
# Hidden colour: one ink on one ground has 0 to 1 as PNG and 4 to 6 as JPEG, the practice styles
# with many colours have 6 to 8.
COLOUR_FROM = 5.5
FEW_LABELS = 100
COMING_CHARACTERS = 1000  # of this many to come less than one will be of a kind not seen yet
RARE_LENGTH = 0.02  # of the labels
ACC_STOP_FROM = 300  # test images; fewer reach any acc_stop by luck
RARE_CASE = 0.05  # of the letters
SAME_SHAPES = "cosuvwxz"  # letters whose upper and lower case differ in size alone
RARE_CHARACTER = 0.05  # of what a character has on average
LOOK_ALIKES = ("АВЕКМНОРСТХаеорсухΑΒΕΖΗΙΚΜΝΟΡΤΧο", "ABEKMHOPCTXaeopcyxABEZHIKMNOPTXo")
SEPARATORS = "-#@=+~. "
CLASSES = (string.digits, string.ascii_lowercase, string.ascii_uppercase)


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
        return min(least, MAX_ENLARGED, most)
    return min(max(min(1.0, fits, largest), min(1.0, least)), most)


def suggested_steps(seen: Inspection, area: int) -> int:
    """Return a cycle_stop, as the rows of the bench have it for captchas of that kind.

    Images of `area` pixels are trained for MAX_TRAINING_S at most.
    """
    many = len(seen.characters) > 40 or max(seen.lengths) > 5
    steps = 6000 if len(seen.labels) >= 50_000 else 4000 if many else 3000
    possible = MAX_TRAINING_S / (STEP_S + STEP_S_PER_PIXEL * area)
    return min(steps, max(100, int(possible) // 100 * 100))


def training_minutes(steps: int, area: int) -> int:
    """Return about how long a training takes on two cores as in docs/*/results.md."""
    return max(1, round(steps * (STEP_S + STEP_S_PER_PIXEL * area) / 60))


def suggested_keys(seen: Inspection) -> dict[str, Any]:
    """Return the keys of a sample config that the images decide."""
    width, height, resize = input_size(seen.sizes, seen.text_height)
    ignore_case = folds_case(seen.labels)
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
        for kind in ("new", "train", "test", "api", "online", "local")
    }
    tested = size_of_test_set(len(seen.labels))
    return {
        "origin_image_dir": str(origin.full) if origin else f"sample/{name}/origin/",
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
    if len(seen.labels) < FEW_LABELS:
        yield f"fewer than {FEW_LABELS} labels teach little: label some hundred"
    if seen.broken:
        yield f"cannot be decoded: {examples(seen.broken)}"
    yield from _about_lengths(seen)
    yield from _about_characters(seen, values)
    yield _about_sizes(seen, values)
    hidden = f"{seen.hidden_colour:.0f} of 255"
    yield (
        f"several colours, {hidden} from what gray shows: image_channels 3, "
        "which costs little; 1 may do as well"
        if values["image_channels"] == 3
        else f"gray shows all but {hidden}: image_channels 1"
    )
    steps, area = values["cycle_stop"], values["image_width"] * values["image_height"]
    yield (
        f"cycle_stop {steps}: training takes about {training_minutes(steps, area)} minutes on two "
        "cores that multiply bfloat16, longer on others"
    )


def _about_lengths(seen: Inspection) -> Iterator[str]:
    lengths = seen.lengths
    counts = ", ".join(f"{n} of {length}" for length, n in sorted(lengths.items()))
    sure = len(lengths) == 1 or min(lengths.values()) > RARE_LENGTH * len(seen.labels)
    yield f"labels of {counts} characters" + (
        ": sure" if sure else f". Some lengths are rare: check {_rare_length(seen)!r} and others"
    )


def _rare_length(seen: Inspection) -> str:
    rarest = min(seen.lengths, key=lambda n: seen.lengths[n])
    return next(label for label in seen.labels if len(label) == rarest)


def _about_characters(seen: Inspection, values: Mapping[str, Any]) -> Iterator[str]:
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
    if values.get("ignore_case"):
        yield (
            f"upper and lower case seem to mean the same ({_rare_case(seen.labels)}): ignore_case "
            "true. Where the site tells them apart, set it to false and complete char_set; where "
            "it does not draw both, these labels may be wrong"
        )
    elif occur & set(string.ascii_lowercase) and occur & set(string.ascii_uppercase):
        yield 'upper and lower case: "ignore_case": true where the site ignores it'
    yield from _about_rare(seen)
    yield from _about_forms(seen.labels)
    yield from _about_scripts(seen.labels)
    yield from _about_separators(seen)


def _rare_case(labels: Sequence[str]) -> str:
    """Return the letters of the rarer case that also occur in the other, with their numbers."""
    counts = Counter("".join(labels))
    both = [c for c in counts if c != c.swapcase() and c.swapcase() in counts]
    rarer = [c for c in both if counts[c] < counts[c.swapcase()] or not both]
    return ", ".join(f"{counts[c]} {c} beside {counts[c.swapcase()]} {c.swapcase()}"
                     for c in sorted(rarer)[:5])  # fmt: skip


def _about_rare(seen: Inspection) -> Iterator[str]:
    """Say which characters are so rare that they may be wrong, and how to find their labels."""
    counts = Counter("".join(seen.labels))
    usual = counts.total() / len(counts)
    rare = {c: n for c, n in counts.items() if n < RARE_CHARACTER * usual}
    if not rare or len(seen.labels) < FEW_LABELS:
        return
    shown = ", ".join(
        f"{c!r} ({n}, as in {next(label for label in seen.labels if c in label)!r})"
        for c, n in sorted(rare.items(), key=lambda item: item[1])[:5]
    )
    yield f"rare characters, which may be wrong labels: {shown}"


def _about_forms(labels: Sequence[str]) -> Iterator[str]:
    """Say which characters are another form of one that also occurs, such as full-width digits."""
    occur = set("".join(labels))
    forms = {c: plain for c in occur if (plain := unicodedata.normalize("NFKC", c)) != c}
    if both := {c: plain for c, plain in forms.items() if set(plain) <= occur}:
        n = sum(any(c in both for c in label) for label in labels)
        pairs = ", ".join(f"{c} for {plain}" for c, plain in sorted(both.items())[:5])
        yield (
            f"{n} labels have other forms of characters ({pairs}): where they mean the same, "
            "start again with --plain-forms"
        )


def _about_scripts(labels: Sequence[str]) -> Iterator[str]:
    """Say where labels have letters of another script that look like those around them."""
    occur = set("".join(labels))
    for letter, latin in zip(*LOOK_ALIKES, strict=True):
        if {letter, latin} <= occur:
            example = next(label for label in labels if letter in label)
            yield (
                f"{unicodedata.name(letter)} in {example!r}, where others have {latin}: they look "
                "the same; correct the labels"
            )


def _about_separators(seen: Inspection) -> Iterator[str]:
    for separator in SEPARATORS:
        inside = [label for label in seen.labels if separator in label[1:-1]]
        places = {label.find(separator) for label in inside}
        if len(inside) > 0.9 * len(seen.labels) and len(places) == 1:
            yield (
                f"{separator!r} at the same place in all labels: where it ends them, start again "
                f"with --separator {separator!r}"
            )


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
    widths, heights = ({side[i] for side in seen.sizes} for i in (0, 1))
    text = f", letters of about {seen.text_height:.0f} pixels" if seen.text_height else ""
    return (
        f"sizes from {min(widths)}x{min(heights)} to {max(widths)}x{max(heights)}{text}: scaled "
        f"to {size}, with their proportions kept"
    )
