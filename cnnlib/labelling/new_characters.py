"""Add characters to a configuration, where labels have them that it does not know."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cnnlib.config import SampleConfig, load_sample_config
from cnnlib.config_reader import read_json
from cnnlib.files import write_json


def add(config_file: Path, config: SampleConfig, characters: Sequence[str]) -> SampleConfig:
    """Append characters to char_set, or to the list that the config names; return it as it is then.

    All other keys stay. Raises CaptchaError where the file cannot be written.
    """
    values = read_json(config_file)
    if values.get("use_labels_json_file"):
        known = read_json(config.labels_json_file.full)
        write_json(
            config.labels_json_file.full,
            [*known, *(c for c in characters if c not in known)],
            indent=2,
        )
    else:
        known = values["char_set"]
        new = [c for c in characters if c not in known]
        values["char_set"] = known + "".join(new) if isinstance(known, str) else [*known, *new]
        write_json(config_file, values, indent=2, check=load_sample_config)
    return load_sample_config(config_file)
