"""Measured figures, kept as JSON in bench/ so that tables can be written again."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnnlib.config_reader import read_json
from cnnlib.evaluation.metrics import wilson_interval
from cnnlib.files import write_json


def read_results(file: Path) -> dict[str, Any]:
    """Return what was measured so far; nothing where the file is missing."""
    return dict(read_json(file)) if file.exists() else {}


def write_results(file: Path, results: Mapping[str, Any]) -> None:
    write_json(file, results, indent=1)


def grouped(
    results: Sequence[Mapping[str, Any]], row: Sequence[str], column: str
) -> list[tuple[tuple[Any, ...], dict[str, list[Mapping[str, Any]]]]]:
    """Return the runs by their values of `row`, in order, and there by their value of `column`."""
    groups: dict[tuple[Any, ...], dict[str, list[Mapping[str, Any]]]] = {}
    for run in results:
        group = groups.setdefault(tuple(run[name] for name in row), {})
        group.setdefault(run[column], []).append(run)
    return sorted(groups.items())


def median_accuracy(runs: Sequence[Mapping[str, Any]], digits: int = 1) -> str:
    """Return the share of right images in the median of runs of several seeds, and its interval."""
    if not runs:
        return "-"
    right, fresh = round(statistics.median(run["right"] for run in runs)), runs[0]["fresh"]
    low, high = wilson_interval(right, fresh)
    seeds = f", {len(runs)} seeds" if len(runs) > 1 else ""
    return f"{right / fresh:.{digits}%} ({low:.1%} to {high:.1%}){seeds}"
