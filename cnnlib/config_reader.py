"""Checked access to the values of one config file; errors name the file, the key and the remedy."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from cnnlib.captcha_spec import RESIZE_MODES, fold_case, parse_char_set
from cnnlib.errors import ConfigError
from cnnlib.paths import AnyPath, ProjectPath

T = TypeVar("T")
# Of what dataset/images.py decodes.
IMAGE_SUFFIXES = ("png", "jpg", "jpeg", "gif", "bmp", "webp", "avif", "tif", "tiff", "ico")
# How images of other sizes are scaled where `resize` is true: with "stretch" 0.6 % fewer were right
# (rows `strip` and `strip-stretched` of bench/bench_training.py).
DEFAULT_RESIZE = "pad"
QUOTES = ("'", "\u2018", "\u2019", "\u201c", "\u201d", "`")  # of other languages and programs
RANGES = re.compile(r"([0-9A-Za-z]-[0-9A-Za-z])+")


def read_json(path: Path, option: str = "--config") -> Any:
    """Parse a UTF-8 file, with or without byte order mark; every error names file and line.

    `option` is where the user named the file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist: name an existing file with {option}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: save it as UTF-8 in your editor") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _unique_keys(pairs, path))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}, line {error.lineno}{_fault(text, error)}") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply: correct the JSON there") from error


