"""End the moves that were stopped: each file has its old name or its new one again."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cnnlib.console import Reporter
from cnnlib.errors import SampleError
from cnnlib.files import MARK, give_name, reason, sync

RECORD = re.compile(re.escape(MARK) + r"[0-9a-f]{16}\.moves")  # written by moving.py


def partial_of(record: Path, place: int, target: Path) -> Path:
    """Return what a copy is called until it is whole, which says of which move it is."""
    return target.with_name(f"{record.stem}-{place}.partial")


def recover(
    origins: Mapping[Path, Callable[[str], str]], targets: Sequence[Path], reporter: Reporter
) -> None:
    """End the moves that were stopped, out of some folders to others.

    Each of the former comes with a function that gives the name of a file in the latter.
    """
    try:
        for origin in origins:
            for record in _named(origin, RECORD):
                end_moves(record, targets, reporter)
        _end_former_moves(origins, targets, reporter)
    except OSError as error:
        raise SampleError(
            f"cannot end the interrupted move of {error.filename or 'a file'}: {reason(error)}; "
            "make its folder writable, or free some space"
        ) from error


def _named(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """Return the files of a folder with such names; none where there is no folder."""
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    files = (folder / name for name in names if pattern.fullmatch(name))
    return [file for file in files if not file.is_dir()]


def end_moves(record: Path, targets: Sequence[Path], reporter: Reporter) -> None:
    """End the moves of a record: each file then has its old name or its new one."""
    arrived: dict[Path, list[Path]] = {}  # files that have both names, and where the new one is
    useless: list[Path] = []
    all_ended = True
    for i, (name, new_name) in enumerate(_read_record(record)):
        source = record.with_name(name)
        places = [t / new_name for t in targets if not _is_same(t / new_name, source)]
        partials = [p for p in (partial_of(record, i, place) for place in places) if p.exists()]
        if os.path.lexists(source):
            arrived[source] = [p for p in places if _holds(p, source)]
            # A part of it is ours where our copy is next to it, to which no link was possible.
            halves = [p for p in places if partial_of(record, i, p) in partials]
            useless += [p for p in halves if p not in arrived[source] and _begins(p, source)]
        elif partials and not any(map(os.path.lexists, places)):
            all_ended = False
            reporter.warn(
                f"{partials[0]} may be the only copy of {source}: rename it to {new_name} if it "
                f"can be opened, then delete {record}"
            )
            continue
        useless += partials
    _sync_all(itertools.chain(*arrived.values()))
    for file in (*(source for source, places in arrived.items() if places), *useless):
        os.unlink(file)
    if all_ended:
        sync(record.parent)
        os.unlink(record)


def _read_record(record: Path) -> list[tuple[str, str]]:
    try:
        return [(name, new) for name, new in json.loads(record.read_text(encoding="ascii"))]
    except ValueError:  # it was being written, and nothing has moved
        return []


def _is_same(place: Path, source: Path) -> bool:
    """Return whether two paths are the same name in the same folder, whatever it is called."""
    return place.name.casefold() == source.name.casefold() and (
        identity(place.parent) == identity(source.parent)
    )


def _holds(place: Path, source: Path) -> bool:
    data = _content(place)
    return data is not None and data == source.read_bytes()


def _begins(place: Path, source: Path) -> bool:
    data = _content(place)
    return data is not None and source.read_bytes().startswith(data)


def _content(path: Path) -> bytes | None:
    """Return what is in a file; None where that is unknown, and for a symbolic link to one.

    Such a link may lead to the very file that is in question.
    """
    with suppress(OSError):
        if not path.is_symlink():
            return path.read_bytes()
    return None


def _sync_all(files: Iterable[Path]) -> None:
    """Return when files and their names are on the disk."""
    folders = set()
    for file in files:
        sync(file)
        folders.add(file.parent)
    for folder in folders:
        sync(folder)


# Version 3.0.0 copied to `.NAME.partial`, renamed the file to `.NAME.moving`, gave the copy its
# name, and removed the file. Files of users may be called so as well.
FORMER_MOVING, FORMER_PARTIAL = re.compile(r"\.(.+)\.moving"), re.compile(r"\.(.+)\.partial")


def _end_former_moves(
    origins: Mapping[Path, Callable[[str], str]], targets: Sequence[Path], reporter: Reporter
) -> None:
    """End the moves of version 3.0.0 that are certain, by a copy; report the others."""
    for origin, new_name in origins.items():
        for moving in _named(origin, FORMER_MOVING):
            name = moving.name[1 : -len(".moving")]
            _end_former_move(moving, name, [t / new_name(name) for t in targets], reporter)
    partials = [partial for folder in targets for partial in _named(folder, FORMER_PARTIAL)]
    sources = _by_new_name(origins) if partials else {}
    for partial in partials:
        name = partial.name[1 : -len(".partial")]
        data = _content(partial)
        wholes = (_content(source) or b"" for source in sources.get(name, ()))
        if data and any(whole.startswith(data) for whole in wholes):
            os.unlink(partial)
        else:
            reporter.warn(
                f"{partial} may be what version 3.0.0 had copied of {name} when it was stopped: "
                "delete it, unless it is yours"
            )


def _end_former_move(moving: Path, name: str, places: Sequence[Path], reporter: Reporter) -> None:
    source, data = moving.with_name(name), _content(moving)
    partials = [place.with_name(f".{place.name}.partial") for place in places]
    known = [path for path in (source, *places) if os.path.lexists(path)]
    whole = [path for path in known if data is not None and _content(path) == data]
    if whole:
        _sync_all(whole)
        os.unlink(moving)
    elif not known and data is not None and data in map(_content, partials):
        give_name(moving, source)
        sync(source.parent)
    else:
        reporter.warn(
            f"{moving} may be from an interrupted move of version 3.0.0, but "
            + (
                f"{known[0]} is another image of this name: rename one of them"
                if known
                else f"it has no copy: rename it to {name} if it is an image"
            )
        )


def _by_new_name(origins: Mapping[Path, Callable[[str], str]]) -> dict[str, list[Path]]:
    """Return the files that would get each name."""
    sources: dict[str, list[Path]] = {}
    for origin, new_name in origins.items():
        for name in os.listdir(origin) if os.path.isdir(origin) else ():
            sources.setdefault(new_name(name), []).append(origin / name)
    return sources


def identity(folder: Path) -> tuple[int, int] | None:
    """Return what is the same for all names of a folder; None where there is none."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino
