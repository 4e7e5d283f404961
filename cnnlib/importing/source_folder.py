"""A folder of images as its owner has it: images and other files, in sub-folders too."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from cnnlib.config_reader import IMAGE_SUFFIXES
from cnnlib.dataset.file_kinds import START_BYTES, suffix_of
from cnnlib.dataset.labels import has_suffix
from cnnlib.errors import SampleError
from cnnlib.files import reason

LIST_SUFFIXES = ("csv", "tsv", "txt", "json", "jsonl", "ndjson", "lst", "list")
UNREAD_SUFFIXES = (
    "xls",
    "xlsx",
    "ods",
    "xml",
    "parquet",
    "db",
    "sqlite",
    "pkl",
    "npy",
    "npz",
    "mat",
)
ARCHIVE_SUFFIXES = ("zip", "rar", "7z", "tar", "gz", "tgz")
OTHER_IMAGE_SUFFIXES = ("heic", "heif", "svg", "ppm", "pgm", "jp2")
KNOWN_SUFFIXES = (*LIST_SUFFIXES, *UNREAD_SUFFIXES, *OTHER_IMAGE_SUFFIXES)
# What macOS, Windows and network drives keep next to files.
IGNORED = {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information"}
IGNORED |= {"Thumbs.db", "desktop.ini"}


@dataclass
class SourceFolder:
    """The files of a folder, by their paths relative to it, with '/', in natural order."""

    root: Path
    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    other_images: list[str] = field(default_factory=list)  # of formats that are not accepted
    bytes: int = 0  # of all images

    def path(self, name: str) -> Path:
        return self.root / name


def read_source_folder(root: Path) -> SourceFolder:
    """Find the files of a folder and of those in it; raises SampleError where it cannot be read.

    Files and folders whose names begin with a dot, and those that systems add, are left out. An
    image is what has the suffix of one, or none that is known but the first bytes of one. Links are
    followed, but in no circle.
    """
    found = SourceFolder(root)
    _walk(found, "", {os.path.realpath(root)})
    for names in (found.images, found.others, found.other_images):
        names.sort(key=natural_key)
    return found


def _walk(found: SourceFolder, below: str, visited: set[str]) -> None:
    folder = found.root / below
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise SampleError(
            f"folder {folder} cannot be read: {reason(error)}; make it readable or name another"
        ) from error
    for entry in entries:
        name = f"{below}{entry.name}"
        if is_hidden(entry.name):
            continue
        try:
            is_folder = entry.is_dir()
        except OSError:  # a link to itself
            continue
        if is_folder:
            real = os.path.realpath(entry.path)
            if real not in visited:
                _walk(found, f"{name}/", visited | {real})
        elif entry.is_file():  # no pipe
            _add_file(found, entry, name)


def _add_file(found: SourceFolder, entry: os.DirEntry[str], name: str) -> None:
    suffix = PurePosixPath(entry.name).suffix.lstrip(".").lower()
    if suffix in IMAGE_SUFFIXES or (suffix not in KNOWN_SUFFIXES and _begins_as_image(entry.path)):
        found.images.append(name)
        found.bytes += entry.stat().st_size
    elif suffix in OTHER_IMAGE_SUFFIXES:
        found.other_images.append(name)
    else:
        found.others.append(name)


def _begins_as_image(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return bool(suffix_of(file.read(START_BYTES)))
    except OSError:  # a file of somebody else
        return False


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is left out wherever images are read."""
    return name.startswith(".") or name in IGNORED


def may_list(name: str) -> bool:
    """Return whether a file is of a kind that people keep labels in and that is not read."""
    return has_suffix(name, UNREAD_SUFFIXES)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts names with numbers as people do: 2.png before 10.png."""
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(p), p) if i % 2 else (1, 0, p) for i, p in enumerate(parts)]


def stem(name: str) -> str:
    """Return a file's name without folder and suffix."""
    return os.path.splitext(name.rpartition("/")[2])[0]
