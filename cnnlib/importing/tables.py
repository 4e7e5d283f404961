"""A list's text as rows of cells: each table that it may be, by delimiter, or its JSON."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cnnlib.importing.image_index import has_image_suffix

DELIMITERS = ",\t;|"
SEPARATOR_LINE = re.compile(r"\Asep=.\r?\n")  # of spreadsheet programs
# Between a file and its label where no delimiter is: 1.png: ab, 1.png - ab, 1. ab, 1.png ab
SPLITS = (
    r"\s*(?:->|=>|:|=)\s*",
    r"\s+-+\s+",
    r"(?<=^\d)[.)]\s+|(?<=^\d\d)[.)]\s+|(?<=^\d\d\d)[.)]\s+",
    r"\s+",
)

MAX_LITERAL = 5_000_000  # characters
FILE_KEYS = ("file", "filename", "image", "path", "imagepath")

Row = tuple[int, list[str]]  # number of the line, its cells


@dataclass
class Table:
    rows: list[Row]  # without empty ones
    has_keys: bool = False  # the first row are the keys of JSON objects

    @property
    def width(self) -> int:
        """The number of cells that most rows have."""
        counts = Counter(len(cells) for _, cells in self.rows)
        return max(counts, key=lambda width: counts[width], default=0)


def tables(text: str, suffix: str) -> Iterator[Table]:
    """Yield the tables that a text may be, those of JSON, or else one for each delimiter."""
    is_json = suffix in (".json", ".jsonl", ".ndjson")
    if is_json or text.lstrip()[:1] in ("{", "["):
        table = _json_table(text)
        if table.rows:
            yield table
        if table.rows or is_json:
            return
    text = SEPARATOR_LINE.sub("\n", text)
    for delimiter in DELIMITERS:
        if delimiter in text:
            yield _table(_csv_rows(text, delimiter))
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    for split in SPLITS:
        yield _table((number, re.split(split, line, maxsplit=1)) for number, line in lines)
    yield _table((number, list(line.rpartition(" ")[::2])) for number, line in lines)


def _table(rows: Iterator[Row]) -> Table:
    """Return a table of cells without blanks and quotes around them; empty columns go."""
    cleaned = [(number, [_unquoted(cell) for cell in cells]) for number, cells in rows]
    table = Table([(number, cells) for number, cells in cleaned if any(cells)])
    width = table.width
    while width > 1 and not any(cells[-1] for _, cells in table.rows if len(cells) == width):
        width -= 1
        for _, cells in table.rows:
            if len(cells) == width + 1:
                del cells[width]
    return table


def _unquoted(cell: str) -> str:
    cell = cell.strip()
    if cell.startswith('="') and cell.endswith('"'):  # a text, as spreadsheet programs write it
        cell = cell[1:]
    if len(cell) > 2 and cell[0] == cell[-1] and cell[0] in "'\"":
        return cell[1:-1].strip()
    if cell.startswith("[{"):  # the boxes of PPOCRLabel
        return _transcription(cell)
    return cell


def _transcription(cell: str) -> str:
    parts = _loaded(cell)
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        return cell
    return "".join(str(part.get("transcription", "")) for part in parts)


def _csv_rows(text: str, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error:  # such as a quote that never ends
        for number, line in enumerate(text.splitlines(), start=1):
            if number > reader.line_num:
                yield number, line.split(delimiter)


# --- JSON ---


def _json_table(text: str) -> Table:
    """Return a table out of JSON: objects, pairs, file -> label, columns; or a value a line."""
    values = _entries(_loaded(text.strip()))
    if not values and "\n" in text.strip():
        lines = [line for line in text.splitlines() if line.strip()]
        loaded = [_loaded(line) for line in lines]
        if sum(value is not None for value in loaded) > len(lines) / 2:  # one JSON value a line
            values = [[a] if b is None else b for a, b in zip(lines, loaded, strict=True)]
    objects = [value for value in values if isinstance(value, dict)]
    keys = list(dict.fromkeys(key for value in objects for key in value))
    rows: list[Row] = [(0, keys)] if objects else []
    for number, value in enumerate(values, start=1):
        if isinstance(value, dict):
            rows.append((number, [_text(value.get(key)) for key in keys]))
        elif isinstance(value, list):
            rows.append((number, [_text(cell) for cell in value]))
        else:
            rows.append((number, [_text(value)]))
    return Table(rows, has_keys=bool(objects))


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if len(text) > MAX_LITERAL or text[:1] not in ("{", "["):
        return None
    with suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        with warnings.catch_warnings():  # of backslashes in texts
            warnings.simplefilter("ignore")
            value = ast.literal_eval(text)  # with a comma at its end, or single quotes
        return json.loads(json.dumps(value))  # keys are texts, and there are no other types
    return None


def json_fault(text: str) -> str:
    """Return where a text is not JSON, and why."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return f"line {error.lineno}: not JSON ({error.msg})"
    except (ValueError, RecursionError) as error:
        return f"not JSON ({error})"
    return ""


def _entries(value: Any) -> list[Any]:
    """Return the entries of a JSON value: those of its lists, its columns, or its pairs."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict) or not value:
        return []
    files = [value[key] for key in value if key.lower() in FILE_KEYS]
    if files and isinstance(files[0], str):
        return [value]  # one image
    inner = list(value.values())
    if _are_columns(inner):
        return [dict(zip(value, row, strict=True)) for row in zip(*inner, strict=True)]
    return _inner_entries(value, inner)


def _are_columns(parts: list[Any]) -> bool:
    """Return whether these are lists of equally many texts or numbers."""
    return len(parts) > 1 and all(
        isinstance(part, list)
        and len(part) == len(parts[0]) > 1
        and not isinstance(part[0], (dict, list))
        for part in parts
    )


def _inner_entries(value: dict[str, Any], inner: list[Any]) -> list[Any]:
    lists = [entry for part in inner if isinstance(part, list) for entry in part]
    if any(isinstance(entry, (dict, list)) for entry in lists):
        return lists  # {"train": [...], "test": [...]}
    if len(inner) > 1 and all(isinstance(part, dict) for part in inner):
        if all(has_image_suffix(key) for part in inner for key in part):
            return [[f"{part}/{key}", text] for part in value for key, text in value[part].items()]
        first = inner[0].keys()
        if len(first) > len(inner) and all(part.keys() == first for part in inner):
            return [{name: value[name][key] for name in value} for key in first]  # columns
        if any(isinstance(entry, dict) for part in inner for entry in part.values()):
            return [entry for part in inner for entry in _entries(part)]
        return [{"file": key, **part} for key, part in value.items()]
    nested = [part for part in inner if isinstance(part, dict)]
    if nested:
        return [entry for part in nested for entry in _entries(part)]
    return [[key, part] for key, part in value.items()]


def _text(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "".join(value)
    return "" if value is None or isinstance(value, (dict, list)) else str(value)
