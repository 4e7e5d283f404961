"""Labels: in file names, in labels.csv, and as class ids.

A file name is `label_serial.suffix`: the label ends before the first separator. Class i is
character i of char_set.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import os
import re
import secrets
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cnnlib.captcha_spec import fold_case
from cnnlib.errors import SampleError
from cnnlib.paths import ProjectPath

SEPARATOR = "_"
LABELS_FILE, LABELS_COLUMNS = "labels.csv", ["file", "label"]
PAD_ID = -1  # in char_ids, after the end of a label
UNKNOWN_ID = -2  # in char_ids, where nobody knows the character: nothing is learned from it
SERIAL_DIGITS = 16  # of the SHA-256 of the content
# Characters that file names cannot have somewhere, and the one that encodes them.
UNSAFE = frozenset('\\/:*?"<>|%') | {chr(code) for code in range(32)}


# --- file names ---


def clean_label(text: str) -> str:
    """Return a label as it is spelled here: composed accents, no blanks around it.

    File names of macOS have an accent as a character of its own. Characters that are not composed
    of several stay as they are, whatever their normal form: a char_set may have them.
    """
    composed = unicodedata.normalize("NFC", text)
    return (composed if len(composed) < len(text) else text).strip()


def label_of(name: str, separator: str = SEPARATOR) -> str:
    """Return the label in a file name; raises SampleError where label or serial is missing.

    What `file_name` encoded is decoded; any other `%41` is three characters of a user's own name.
    """
    label, _, serial = os.path.splitext(name)[0].partition(separator)
    undecoded = any("\ud800" <= c <= "\udfff" for c in label)  # bytes that are not text
    if not label or not serial or undecoded:
        raise SampleError(
            f"{name}: expected a name such as 2e8j{separator}17322d3d.png, "
            f"label and serial with '{separator}' between them"
        )
    unsafe = {*UNSAFE, *separator}
    if label.startswith("%2E"):  # else it has no dots that were encoded
        unsafe.add(".")

    def decoded(code: re.Match[str]) -> str:
        character = chr(int(code[1], 16))
        return character if character in unsafe else code[0]

    return re.sub("%([0-9A-F]{2})", decoded, label)


def content_serial(data: bytes) -> str:
    """Return the serial of an image file by its content: the same content has the same one."""
    return hashlib.sha256(data).hexdigest()[:SERIAL_DIGITS]


def serial_in(name: str, separator: str = SEPARATOR) -> str:
    """Return the `content_serial` at the end of a file name; "" where none is there."""
    serial = os.path.splitext(name)[0].rpartition(separator)[2]
    return serial if re.fullmatch(rf"[0-9a-f]{{{SERIAL_DIGITS}}}", serial) else ""


def has_suffix(name: str, suffixes: Iterable[str]) -> bool:
    """Return whether a file name ends in one of the suffixes, in any case; dot files have none."""
    suffix = os.path.splitext(name)[1].lstrip(".").lower()
    return not name.startswith(".") and suffix in {known.lower() for known in suffixes}


def parse_suffixes(suffixes: str | Iterable[str]) -> tuple[str, ...]:
    """Return the suffixes of images, given as one text or several, with or without their dots."""
    each = [suffixes] if isinstance(suffixes, str) else suffixes
    return tuple(suffix.lstrip(".") for suffix in each)


def file_name(
    label: str, suffix: str, serial: str | None = None, separator: str = SEPARATOR
) -> str:
    """Return `label_serial.suffix`; without a serial a random one that never occurred before.

    Characters that a label in a file name cannot have are percent-encoded, so that `label_of` gives
    back any label.
    """
    unsafe = {*UNSAFE, *separator}
    if label.startswith("."):  # it would be a dot file
        unsafe.add(".")
    safe = "".join(f"%{ord(c):02X}" if c in unsafe else c for c in label)
    return f"{safe}{separator}{serial or secrets.token_hex(16)}.{suffix}"


# --- the labels of a folder ---


@dataclass(frozen=True)
class FolderLabels:
    """The labels of a folder's images: from labels.csv where it lists them, else from the name."""

    listed: Mapping[str, str] = field(default_factory=dict)  # file name -> label
    separator: str = SEPARATOR
    ignore_case: bool = False

    def label(self, name: str) -> str:
        """Return the label of an image, as it is learned; raises SampleError where it has none."""
        label = clean_label(self.listed.get(name) or label_of(name, self.separator))
        if not label:
            raise SampleError(f"{name}: the label has blanks alone")
        return fold_case(label) if self.ignore_case else label

    def name_with_label(self, name: str) -> str:
        """Return a file's name in the training or test set, where names carry labels."""
        if name not in self.listed:
            return name
        stem, suffix = os.path.splitext(name)
        return file_name(self.listed[name], suffix.lstrip("."), stem, self.separator)


