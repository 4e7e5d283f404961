"""conf/*.json as checked, frozen dataclasses: every default, path rule and char_set rule.

Relative paths are relative to the project root, the folder above conf/, never to the working
directory. A config outside a folder named conf uses the root of this checkout.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cnnlib.errors import ConfigError

PROJECT_ROOT = Path(__file__).resolve().parent.parent
SAMPLE_CONFIG = "conf/sample_config.json"
CAPTCHA_CONFIG = "conf/captcha_config.json"
NETWORKS = ("resnet_attention", "resnet_attention_wide", "cnn5")
RECIPES = ("default", "specification")
STYLES = ("captcha", "outline", "dark", "fonts", "colours", "lines", "wave", "fisheye", "touching",
          "hard", "strip", "pycapt")
# How images of other sizes are fitted where `resize` is true: of the bench's `strip` 0.6 % more are
# right than with "stretch".
RESIZE = "pad"

T = TypeVar("T")


class ProjectPath(os.PathLike[str]):
    """A path with the text as it was written: `str()` gives that, `os.fspath()` the full path."""

    def __init__(self, text: str | os.PathLike[str], root: Path = PROJECT_ROOT) -> None:
        self.text: str = text.text if isinstance(text, ProjectPath) else os.fspath(text)
        # An absolute text stays as it is.
        self.full: Path = text.full if isinstance(text, ProjectPath) else root / self.text
        self.root: Path = text.root if isinstance(text, ProjectPath) else root

    def __fspath__(self) -> str:
        return str(self.full)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"ProjectPath({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ProjectPath) and self.full == other.full

    def __hash__(self) -> int:
        return hash(self.full)


AnyPath = str | os.PathLike[str]


@dataclass(frozen=True)
class SampleConfig:
    """conf/sample_config.json: data, model, training and serving of one kind of captcha."""

    origin_image_dir: ProjectPath
    new_image_dir: ProjectPath
    train_image_dir: ProjectPath
    test_image_dir: ProjectPath
    api_image_dir: ProjectPath
    online_image_dir: ProjectPath
    local_image_dir: ProjectPath
    model_save_dir: ProjectPath
    image_width: int
    image_height: int
    max_captcha: int
    image_suffix: str
    char_set: tuple[str, ...]
    use_labels_json_file: bool
    remote_url: str
    cycle_stop: int
    acc_stop: float
    cycle_save: int
    enable_gpu: bool
    train_batch_size: int
    test_batch_size: int
    labels_json_file: ProjectPath = ProjectPath("gen_image/labels.json")
    log_dir: ProjectPath = ProjectPath("logs/")
    api_url: str = "http://127.0.0.1:6000/b"
    network: str = "resnet_attention"
    recipe: str = "default"
    seed: int = 0
    api_image_limit: int = 20_000
    min_captcha: int = 0  # of what was read: max_captcha where the file has 0
    resize: str = ""
    image_channels: int = 1
    ignore_case: bool = False
    label_separator: str = "_"

    @property
    def root(self) -> Path:
        """The project root, which relative paths are relative to."""
        return self.model_save_dir.root


@dataclass(frozen=True)
class CaptchaConfig:
    """conf/captcha_config.json: practice captchas to draw."""

    root_dir: ProjectPath
    image_suffix: str
    characters: tuple[str, ...]
    count: int
    char_count: int
    width: int
    height: int
    fonts: tuple[ProjectPath, ...] = ()
    style: str = "captcha"
    min_char_count: int = 0  # of what was read: char_count where the file has 0


def load_sample_config(path: AnyPath = SAMPLE_CONFIG, **overrides: Any) -> SampleConfig:
    """Read a sample config; overrides that are not None replace keys, with the same checks."""
    values, reader = _read(path, SampleConfig, overrides)
    config = SampleConfig(**{name: _SAMPLE_READERS[name](reader, name) for name in values})
    reader.check_sample(config)
    return dataclasses.replace(config, min_captcha=config.min_captcha or config.max_captcha)


def load_captcha_config(path: AnyPath = CAPTCHA_CONFIG, **overrides: Any) -> CaptchaConfig:
    """Read a config of practice captchas; overrides that are not None replace keys."""
    values, reader = _read(path, CaptchaConfig, overrides)
    config = CaptchaConfig(**{name: _CAPTCHA_READERS[name](reader, name) for name in values})
    if config.min_char_count > config.char_count:
        raise reader.fail("min_char_count", f"at most char_count, {config.char_count}")
    return dataclasses.replace(config, min_char_count=config.min_char_count or config.char_count)


def existing_path(text: AnyPath) -> Path:
    """Resolve a path typed on the command line: as the shell means it, else from the root."""
    typed = Path(text).expanduser()
    return typed.absolute() if typed.exists() else PROJECT_ROOT / typed


def parse_char_set(char_set: str | Iterable[str], where: str = "char_set") -> tuple[str, ...]:
    """Return the characters as a tuple; class i of a network is the i-th of them.

    Raises ConfigError for an empty set, an entry of another length than 1, or one listed twice.
    """
    characters = tuple(char_set)
    if not characters:
        raise ConfigError(f"{where} is empty: list the characters that occur in your labels")
    for character in characters:
        if not isinstance(character, str) or len(character) != 1:
            raise ConfigError(f"{where} has the entry {character!r}: "
                              "every entry must be one character")
    doubled = sorted({c for c in characters if characters.count(c) > 1})
    if doubled:
        raise ConfigError(f"{where} lists {', '.join(map(repr, doubled))} more than once: "
                          "every character must stand in it once")
    return characters


def fold(text: str) -> str:
    """Return the text in lower case, character by character, so that its length stays."""
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def read_json(path: Path) -> Any:
    """Parse a UTF-8 file, with or without byte order mark; every error names file and line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist: name an existing file with --config") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: save it as UTF-8 in your editor") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _no_doubles(pairs, path))
    except json.JSONDecodeError as error:
        comment = _first_comment(text)
        if comment:
            raise ConfigError(f"{path}, line {comment[0]}: JSON has no comments; "
                              f"remove the '{comment[1]}' and what follows it") from error
        raise ConfigError(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}; "
                          "correct the JSON there") from error


