"""Locks that keep a second program off; one that is killed leaves none behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no locks on folders, and filelock for those on files
    import filelock

    HAS_FLOCK = False
else:
    HAS_FLOCK = True

BUSY = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES}


@contextmanager
def locked_file(path: Path, warn: Callable[[str], None], otherwise: str) -> Iterator[None]:
    """Lock a file, which is made.

    A file system without locks, as some on networks are, is no reason to refuse work: `warn` gets
    one line then, which ends in what the user has to see to `otherwise`. Raises BlockingIOError
    where another program holds the lock, and OSError where the path cannot be opened.
    """
    with _flock(path, os.O_RDWR | os.O_CREAT, warn, otherwise) if HAS_FLOCK else _filelock(path):
        yield


@contextmanager
def locked_folder(path: Path, warn: Callable[[str], None], otherwise: str) -> Iterator[None]:
    """Lock a folder, as `locked_file` does a file; on Windows do nothing."""
    with _flock(path, os.O_RDONLY, warn, otherwise) if HAS_FLOCK else nullcontext():
        yield


@contextmanager
def _flock(path: Path, flags: int, warn: Callable[[str], None], otherwise: str) -> Iterator[None]:
    descriptor = os.open(path, flags, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in BUSY:
                raise BlockingIOError(error.errno, error.strerror) from error
            warn(f"cannot lock {path} ({error.strerror}): {otherwise}")
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _filelock(path: Path) -> Iterator[None]:
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
    try:
        yield
    finally:
        lock.release()
