"""Any list as rows of cells: its encoding, its delimiter, or its JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import charset_normalizer

LOCAL_ENCODINGS = ["gb18030", "big5", "shift_jis", "cp949", "cp1252", "cp1251"]
DELIMITERS = ",\t;|"
SEPARATOR_LINE = re.compile(r"\Asep=.\r?\n")  # of spreadsheet programs

Row = tuple[int, list[str]]  # number of the line, its cells


def decoded(data: bytes, encoding: str) -> tuple[str, str]:
    """Return a text and its encoding: UTF-8, UTF-16, or what spreadsheet programs write."""
    if encoding:
        return data.decode(encoding), encoding
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16"), "utf-16"
    for order, nulls in (("utf-16-le", data[1:200:2]), ("utf-16-be", data[0:200:2])):
        if len(data) > 3 and nulls.count(0) > len(nulls) * 0.7:
            return data.decode(order), order
    try:
        return data.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        best = charset_normalizer.from_bytes(data, cp_isolation=LOCAL_ENCODINGS).best()
        if best is None:
            raise
        return str(best), best.encoding


def tables(text: str, suffix: str) -> Iterator[list[Row]]:
    """Yield what the text may be as a table; a JSON text is one, others one for each delimiter."""
    if suffix in (".json", ".jsonl", ".ndjson") or text.lstrip()[:1] in ("{", "["):
        rows = _json_rows(text)
        if rows:
            yield rows
            return
    text = SEPARATOR_LINE.sub("\n", text)
    for delimiter in DELIMITERS:
        if delimiter in text:
            yield list(_csv_rows(text, delimiter))
    lines = list(enumerate(text.splitlines(), start=1))
    yield [(number, line.split(None, 1)) for number, line in lines]
    yield [(number, list(line.strip().rpartition(" ")[::2])) for number, line in lines]
    yield [(number, re.split(r"\s*[:=]\s*", line.strip(), maxsplit=1)) for number, line in lines]


def _csv_rows(text: str, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error:  # such as a quote that never ends
        for number, line in enumerate(text.splitlines(), start=1):
            if number > reader.line_num:
                yield number, line.split(delimiter)


def _json_rows(text: str) -> list[Row]:
    """Return rows out of JSON: objects, pairs, or file -> label; or a JSON value a line."""
    try:
        values = _entries(json.loads(text.strip()))
    except ValueError:
        values = []
        for line in text.splitlines():
            try:
                values += [json.loads(line)] if line.strip() else []
            except ValueError:
                values.append(line)
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
    return rows


def _entries(value: Any) -> list[Any]:
    """Return the entries of a JSON value: a list, the longest list in an object, or its pairs."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return []
    lists = [inner for inner in value.values() if isinstance(inner, list) and len(inner) > 1]
    if lists and len(value) < 10:
        return max(lists, key=len)
    inner = list(value.values())
    if len(inner) == 1 and isinstance(inner[0], dict):
        return _entries(inner[0])
    if all(isinstance(item, dict) for item in inner):
        return [{"file": key, **item} for key, item in value.items()]
    return [[key, item] for key, item in value.items()]


def _text(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "".join(value)
    return "" if value is None or isinstance(value, (dict, list)) else str(value)
