"""The cases that bench_training.py measures, and what a measurement depends on."""

from __future__ import annotations

import dataclasses
import functools
import json
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.lib.chinese import CHINESE_FONT, COMMON_CHINESE
from cnnlib.captcha_spec import CaptchaSpec, fold_case
from cnnlib.config import BACKBONE, RANDOM
from cnnlib.networks.cost import Cost, cost
from cnnlib.training.recipes import RECIPES
from gen_image import styles

# Fields of recipes that came later, with values that change nothing.
LATER_RECIPE_FIELDS = {
    "least_warm_up": 0,
    "clip_norm": 0.0,
    "adam_beta2": 0.999,
    "least_augmented_gain": 1.0,
}
BASE36 = string.digits + string.ascii_lowercase


@dataclass(frozen=True)
class Row:
    """A case to measure."""

    images: int
    steps: int
    characters: str = BASE36
    length: int = 4
    width: int = 100
    batch: int = 128
    network: str = "resnet_attention"
    recipe: str = "default"
    ignore_case: bool = False  # shown is the share that is right with case ignored
    # From here on fields of a later date: `case` names them only where they matter.
    height: int = 60
    min_length: int = 0
    style: str = "captcha"
    fonts: tuple[str, ...] = ()
    drawn_height: int = 0  # where images are scaled to `height`
    resize: str = ""
    channels: int = 1
    start: str = RANDOM
    folds_case: bool = False  # learned is upper case as lower case
    teacher: str = ""  # the row whose model, of the same seed, is learned from, too

    @property
    def spec(self) -> CaptchaSpec:
        """The captcha that its network reads."""
        return CaptchaSpec(
            image_height=self.height,
            image_width=self.width,
            max_captcha=self.length,
            char_set=tuple(dict.fromkeys(map(fold_case, self.characters)))
            if self.folds_case
            else tuple(self.characters),
            min_captcha=self.min_length,
            image_channels=self.channels,
            resize=self.resize,
        )

    def case(self) -> dict[str, Any]:
        """Return what distinguishes it from other rows."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        values = dataclasses.asdict(self)
        later = list(values)[list(values).index("height") :]
        return {
            name: value
            for name, value in values.items()
            if name not in later or value != defaults[name]
        }


def definition(row: Row) -> dict[str, Any]:
    """Return what a measurement depends on; a row is measured again when that changes."""
    recipe = dataclasses.asdict(RECIPES[row.recipe])
    recipe["peak_rate"] = recipe.pop("peak_rates")[row.network]  # other networks do not matter
    for name in ("doubt_at", "doubt_from_views", "self_training"):
        del recipe[name]  # all images have labels, and these are right
    if row.start == RANDOM:
        del recipe["started_share"], recipe["started_views"]
        if recipe["splicing"]:
            del recipe["splicing"]["started_known_share"]
    if not row.teacher:
        del recipe["distillation"]
    for name, unused in LATER_RECIPE_FIELDS.items():
        if recipe.get(name) == unused:
            del recipe[name]
    network = dataclasses.asdict(needs(row))
    values = {"case": row.case(), "recipe": recipe, "network": network}
    if row.teacher:
        values["teacher"] = definition(ROWS[row.teacher])
    return _as_read(values)


def needs(row: Row) -> Cost:
    """Return what the row's network costs."""
    return _cost(row.network, row.spec)


_cost = functools.cache(cost)  # half a second each


def is_of(run: Mapping[str, Any], row: Row) -> bool:
    """Return whether a result is one of this row, as it is defined today."""
    return _has_case(run, row) and dict(run) | definition(row) == run


def is_of_earlier(run: Mapping[str, Any], row: Row) -> bool:
    """Return whether a result is one of this row by another recipe of the same name."""
    if not _has_case(run, row):
        return False
    today = definition(row)
    return bool(run["network"] == today["network"] and run["recipe"] != today["recipe"])


