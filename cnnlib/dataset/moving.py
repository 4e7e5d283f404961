"""Move files to other folders: none is lost, duplicated or overwritten, whenever it is stopped.

A file gets its new name first, as a link, or as a copy where there can be none, such as on another
file system. When that is on the disk, for many files at a time, the old names go. Meanwhile a
record in the folder that the files leave says which are on their way, for move_recovery.py. Whoever
moves holds `locked`, and calls `recover` first.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cnnlib import locks
from cnnlib.console import Reporter
from cnnlib.dataset.move_recovery import end_moves, identity, partial_of
from cnnlib.errors import SampleError
from cnnlib.files import MARK, copy_new, give_name, linked, reason, sync

FILES_PER_RECORD = 200  # whose names are on the disk before the old ones go: fsync takes long

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
                partial = partial_of(record, i, target)
                moved[source, target] = _arrive(source, target, partial, reporter)
    except BaseException:
        with suppress(OSError):  # the next run ends it
            end_moves(record, list({target.parent for _, target in free}), reporter)
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


def _arrive(source: Path, target: Path, partial: Path, reporter: Reporter) -> bool:
    """Give a file its new name as well; False where that is taken or the file has vanished."""
    try:
        # A relative symbolic link would point to nowhere from another folder.
        if source.is_symlink() or not linked(source, target):
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


@contextmanager
def locked(folders: Iterable[Path], reporter: Reporter, wait_s: float = 0.0) -> Iterator[None]:
    """Keep a second run off, where the system can; a run that is killed leaves no lock behind.

    Waits up to `wait_s` seconds for each folder. Raises SampleError where another run goes on.
    """
    warnings: list[str] = []
    with ExitStack() as resources:
        for folder in _different(folders):
            try:
                resources.enter_context(locks.locked_folder(folder, wait_s))
            except locks.NoLocksError as error:
                warnings.append(f"{error}: make sure that no second run moves files there")
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
    found = {identity(folder): folder for folder in folders}
    return [folder for identity, folder in found.items() if identity]
