"""Move files to other folders: none is lost, duplicated or overwritten, whenever it is stopped.

Across file systems a move has steps: the copy grows as `.NAME.partial` next to its target, the file
becomes `.NAME.moving`, the copy gets its name, the file is removed. Whoever moves holds `locked`,
and calls `recover` first.
"""

from __future__ import annotations

import errno
import filecmp
import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cnnlib.console import Reporter
from cnnlib.errors import SampleError

with suppress(ImportError):  # Windows has none; its os.rename never overwrites
    import fcntl


def move(source: Path, target: Path, reporter: Reporter) -> bool:
    """Move a file without ever overwriting one; False where it cannot be or has vanished."""
    if os.path.lexists(target):  # under another case, on a file system that ignores case
        reporter.say(f"{source} is not moved: {target} exists")
        return False
    try:
        if source.is_symlink():  # a relative one would point to nowhere from another folder
            _move_across(source, target)
        else:
            _rename(source, target)
    except OSError as error:
        if not os.path.lexists(source):
            return False
        raise SampleError(
            f"cannot move {source} to {target}: {error.strerror}; nothing is lost. "
            "Make both folders writable and run it again"
        ) from error
    return True


def _rename(source: Path, target: Path) -> None:
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _move_across(source, target)


def _move_across(source: Path, target: Path) -> None:
    """Move a file to another file system so that `recover` can end it after any step."""
    partial = _partial(target)
    try:
        with open(source, "rb") as original, open(partial, "wb") as copy:
            shutil.copyfileobj(original, copy)
            copy.flush()
            os.fsync(copy.fileno())
        shutil.copystat(source, partial)
        moving = _moving(source)
        os.rename(source, moving)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    try:
        os.rename(partial, target)
    except OSError:
        os.rename(moving, source)
        raise
    os.unlink(moving)


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.partial")


def _moving(source: Path) -> Path:
    return source.with_name(f".{source.name}.moving")


def recover(
    origin: Path, targets: Sequence[Path], new_name: Callable[[str], str], reporter: Reporter
) -> None:
    """End the interrupted moves from a folder to others, where files get the name `new_name`."""
    try:
        for moving in _named(origin, ".moving"):
            _recover(moving, targets, new_name, reporter)
        for partial in itertools.chain(*(_named(folder, ".partial") for folder in targets)):
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise SampleError(
            f"cannot end the interrupted move of {error.filename}: "
            f"{error.strerror}; make its folder writable"
        ) from error


def _named(folder: Path, ending: str) -> list[Path]:
    """Return the files `.NAME` + ending of a folder; none where there is no folder."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [folder / n for n in names if n.startswith(".") and n.endswith(ending)]


def _recover(
    moving: Path, targets: Sequence[Path], new_name: Callable[[str], str], reporter: Reporter
) -> None:
    source = moving.with_name(moving.name[1 : -len(".moving")])
    new = new_name(source.name)
    arrived = [folder / new for folder in targets if os.path.lexists(folder / new)]
    if any(filecmp.cmp(moving, copy, shallow=False) for copy in arrived):
        moving.unlink()
    elif not arrived and not os.path.lexists(source):
        os.rename(moving, source)
    else:
        reporter.warn(
            f"{moving} is from an interrupted move, but {(arrived or [source])[0]} is "
            "another image of this name: rename one of them"
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second run off, where the system can; a run that is killed leaves no lock behind."""
    with ExitStack() as resources:
        with suppress(OSError):  # no such folder, or no locks on its file system
            descriptor = os.open(folder, os.O_RDONLY)
            resources.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SampleError(
                    f"another run moves files into {folder}: wait until it has ended"
                ) from error
        yield