def _no_doubles(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"{path}: key '{doubled}' stands there twice; remove one")
    return values


def _first_comment(text: str) -> tuple[int, str] | None:
    """Return the number of the first line with '#' or '//' outside a string, and which."""
    for number, line in enumerate(text.splitlines(), start=1):
        mark = re.search("#|//", re.sub(r'"(\\.|[^"\\])*"', "", line))
        if mark:
            return number, mark[0]
    return None


def _read(path: AnyPath, kind: type, overrides: Mapping[str, Any]) -> tuple[list[str], _Reader]:
    """Return the names of the keys that are given, and a reader of their values."""
    file = existing_path(path)
    values = read_json(file)
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: expected a JSON object with keys and values")
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for name in values:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1, cutoff=0.0)
            raise ConfigError(f"{file}: unknown key '{name}'; the nearest known key is '{near[0]}'")
    values |= {name: value for name, value in overrides.items() if value is not None}
    for name, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ConfigError(f"{file}: key '{name}' is missing; add it")
    root = file.parent.parent if file.parent.name == "conf" else PROJECT_ROOT
    if kind is SampleConfig:  # defaults that depend on the root
        values |= {"labels_json_file": "gen_image/labels.json", "log_dir": "logs/"} | values
    return list(values), _Reader(file, root, values)


