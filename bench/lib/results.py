"""Measured figures, kept as JSON in bench/ so that tables can be written again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnnlib.config_reader import read_json
from cnnlib.files import replacing


def read_results(file: Path) -> dict[str, Any]:
    """Return what was measured so far; nothing where the file is missing."""
    return dict(read_json(file)) if file.exists() else {}


def write_results(file: Path, results: Mapping[str, Any]) -> None:
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