def _unique_keys(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        duplicate = next(name for name, count in counts.items() if count > 1)
        raise ConfigError(f"{path}: key '{duplicate}' occurs twice; remove one")
    return values


def _fault(text: str, error: json.JSONDecodeError) -> str:
    """Return what is wrong after the number of the line, and what to do."""
    rest = text[error.pos :].lstrip()
    if comment := re.match(r"#|//|/\*", rest):
        return f": JSON has no comments; remove the '{comment[0]}' and what follows it"
    if rest[:1] in QUOTES:
        return f": texts are in straight double quotes, not in {rest[0]}"
    where = f", column {error.colno}: {error.msg.removesuffix(' at').rstrip(': ')}; "
    if "control character" in error.msg:
        is_tab = text[error.pos : error.pos + 1] == "\t"
        return where + (
            "write a tab as \\t" if is_tab else "end the text with a double quote there"
        )
    if "escape" in error.msg:
        return f"{where}in JSON a Windows path has / or \\\\ where it has \\"
    return f"{where}correct the JSON there"


def read_labels_json(path: Path) -> tuple[str, ...]:
    """Read labels.json: a JSON list of one-character strings."""
    labels = read_json(path)
    if not isinstance(labels, list):
        raise ConfigError(
            f"{path}: expected a JSON list of one-character strings; "
            "write it with gen_image/collect_labels.py"
        )
    return parse_char_set(labels, str(path))


class ConfigReader:
    """The values of one file. Each method checks the value of a key and returns it."""

    def __init__(
        self, file: Path, root: Path, values: Mapping[str, Any], given: Collection[str] = ()
    ) -> None:
        self.file, self.root, self.values = file, root, values
        self.given = given  # keys whose values are from options of the command line

    def check_keys(self, known: Iterable[str], required: Iterable[str]) -> None:
        known = list(known)
        for name in self.values:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
                raise ConfigError(
                    f"{self.file}: unknown key '{name}'; the nearest known key is '{near[0]}'"
                )
        for name in required:
            if name not in self.values:
                raise ConfigError(f"{self.file}: key '{name}' is missing; add it")

    def error(self, key: str, expected: str) -> ConfigError:
        where = "the option or argument" if key in self.given else f"{self.file}:"
        return ConfigError(f"{where} '{key}' is {self.values[key]!r}; it must be {expected}")

    def typed(self, key: str, kind: type[T], expected: str) -> T:
        value = self.values[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(key, expected)
        return value

    def path(self, key: str) -> ProjectPath:
        text = self.values[key]
        if not isinstance(text, (str, os.PathLike)) or not os.fspath(text):
            raise self.error(key, "a path in quotes")
        return self._project_path(key, text)

    def optional_path(self, key: str) -> AnyPath:
        """Return the path of `key`; an empty text where it is empty or false."""
        return self.path(key) if self.values[key] not in ("", False) else ""

    def paths(self, key: str) -> tuple[ProjectPath, ...]:
        texts = self.typed(key, list, "a list of paths")
        if not all(isinstance(text, str) and text for text in texts):
            raise self.error(key, "a list of paths")
        return tuple(self._project_path(key, text) for text in texts)

    def _project_path(self, key: str, text: AnyPath) -> ProjectPath:
        if isinstance(text, ProjectPath):
            return text
        if re.search("[\0-\x1f]", os.fspath(text)):  # JSON makes them of \n and \t
            raise self.error(key, "a path; in JSON one of Windows has / or \\\\ where it has \\")
        return ProjectPath(os.path.expanduser(text), self.root)

    def count(self, key: str, least: int = 1) -> int:
        expected = f"a whole number of at least {least}"
        value = self.typed(key, int, expected)
        if value < least:
            raise self.error(key, expected)
        return value

    def count_or_zero(self, key: str) -> int:
        return self.count(key, least=0)

    def share(self, key: str) -> float:
        value = self.values[key]
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= 1:
            raise self.error(key, "a number above 0 and at most 1")
        return float(value)

    def flag(self, key: str) -> bool:
        if self.values[key] not in (0, 1):
            raise self.error(key, "true or false (or 1 or 0)")
        return bool(self.values[key])

    def channels(self, key: str) -> int:
        if self.values[key] not in (1, 3):
            raise self.error(key, "1 (gray) or 3 (colour)")
        return int(self.values[key])

    def resize(self, key: str) -> str:
        value = self.values[key]
        if value not in (False, True, *RESIZE_MODES[1:]):
            raise self.error(key, 'true or false, or "pad" or "stretch"')
        return value if isinstance(value, str) else DEFAULT_RESIZE if value else ""

    def separator(self, key: str) -> str:
        expected = "one or more of _ - # @ = + ~ , ; ! $ & ' ( ) [ ] { } ^ ` and space"
        value = self.typed(key, str, expected)
        if not value or set(value) - set("_-#@=+~,;!$&'()[]{}^` "):
            raise self.error(key, expected)
        return value

    def suffix(self, key: str) -> str:
        value = self.typed(key, str, 'a suffix such as "png"').lstrip(".").lower()
        if value not in IMAGE_SUFFIXES:
            raise self.error(key, f"one of {', '.join(IMAGE_SUFFIXES)}")
        return value

    def suffixes(self, key: str) -> tuple[str, ...]:
        """Return the suffixes of `key`, one text or a list of them."""
        value = self.values[key]
        if not isinstance(value, (str, list)) or not value:
            raise self.error(key, 'a suffix such as "png", or a list of suffixes')
        each = value if isinstance(value, list) else [value]
        readers = (ConfigReader(self.file, self.root, {key: text}) for text in each)
        return tuple(dict.fromkeys(reader.suffix(key) for reader in readers))

    def url(self, key: str) -> str:
        expected = "an address that begins with http:// or https://"
        value = self.typed(key, str, expected)
        if not value.lower().startswith(("http://", "https://")):
            raise self.error(key, expected)
        return value

    def characters(self, key: str) -> tuple[str, ...]:
        value = self.values[key]
        if not isinstance(value, (str, list)):
            raise self.error(key, "a string, or a list of one-character strings")
        if isinstance(value, str) and RANGES.fullmatch(value):
            raise self.error(key, "all characters, one after the other: ranges are not expanded")
        return parse_char_set(value, f"{self.file}: '{key}'")

    def char_set(self, key: str) -> tuple[str, ...]:
        """Return the characters of `key`, or of labels_json_file where the config says so."""
        characters = self._labels() if self.flag("use_labels_json_file") else self.characters(key)
        if self.values.get("ignore_case"):
            characters = tuple(dict.fromkeys(fold_case(c) for c in characters))
        return characters

    def _labels(self) -> tuple[str, ...]:
        labels_file = self.path("labels_json_file").full
        if not labels_file.exists():
            raise ConfigError(
                f"{labels_file} does not exist, and {self.file} has use_labels_json_file on: "
                "run gen_image/collect_labels.py first"
            )
        return read_labels_json(labels_file)


def one_of(known: Iterable[str]) -> Callable[[ConfigReader, str], str]:
    """Return a reader of values that are one of these."""

    def read(reader: ConfigReader, key: str) -> str:
        if reader.values[key] not in known:
            raise reader.error(key, f"one of {', '.join(known)}")
        return str(reader.values[key])

    return read


def one_of_or_path(known: Iterable[str]) -> Callable[[ConfigReader, str], AnyPath]:
    """Return a reader of values that are one of these, or a path."""
    return lambda reader, key: (
        reader.values[key] if reader.values[key] in known else reader.path(key)
    )
