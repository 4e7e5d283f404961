"""Move files to other folders: none is lost, duplicated or overwritten, whenever it is stopped.

A file gets its new name first, as a link, or as a copy where there can be none, such as on another
file system. When that is on the disk, for many files at a time, the old names go. Meanwhile a
record in the folder that the files leave says which are on their way, for `recover`. Whoever moves
holds `locked`, and calls `recover` first.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cnnlib import locks
from cnnlib.console import Reporter
from cnnlib.errors import SampleError
from cnnlib.files import MARK, NO_LINK, copy_new, give_name, reason, sync

FILES_PER_RECORD = 200  # whose names are on the disk before the old ones go: fsync takes long
RECORD = re.compile(re.escape(MARK) + r"[0-9a-f]{16}\.moves")

Move = tuple[Path, Path]  # source, target
REMEDY = "nothing is lost. Make both folders writable, free some space, and run it again"


def move(source: Path, target: Path, reporter: Reporter) -> bool:
    """Move a file without ever overwriting one; False where it cannot be or has vanished."""
    return _move_some([(source, target)], reporter)[0]


def move_all(moves: Sequence[Move], reporter: Reporter) -> list[bool]:
    """Move files out of one folder, as `move` does each; return which were moved.

    Raises SampleError where a folder cannot be written; what was moved before that stays moved.
    """
    remaining = iter(reporter.progress(moves, "moving"))
    moved: list[bool] = []
    while some := list(itertools.islice(remaining, FILES_PER_RECORD)):
        moved += _move_some(some, reporter)
    return moved


def _move_some(moves: Sequence[Move], reporter: Reporter) -> list[bool]:
    moved = dict.fromkeys(moves, False)
    free = [m for m in moves if os.path.lexists(m[0]) and not _is_taken(m, reporter)]
    if not free:
        return list(moved.values())
    folder = moves[0][0].parent
    with _reported(f"cannot move files out of {folder}"):
        record = _write_record(folder, free)
    try:
        for i, (source, target) in enumerate(free):
            with _reported(f"cannot move {source} to {target}"):
                partial = _partial(record, i, target)
                moved[source, target] = _arrive(source, target, partial, reporter)
    except BaseException:
        with suppress(OSError):  # the next run ends it
            _end_moves(record, list({target.parent for _, target in free}), reporter)
        raise
    with _reported(f"cannot move files out of {folder}"):
        failure = _leave([m for m in free if moved[m]])
        os.unlink(record)
    if failure:
        raise failure
    return list(moved.values())


def _is_taken(move: Move, reporter: Reporter) -> bool:
    """Return whether a target exists, and report it.

    Under another case it does, too, on a file system that ignores case.
    """
    taken = os.path.lexists(move[1])
    if taken:
        reporter.say(f"{move[0]} is not moved: {move[1]} exists")
    return taken


@contextmanager
def _reported(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SampleError(f"{what}: {reason(error)}; {REMEDY}") from error


def _write_record(folder: Path, moves: Sequence[Move]) -> Path:
    """Write down which files are about to move; return when that is on the disk."""
    record = folder / f"{MARK}{secrets.token_hex(8)}.moves"
    names = [(source.name, target.name) for source, target in moves]
    try:
        with open(record, "x", encoding="ascii") as file:
            json.dump(names, file)
            file.flush()
            os.fsync(file.fileno())
        sync(folder)
    except OSError:
        with suppress(OSError):
            os.unlink(record)
        raise
    return record


def _partial(record: Path, place: int, target: Path) -> Path:
    """Return what a copy is called until it is whole, which says of which move it is."""
    return target.with_name(f"{record.stem}-{place}.partial")


def _arrive(source: Path, target: Path, partial: Path, reporter: Reporter) -> bool:
    """Give a file its new name as well; False where that is taken or the file has vanished."""
    try:
        # A relative symbolic link would point to nowhere from another folder.
        if source.is_symlink() or not _linked(source, target):
            copy_new(source, partial)
            give_name(partial, target)
    except FileExistsError:
        partial.unlink(missing_ok=True)
        reporter.say(f"{source} is not moved: {target} exists")
        return False
    except FileNotFoundError:
        if os.path.lexists(source):
            raise
        return False
    return True


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        return False
    return True


def _leave(moves: Sequence[Move]) -> SampleError | None:
    """Remove the old names of files whose new ones are on the disk; return what went wrong."""
    for folder in {target.parent for _, target in moves}:
        sync(folder)
    failure: SampleError | None = None
    for source, target in moves:
        try:
            with _reported(f"cannot move {source} to {target}"), suppress(FileNotFoundError):
                os.unlink(source)
        except SampleError as error:
            os.unlink(target)  # it stays where it was
            failure = error
    for folder in {source.parent for source, _ in moves}:
        sync(folder)
    return failure


# --- after a stop ---


def recover(
    origins: Mapping[Path, Callable[[str], str]], targets: Sequence[Path], reporter: Reporter
) -> None:
    """End the moves that were stopped, out of some folders to others.

    Each of the former comes with a function that gives the name of a file in the latter.
    """
    try:
        for origin in origins:
            for record in _named(origin, RECORD):
                _end_moves(record, targets, reporter)
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


def _end_moves(record: Path, targets: Sequence[Path], reporter: Reporter) -> None:
    """End the moves of a record: each file then has its old name or its new one."""
    arrived: dict[Path, list[Path]] = {}  # files that have both names, and where the new one is
    useless: list[Path] = []
    all_ended = True
    for i, (name, new_name) in enumerate(_read_record(record)):
        source = record.with_name(name)
        places = [t / new_name for t in targets if not _is_same(t / new_name, source)]
        partials = [p for p in (_partial(record, i, place) for place in places) if p.exists()]
        if os.path.lexists(source):
            arrived[source] = [p for p in places if _holds(p, source)]
            # A part of it is ours where our copy is beside it, to which no link was possible.
            halves = [p for p in places if _partial(record, i, p) in partials]
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
        _identity(place.parent) == _identity(source.parent)
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


@contextmanager
def locked(folders: Iterable[Path], reporter: Reporter) -> Iterator[None]:
    """Keep a second run off, where the system can; a run that is killed leaves no lock behind."""
    warnings: list[str] = []
    with ExitStack() as resources:
        for folder in _different(folders):
            lock = locks.locked_folder(
                folder, warnings.append, "make sure that no second run moves files there"
            )
            try:
                resources.enter_context(lock)
            except BlockingIOError as error:
                raise SampleError(
                    f"another run moves files into or out of {folder}: wait until it has ended"
                ) from error
            except OSError:  # it cannot be read: whoever lists it says so
                pass
        for line in warnings[:1]:
            reporter.warn(line)
        yield


def _different(folders: Iterable[Path]) -> Iterable[Path]:
    """Return those folders that exist, each once, whatever it is called."""
    found = {_identity(folder): folder for folder in folders}
    return [folder for identity, folder in found.items() if identity]


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what is the same for all names of a folder; None where there is none."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino
