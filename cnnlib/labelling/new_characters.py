"""Add characters to a configuration, where labels have them that it does not know."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnnlib.config import SampleConfig, load_sample_config
from cnnlib.config_reader import read_json
from cnnlib.files import replacing


def add(config_file: Path, config: SampleConfig, characters: Sequence[str]) -> SampleConfig:
    """Append characters to char_set, or to the list that the config names; return it as it is then.

    All other keys stay. Raises CaptchaError where the file cannot be written.
    """
    values = read_json(config_file)
    if values.get("use_labels_json_file"):
        known = read_json(config.labels_json_file.full)
        _write(config.labels_json_file.full, [*known, *(c for c in characters if c not in known)])
    else:
        known = values["char_set"]
        new = [c for c in characters if c not in known]
        values["char_set"] = known + "".join(new) if isinstance(known, str) else [*known, *new]
        _write(config_file, values)
    return load_sample_config(config_file)


def _write(file: Path, values: Any) -> None:
    with replacing(file) as temporary:
        text = json.dumps(values, ensure_ascii=False, indent=2)
        temporary.write_text(text + "\n", encoding="utf-8")
        if isinstance(values, dict):
            load_sample_config(temporary)  # or the file stays as it is