class _Reader:
    """Checked access to the values of one file; errors name the file, the key and the remedy."""

    def __init__(self, file: Path, root: Path, values: Mapping[str, Any]) -> None:
        self.file, self.root, self.values = file, root, values

    def fail(self, key: str, expected: str) -> ConfigError:
        return ConfigError(f"{self.file}: '{key}' is {self.values[key]!r}; it must be {expected}")

    def typed(self, key: str, kind: type[T], expected: str) -> T:
        value = self.values[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.fail(key, expected)
        return value

    def path(self, key: str) -> ProjectPath:
        text = self.values[key]
        if not isinstance(text, (str, os.PathLike)) or not os.fspath(text):
            raise self.fail(key, "a path in quotes")
        return ProjectPath(text, self.root)

    def paths(self, key: str) -> tuple[ProjectPath, ...]:
        texts = self.typed(key, list, "a list of paths")
        if not all(isinstance(text, str) and text for text in texts):
            raise self.fail(key, "a list of paths")
        return tuple(ProjectPath(text, self.root) for text in texts)

    def count(self, key: str, least: int = 1) -> int:
        expected = f"a whole number of at least {least}"
        value = self.typed(key, int, expected)
        if value < least:
            raise self.fail(key, expected)
        return value

    def serial(self, key: str) -> int:
        return self.count(key, least=0)

    def share(self, key: str) -> float:
        value = self.values[key]
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= 1:
            raise self.fail(key, "a number above 0 and at most 1")
        return float(value)

    def flag(self, key: str) -> bool:
        if self.values[key] not in (0, 1):
            raise self.fail(key, "true or false (or 1 or 0)")
        return bool(self.values[key])

    def channels(self, key: str) -> int:
        if self.values[key] not in (1, 3):
            raise self.fail(key, "1 (gray) or 3 (colour)")
        return int(self.values[key])

    def resize(self, key: str) -> str:
        value = self.values[key]
        if value not in (False, True, "pad", "stretch"):
            raise self.fail(key, 'true or false, or "pad" or "stretch"')
        return value if isinstance(value, str) else RESIZE if value else ""

    def separator(self, key: str) -> str:
        expected = "one or more of _ - # @ = + ~ , ; ! $ & ' ( ) [ ] { } ^ ` and space"
        value = self.typed(key, str, expected)
        if not value or set(value) - set("_-#@=+~,;!$&'()[]{}^` "):
            raise self.fail(key, expected)
        return value

    def suffix(self, key: str) -> str:
        value = self.typed(key, str, "a suffix such as \"png\"").lstrip(".").lower()
        if value not in IMAGE_SUFFIXES:
            raise self.fail(key, f"one of {', '.join(IMAGE_SUFFIXES)}")
        return value

    def url(self, key: str) -> str:
        value = self.typed(key, str, "an address that begins with http:// or https://")
        if not value.startswith(("http://", "https://")):
            raise self.fail(key, "an address that begins with http:// or https://")
        return value

    def choice(self, *known: str) -> Callable[[str], str]:
        def read(key: str) -> str:
            if self.values[key] not in known:
                raise self.fail(key, f"one of {', '.join(known)}")
            return str(self.values[key])
        return read

    def characters(self, key: str) -> tuple[str, ...]:
        value = self.values[key]
        if not isinstance(value, (str, list)):
            raise self.fail(key, "a text, or a list of one-character texts")
        return parse_char_set(value, f"{self.file}: '{key}'")

    def char_set(self, key: str) -> tuple[str, ...]:
        characters = self._listed_characters(key)
        if self.values.get("ignore_case"):
            characters = tuple(dict.fromkeys(fold(c) for c in characters))
        return characters

    def _listed_characters(self, key: str) -> tuple[str, ...]:
        if not self.flag("use_labels_json_file"):
            return self.characters(key)
        labels_file = self.path("labels_json_file").full
        if not labels_file.exists():
            raise ConfigError(f"{labels_file} does not exist, and {self.file} has "
                              "use_labels_json_file on: run gen_image/collect_labels.py first")
        return read_labels(labels_file)

    def check_sample(self, config: SampleConfig) -> None:
        folders: dict[ProjectPath, str] = {}
        for key in ("origin_image_dir", "new_image_dir", "train_image_dir", "test_image_dir"):
            folder = ProjectPath(os.path.normpath(getattr(config, key)))
            if folder in folders:
                raise ConfigError(f"{self.file}: '{folders[folder]}' and '{key}' are the same "
                                  "folder; give each its own")
            folders[folder] = key
        if config.min_captcha > config.max_captcha:
            raise self.fail("min_captcha", f"at most max_captcha, {config.max_captcha}")


def read_labels(path: Path) -> tuple[str, ...]:
    """Read labels.json: a JSON list of one-character strings."""
    labels = read_json(path)
    if not isinstance(labels, list):
        raise ConfigError(f"{path}: expected a JSON list of one-character texts; "
                          "make it with gen_image/collect_labels.py")
    return parse_char_set(labels, str(path))


# Suffixes of the formats that encoding.py decodes.
IMAGE_SUFFIXES = ("png", "jpg", "jpeg", "gif", "bmp", "webp")

_DIRS = ("origin_image_dir", "new_image_dir", "train_image_dir", "test_image_dir",
         "api_image_dir", "online_image_dir", "local_image_dir", "model_save_dir",
         "labels_json_file", "log_dir")
_COUNTS = ("image_width", "image_height", "max_captcha", "cycle_stop", "cycle_save",
           "train_batch_size", "test_batch_size")
_SAMPLE_READERS: dict[str, Callable[[_Reader, str], Any]] = {
    **dict.fromkeys(_DIRS, _Reader.path),
    **dict.fromkeys(_COUNTS, _Reader.count),
    "image_suffix": _Reader.suffix,
    "char_set": _Reader.char_set,
    "use_labels_json_file": _Reader.flag,
    "remote_url": _Reader.url,
    "api_url": _Reader.url,
    "acc_stop": _Reader.share,
    "enable_gpu": _Reader.flag,
    "ignore_case": _Reader.flag,
    "image_channels": _Reader.channels,
    "resize": _Reader.resize,
    "label_separator": _Reader.separator,
    "network": lambda reader, key: reader.choice(*NETWORKS)(key),
    "recipe": lambda reader, key: reader.choice(*RECIPES)(key),
    **dict.fromkeys(("seed", "api_image_limit", "min_captcha"), _Reader.serial),
}
_CAPTCHA_READERS: dict[str, Callable[[_Reader, str], Any]] = {
    "root_dir": _Reader.path,
    "image_suffix": _Reader.suffix,
    "characters": _Reader.characters,
    "fonts": _Reader.paths,
    **dict.fromkeys(("char_count", "width", "height"), _Reader.count),
    "style": lambda reader, key: reader.choice(*STYLES)(key),
    **dict.fromkeys(("count", "min_char_count"), _Reader.serial),
}
