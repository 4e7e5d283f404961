"""Answers as rows of a table: CSV, JSON lines, Parquet."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from cnnlib.errors import ConfigError
from cnnlib.packages import importing, require

COLUMNS = ("file", "text", "confidence", "error")
CSV, JSON_LINES, PARQUET = FORMATS = ("csv", "jsonl", "parquet")
ROWS_PER_GROUP = 65_536  # of a Parquet file, in memory at a time
DIGITS = 6  # of a confidence


@dataclass(frozen=True)
class Row:
    """An image, its text and confidence, or the error that is in their place."""

    file: str
    text: str = ""
    confidence: float | None = None
    error: str = ""


def format_of(output: Path) -> str:
    """Return the format that a file's suffix names; raises ConfigError for others.

    MissingPackageError: pyarrow, which writes Parquet, is not installed.
    """
    name = output.suffix.lstrip(".").lower()
    if name not in FORMATS:
        raise ConfigError(f"--output {output}: its name must end in .csv, .jsonl or .parquet")
    if name == PARQUET:
        require("pyarrow")
    return name


def head(kind: str) -> bytes:
    """Return what a file of rows begins with."""
    return _csv([COLUMNS]) if kind == CSV else b""


def encode(rows: Sequence[Row], kind: str) -> bytes:
    """Return rows as they are appended to a file; those of Parquet wait as JSON lines.

    Bytes of file names that are not text are written as escapes.
    """
    if kind == CSV:
        return _csv(map(_cells, rows))
    lines = (
        json.dumps(dict(zip(COLUMNS, astuple(row), strict=True)), ensure_ascii=False) + "\n"
        for row in map(_rounded, rows)
    )
    return "".join(lines).encode("utf-8", "backslashreplace")


def _cells(row: Row) -> tuple[str, ...]:
    confidence = "" if row.confidence is None else f"{row.confidence:.{DIGITS}f}"
    return row.file, row.text, confidence, row.error


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _rounded(row: Row) -> Row:
    if row.confidence is None:
        return row
    return Row(row.file, row.text, round(row.confidence, DIGITS), row.error)


def write_parquet(lines: Path, target: Path) -> None:
    """Make a Parquet file of JSON lines, some rows in memory at a time."""
    with importing("pyarrow"):
        import pyarrow
        import pyarrow.parquet
    kinds = {"confidence": pyarrow.float64()}
    schema: Any = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in COLUMNS])
    with (
        open(lines, encoding="utf-8", newline="\n") as file,
        pyarrow.parquet.ParquetWriter(target, schema) as writer,
    ):
        while group := [json.loads(line) for line in itertools.islice(file, ROWS_PER_GROUP)]:
            writer.write_table(pyarrow.Table.from_pylist(group, schema))
