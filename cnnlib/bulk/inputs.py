"""What a bulk run is given: folders of any depth, lists, archives, single images."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cnnlib.bulk.sorted_names import SortedNames
from cnnlib.config_reader import IMAGE_SUFFIXES
from cnnlib.console import Reporter
from cnnlib.dataset.file_kinds import START_BYTES, looks_like_image, suffix_of
from cnnlib.dataset.labels import has_suffix
from cnnlib.errors import SampleError
from cnnlib.files import reason
from cnnlib.importing.source_folder import KNOWN_SUFFIXES, is_hidden
from cnnlib.paths import resolve_input_path

FOLDER, LIST, ARCHIVE, IMAGE = "folder", "list", "archive", "image"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # begins lists that PowerShell has written


@dataclass(frozen=True)
class Source:
    """One of the inputs: how it was typed, its full path, its kind.

    `stamp` changes with an archive: places in it are kept, and names in all others.
    """

    typed: str
    path: str
    kind: str
    stamp: str = ""


def find_sources(texts: Iterable[str]) -> list[Source]:
    """Look at what the inputs are; raises SampleError for one that is missing or nothing of all."""
    return [_source(text) for text in texts]


def _source(text: str) -> Source:
    path = resolve_input_path(text)
    try:
        if path.is_dir():
            return Source(text.rstrip("/\\") or text, str(path), FOLDER)
        if not path.is_file():
            raise SampleError(
                f"{text} does not exist: name a folder, an archive, an image, or a list with a "
                "path or a URL a line"
            )
        kind = _kind(path)
        return Source(text, str(path), kind, stamp_of(path) if kind == ARCHIVE else "")
    except OSError as error:
        raise SampleError(f"{text} cannot be read: {reason(error)}; make it readable") from error


def _kind(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(START_BYTES)
    if has_suffix(path.name, IMAGE_SUFFIXES) or looks_like_image(start):
        return IMAGE
    if zipfile.is_zipfile(path) or tarfile.is_tarfile(path):
        return ARCHIVE
    if start.startswith(UTF_16) or b"\0" not in start:
        return LIST
    raise SampleError(
        f"{path} is neither an image nor a tar or ZIP archive nor a list, which is a text with a "
        "path or a URL a line: name one of these, or a folder"
    )


class Listing:
    """The names in the sources, in an order that depends on nothing else.

    `left_out` counts files that are no images, once they have been listed.
    """

    def __init__(self, sources: Iterable[Source], folder: Path, reporter: Reporter) -> None:
        self._sources, self._folder, self._reporter = sources, folder, reporter
        self.left_out = 0

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Yield the number of a source and a name in it; "" for an archive or a single image."""
        for number, source in enumerate(self._sources):
            names: Iterable[str] = [""]
            if source.kind == FOLDER:
                names = self._in_folder(source.path)
            elif source.kind == LIST:
                names = _in_list(source.path)
            for name in names:
                yield number, name

    def _in_folder(self, root: str) -> Iterator[str]:
        """Yield the images below a folder, those of each folder before those in its folders.

        Links are followed, but in no circle.
        """
        levels: list[tuple[str, Iterator[str]]] = [("", iter([""]))]  # real path, folders to see
        while levels:
            below = next(levels[-1][1], None)
            if below is None:
                levels.pop()
                continue
            real = os.path.realpath(os.path.join(root, below))
            if any(real == above for above, _ in levels):
                continue
            try:
                images, folders = self._entries(root, below)
            except OSError as error:
                self._reporter.warn(
                    f"left out: the folder {os.path.join(root, below)} cannot be read: "
                    f"{reason(error)}"
                )
                continue
            yield from (below + name for name in images)
            levels.append((real, _below(below, folders)))

    def _entries(self, root: str, below: str) -> tuple[SortedNames, SortedNames]:
        images, folders = SortedNames(self._folder), SortedNames(self._folder)
        with os.scandir(os.path.join(root, below)) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                try:
                    if entry.is_dir():
                        folders.add(entry.name)
                    elif entry.is_file() and _is_image_file(entry):
                        images.add(entry.name)
                    else:
                        self.left_out += 1
                except OSError:  # a link to itself
                    self.left_out += 1
        return images, folders


def _below(above: str, folders: Iterable[str]) -> Iterator[str]:
    return (f"{above}{name}/" for name in folders)


def is_image_name(name: str) -> bool | None:
    """Return whether the suffix is that of an image; None: it says nothing, the content decides."""
    suffix = os.path.splitext(name)[1].lstrip(".").lower()
    return True if suffix in IMAGE_SUFFIXES else False if suffix in KNOWN_SUFFIXES else None


def _is_image_file(entry: os.DirEntry[str]) -> bool:
    by_name = is_image_name(entry.name)
    if by_name is not None:
        return by_name
    with open(entry.path, "rb") as file:
        return bool(suffix_of(file.read(START_BYTES)))


def _in_list(path: str) -> Iterator[str]:
    try:
        with open(path, "rb") as file:
            encoding = "utf-16" if file.read(2) in UTF_16 else "utf-8-sig"
        # Names of files may have any bytes; they come back when the file is opened.
        errors = "surrogateescape" if encoding == "utf-8-sig" else "strict"
        with open(path, encoding=encoding, errors=errors, newline="\n") as lines:
            for line in lines:
                if name := line.rstrip("\r\n"):
                    yield name
    except OSError as error:
        raise SampleError(f"{path} cannot be read: {reason(error)}; make it readable") from error
    except UnicodeError as error:
        raise SampleError(f"{path} is a damaged text: save it as UTF-8") from error


def stamp_of(path: Path) -> str:
    """Return what is another one when the file has changed: its size and time."""
    status = os.stat(path)
    return f"{status.st_size} {status.st_mtime_ns}"
