"""The images to be labelled: found in folders, checked, each content once."""

from __future__ import annotations

import functools
import os
import sqlite3
import stat
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from cnnlib.config_reader import IMAGE_SUFFIXES
from cnnlib.console import SilentReporter
from cnnlib.dataset.folders import map_in_threads
from cnnlib.dataset.images import open_image
from cnnlib.dataset.labels import content_serial, has_suffix, serial_in
from cnnlib.dataset.verification import Rules
from cnnlib.errors import SampleError
from cnnlib.labelling.acceptance import Places
from cnnlib.labelling.store import AWAY, DUPLICATE, GONE, UNUSABLE, WAITING, LabelStore

MAX_BYTES = 20 << 20  # of an image file
CHANCE_ONE_IN = 10  # images is shown whatever the model thinks of it


def find_images(
    store: LabelStore,
    folders: Sequence[Path],
    labelled: Sequence[Path],
    places: Places,
    rules: Rules,
) -> Iterator[None]:
    """Add the images of folders that the store does not know; yield after each part of them.

    A file that is not an image of this captcha is noted with the reason, and looked at again the
    next time. Symbolic links are left out: they may lead anywhere. A content that is known, or in a
    `labelled` folder already, is a duplicate; one whose file has another name now is found there.
    """
    present = {folder: image_names_in(folder) for folder in folders}
    sql = "SELECT id, path, digest, state FROM images WHERE state NOT IN (?, ?)"
    rows = store.rows(sql, UNUSABLE, GONE)
    paths = {places.text(folder / name) for folder in present for name in present[folder]}
    for row in store.rows("SELECT id, path FROM images WHERE state = ?", UNUSABLE):
        if row["path"] not in paths:
            store.update(row["id"], state=GONE)
    renamed = _without_file(rows, paths)
    is_known = [row["state"] != DUPLICATE or row["digest"] not in renamed for row in rows]
    known = {row["path"] for row, is_so in zip(rows, is_known, strict=True) if is_so}
    digests = {row["digest"] for row in rows} - renamed.keys()
    digests |= _labelled_digests(labelled, places.separator)
    for folder in folders:
        names = [name for name in present[folder] if places.text(folder / name) not in known]
        check = functools.partial(_check_all, folder, rules)
        for part in map_in_threads(check, names, "checking", SilentReporter()):
            found = []
            for path, digest, reason in part:
                if reason and not os.path.lexists(path):
                    continue  # it was labelled meanwhile, or deleted
                if digest in renamed and digest not in digests:
                    digests.add(digest)
                    if _relocate(store, renamed[digest], places.text(path)):
                        continue
                state = UNUSABLE if reason else DUPLICATE if digest in digests else WAITING
                if state == WAITING:
                    digests.add(digest)
                found.append((places.text(path), digest, state, is_by_chance(digest), reason))
            store.add_images(found)
            yield


def _without_file(rows: Sequence[sqlite3.Row], paths: Collection[str]) -> dict[str, int]:
    """Return the images to be labelled that are not among the paths found, their ids by content.

    Their files have another name now, or are in another folder, or away with theirs.
    """
    return {
        row["digest"]: row["id"]
        for row in rows
        if row["state"] in (WAITING, AWAY) and row["path"] not in paths
    }


def _relocate(store: LabelStore, image: int, path: str) -> bool:
    """Note that an image to be labelled is there now, unless it was labelled meanwhile."""
    with store.transaction():
        row = store.image(image)
        is_waiting = row is not None and row["state"] in (WAITING, AWAY) and not row["pending"]
        if is_waiting:
            store.move(image, path, state=WAITING)
        return is_waiting


def is_by_chance(digest: str) -> bool:
    """Return whether an image is one of those that are chosen by chance, by its content alone.

    What a model reads of these says how it reads all: others are shown because it is unsure.
    """
    return bool(digest) and int(digest[:8], 16) % CHANCE_ONE_IN == 0


def read_plain(path: Path) -> bytes:
    """Return the bytes of a regular file; raises SampleError for others, such as links."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | _O_BINARY)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
                raise SampleError(f"not a file of at most {MAX_BYTES >> 20} MB")
            return file.read()
    except OSError as error:
        raise SampleError(error.strerror or str(error)) from error


_O_BINARY = getattr(os, "O_BINARY", 0)


def image_names_in(folder: Path) -> list[str]:
    """Return the sorted names of images in a folder that are plain files; none without a folder.

    Names that are not text are left out: they cannot be written down.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name
                for entry in entries
                if entry.is_file(follow_symlinks=False)
                and has_suffix(entry.name, IMAGE_SUFFIXES)
                and not any("\ud800" <= c <= "\udfff" for c in entry.name)
            )
    except OSError:
        return []


def _check_all(folder: Path, rules: Rules, names: Sequence[str]) -> list[tuple[Path, str, str]]:
    return [_checked(folder / name, rules) for name in names]


def _checked(path: Path, rules: Rules) -> tuple[Path, str, str]:
    """Return path and digest of a file, and why it cannot be used."""
    try:
        data = read_plain(path)
        digest = content_serial(data)
        if not has_suffix(path.name, rules.suffixes):
            return path, digest, f"{path.suffix} is not in image_suffix"
        open_image(data, rules.spec)
    except SampleError as error:
        return path, "", str(error)
    return path, digest, ""


def _labelled_digests(folders: Sequence[Path], separator: str) -> set[str]:
    """Return the contents that are labelled already, as far as file names say so."""
    names = (name for folder in folders for name in image_names_in(folder))
    return set(filter(None, (serial_in(name, separator) for name in names)))
