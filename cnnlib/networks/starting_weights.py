"""What a training starts from: shipped weights that know letters, or those of another model.

The shipped ones, the backbone, are half-precision arrays in model/backbone/, one file for each
network, with a description in backbone.json.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnlib.config import BACKBONE, RANDOM
from cnnlib.config_reader import read_json
from cnnlib.errors import ConfigError, ModelError
from cnnlib.networks.architectures import WIDER
from cnnlib.networks.checkpoint import read_best
from cnnlib.networks.model_folder import ModelFolder
from cnnlib.networks.transfer import CASES, Layout, adapted
from cnnlib.paths import PROJECT_ROOT, AnyPath

BACKBONE_DIR = PROJECT_ROOT / "model" / "backbone"
DESCRIPTION_FILE = "backbone.json"
NARROWER = {wider: network for network, wider in WIDER.items()}


@dataclass(frozen=True)
class StartingWeights:
    """Values of variables by name, and what their shapes depend on."""

    name: str  # in words
    values: Mapping[str, np.ndarray]
    layout: Layout

    def known_share(self, characters: tuple[str, ...]) -> float:
        """Return which share of the characters these weights know, in either case."""
        known = {case for c in self.layout.characters for case in (c, c.swapcase())}
        return len(known & set(characters)) / len(characters)

    def adapt(
        self, target: Layout, initial: Mapping[str, np.ndarray]
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield values for all variables in `initial`: one for each of CASES that differ.

        Raises ModelError where no layer fits.
        """
        lacks_case = any(c.swapcase() not in target.characters for c in target.characters)
        for case in CASES if lacks_case else CASES[:1]:
            values = adapted(self.values, self.layout, target, initial, case)
            if all(values[name] is initial[name] for name in initial):
                raise ModelError(
                    f"no layer of {self.name} fits this network: name another start in conf/"
                )
            yield values


def read_start(start: AnyPath, network: str) -> StartingWeights | None:
    """Return the weights that a config's `start` names; None for random ones.

    So too for a network that no backbone was trained for; a wide one has that of the narrower one.
    Raises ModelError where a folder holds no model, ConfigError where the backbone is damaged.
    """
    if start == RANDOM:
        return None
    return _backbone(network) if start == BACKBONE else _model(start)


def _model(folder: AnyPath) -> StartingWeights:
    info, values = read_best(ModelFolder(folder))
    return StartingWeights(f"the model in {folder}", values, Layout.of(info.spec))


def _backbone(network: str) -> StartingWeights | None:
    described = _described()
    description = described.get(network) or described.get(NARROWER.get(network, ""))
    if description is None:
        return None
    file = BACKBONE_DIR / description["file"]
    try:
        with open(file, "rb") as stream, np.load(stream) as arrays:
            values = {name: arrays[name].astype(np.float32) for name in arrays.files}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f'{file} is missing or damaged ({error}): restore it, or set "start": "random"'
        ) from error
    layout = Layout(tuple(description["char_set"]), True, tuple(description["grid"]))
    return StartingWeights("the shipped backbone", values, layout)


def _described() -> dict[str, Any]:
    file = BACKBONE_DIR / DESCRIPTION_FILE
    return dict(read_json(file)) if file.exists() else {}