def read_label_list(folder: ProjectPath) -> dict[str, str]:
    """Return the labels that labels.csv of a folder gives, by file name; none without that file.

    It is UTF-8, with the columns file and label. Raises SampleError with the line that is wrong.
    """
    path = folder.full / LABELS_FILE
    labels: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, skipinitialspace=True, strict=True)
            for cells in lines:
                row = [cell.strip() for cell in cells]
                if not any(row) or (
                    not labels and [cell.lower() for cell in row] == LABELS_COLUMNS
                ):
                    continue
                if not _is_entry(row, labels):
                    raise SampleError(
                        f"{path}, line {lines.line_num}: expected a file, a comma and its label, "
                        f"each file once; got {','.join(row)!r}"
                    )
                labels[row[0]] = row[1]
    except FileNotFoundError:
        return {}
    except csv.Error as error:
        raise SampleError(
            f"{path}, line {lines.line_num}: {error}; write a label that has quotes as "
            '"quoted ""so"""'
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SampleError(f"{path} cannot be read ({error}): save it as CSV in UTF-8") from error
    return labels


def _is_entry(row: list[str], labels: Mapping[str, str]) -> bool:
    """Return whether a row is a file and its label, which does not contradict those before it."""
    return (
        len(row) == 2
        and all(row)
        and labels.get(row[0], row[1]) == row[1]
        and len(row[1].splitlines()) == 1
    )


# --- class ids ---


def label_to_ids(label: str, char_set: Sequence[str], length: int | None = None) -> list[int]:
    """Return the class of each character.

    Raises SampleError naming those not in char_set, or for another length than the one given.
    """
    if length not in (None, len(label)):
        raise SampleError(f"label {label!r} has {len(label)} characters, expected {length}")
    unknown = unknown_characters(label, char_set)
    if unknown:
        raise SampleError(
            f"label {label!r} has {' '.join(map(repr, unknown))}, "
            "not in char_set: correct the label or add it to char_set"
        )
    classes = _classes(char_set)
    return [classes[character] for character in label]


def unknown_characters(label: str, char_set: Sequence[str]) -> list[str]:
    classes = _classes(char_set)
    return [c for c in dict.fromkeys(label) if c not in classes]


class _CharSet:
    """A char_set as a key: with thousands of characters it is long to hash, or to compare.

    The one tuple that a program has is compared at once.
    """

    def __init__(self, characters: Sequence[str]) -> None:
        self.characters = tuple(characters) if isinstance(characters, list) else characters

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _CharSet) and (
            self.characters is other.characters or self.characters == other.characters
        )

    def __hash__(self) -> int:
        return hash((len(self.characters), self.characters[:1], self.characters[-1:]))


def _classes(char_set: Sequence[str]) -> dict[str, int]:
    return _classes_of(_CharSet(char_set))


@functools.lru_cache(maxsize=8)
def _classes_of(char_set: _CharSet) -> dict[str, int]:
    """Return the class of each character."""
    return {character: i for i, character in enumerate(char_set.characters)}


def ids_to_label(char_ids: Sequence[int] | np.ndarray, char_set: Sequence[str]) -> str:
    return "".join(char_set[i] for i in char_ids if i != PAD_ID)
