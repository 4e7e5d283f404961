"""Locks between programs; one that is killed leaves none behind."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no locks on folders, and filelock for those on files
    import filelock

    HAS_FLOCK = False
else:
    # Not filelock here: it installs an audit hook (from 3.30 on), which costs time at each file
    # that is opened and, below Python 3.12, kills new threads whose lines are traced.
    HAS_FLOCK = True

BUSY = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES}
POLL_S = 0.002


class NoLocksError(OSError):
    """The file system has no locks, as some on networks."""


def locked_file(path: Path, wait_s: float = 0.0) -> AbstractContextManager[None]:
    """Hold the lock of a file, which is made; it keeps threads and processes off.

    Raises BlockingIOError where somebody else holds it for longer than `wait_s` seconds,
    NoLocksError, and other OSErrors where the path cannot be opened.
    """
    return _flock(path, os.O_RDWR | os.O_CREAT, wait_s) if HAS_FLOCK else _filelock(path, wait_s)


def locked_folder(path: Path, wait_s: float = 0.0) -> AbstractContextManager[None]:
    """Hold the lock of a folder, as `locked_file` does of a file; on Windows do nothing."""
    return _flock(path, os.O_RDONLY, wait_s) if HAS_FLOCK else nullcontext()


@contextmanager
def _flock(path: Path, flags: int, wait_s: float) -> Iterator[None]:
    deadline = time.monotonic() + wait_s
    descriptor = os.open(path, flags, 0o666)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in BUSY:
                    raise NoLocksError(f"cannot lock {path} ({error.strerror})") from error
                if time.monotonic() >= deadline:
                    raise BlockingIOError(error.errno, "locked by another", str(path)) from error
            time.sleep(POLL_S)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _filelock(path: Path, wait_s: float) -> Iterator[None]:
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=wait_s, poll_interval=POLL_S)
    except filelock.Timeout as error:
        raise BlockingIOError(errno.EAGAIN, "locked by another", str(path)) from error
    try:
        yield
    finally:
        lock.release()