def _has_case(run: Mapping[str, Any], row: Row) -> bool:
    """Return what most often decides, and is sooner known than what a network costs."""
    return bool(run["case"] == _as_read(row.case()))


def _as_read(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as they are read from the results: tuples are lists there."""
    return dict(json.loads(json.dumps(values)))


_DEFAULT = Row(20_000, 3000)
_SMALL = dataclasses.replace(_DEFAULT, network="resnet_attention_small")
ROWS = {
    "20k": _DEFAULT,
    "20k-short": Row(20_000, 1200),
    "20k-small": _SMALL,
    "20k-small-taught": dataclasses.replace(_SMALL, teacher="20k"),
    # With locating characters, as much computing as 3,000 steps without.
    "5k": Row(5_000, 2850),
    "1k": Row(1_000, 2950),
    "100k": Row(100_000, 6000),
    "62-classes": Row(20_000, 4000, string.digits + string.ascii_letters, 6, 160, ignore_case=True),
    "digits": Row(1_000, 500, string.digits),
    "specification": Row(20_000, 3000, network="cnn5", recipe="specification"),
}
_STRIP = Row(
    20_000, 3000, min_length=4, length=8, width=240, height=48, style="strip", drawn_height=80
)
OTHERS = {
    "4-to-6": Row(20_000, 3000, min_length=4, length=6, width=160),
    "4-to-6-1k": Row(1_000, 2950, min_length=4, length=6, width=160),
    "strip": dataclasses.replace(_STRIP, resize="pad"),
    "strip-stretched": dataclasses.replace(_STRIP, resize="stretch"),
    # As new_project.py proposes.
    "scattered": Row(
        20_000,
        2100,
        string.digits + string.ascii_letters,
        8,
        420,
        height=45,
        min_length=4,
        style="scattered",
        drawn_height=80,
        resize="pad",
        start=BACKBONE,
        folds_case=True,
    ),
    "pycapt": Row(20_000, 3000, width=160, height=40, style="pycapt"),
    "chinese": Row(20_000, 4000, COMMON_CHINESE[:500], 2, 120, fonts=(CHINESE_FONT,)),
    **{
        style: dataclasses.replace(_DEFAULT, style=style)
        for style in styles.STYLES
        if not styles.STYLES[style].advance[0]
    },
    **{
        f"{style}-in-colour": dataclasses.replace(_DEFAULT, style=style, channels=3)
        for style in ("colours", "hard")
    },
}
# What helps with captchas that are hard, alone and together; the last takes three times as long.
_WIDE = {"network": "resnet_attention_wide"}
_LEVERS: dict[str, dict[str, Any]] = {
    "wide": _WIDE,
    "started": {"start": BACKBONE},
    "wide-started": {"start": BACKBONE, **_WIDE},
    "wide-started-long": {"start": BACKBONE, **_WIDE, "steps": 4200},
}
HARD = {
    f"{style}-{name}": dataclasses.replace(_DEFAULT, style=style, **lever)
    for style in ("hard", "lines", "colours")
    for name, lever in _LEVERS.items()
}
# Networks and recipes of lib/ablation.py.
_WHOLE = Row(20_000, 1200, batch=64)
ABLATION = {
    "whole": _WHOLE,
    "dense-head": dataclasses.replace(_WHOLE, network="without_attention"),
    "no-shortcuts": dataclasses.replace(_WHOLE, network="without_shortcuts"),
    "no-batch-norm": dataclasses.replace(_WHOLE, network="without_norm"),
    "low-rate": dataclasses.replace(_WHOLE, recipe="low_rate"),
    "no-augmentation": dataclasses.replace(_WHOLE, recipe="without_augmentation"),
    "sigmoid-loss": dataclasses.replace(_WHOLE, recipe="sigmoid_loss"),
    "no-smoothing": dataclasses.replace(_WHOLE, recipe="without_smoothing"),
}
