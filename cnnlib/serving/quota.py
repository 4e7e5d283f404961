"""Keep the number of files in a folder below a limit, whatever number of processes write to it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from cnnlib.locks import locked_file
from cnnlib.paths import AnyPath

log = logging.getLogger(__name__)

STATE_DIR = ".uploads"  # next to the folder, else in it: a lock, and what was counted
STATE_BYTES = 128  # always the same, so that a full disk has room for the next count too
LOCK_WAIT_S = 10.0  # a writer holds the lock for a millisecond
LOCK_RETRY_S = 60.0  # after a failure to lock
CAREFUL_BELOW = 64  # places left, from where on files are also counted after a write without lock

# Some file systems (NFS) lock out other processes alone.
_thread_locks: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)


class _Count(NamedTuple):
    """A number of files, and what shows whether it is still right."""

    files: int
    counted: int  # files when they were last counted one by one
    changed_ns: int  # last change of the folder
    size: int
    inode: int


class FileQuota:
    """Let files into a folder while it has fewer than `max_files`; sub-folders do not count.

    One writer at a time, of all threads and processes, checks and writes. It writes down the number
    of files and stamps the folder's time of change: while that stays, nobody else has added or
    removed a file. The files are counted one by one after any other change; when three quarters of
    the room are used up, since some file systems keep no such time; and every `recount_s` while the
    folder is full.

    Where nothing can be locked, each writer counts them each time.
    """

    def __init__(self, folder: AnyPath, max_files: int, *, recount_s: float) -> None:
        self._folder = Path(os.path.realpath(folder))
        self._max_files, self._recount_s = max_files, recount_s
        self._thread_lock = _thread_locks[self._folder]
        self._state: Path | None = None  # where the count is kept; None: not known yet
        self._known: _Count | None = None  # in memory, of a full folder without a lock
        self._counted_full_s = 0.0
        self._lock_again_s = 0.0
        self._lock_failure = ""
        self._warned = False
        self.file_count = 0  # as of the last `add`

    def add(self, write: Callable[[], Path]) -> bool:
        """Call `write`, which adds one file and returns its path, where there is room.

        Returns False where there is none. What `write` raises is passed on: nothing was added.
        """
        if self._max_files <= 0:
            return False
        with suppress(OSError):  # `write` meets the same, and reports it
            self._folder.mkdir(parents=True, exist_ok=True)
        with self._thread_lock, self._locked() as locked:
            count = self._count(locked)
            self.file_count = count.files
            if count.files >= self._max_files:
                return False
            added = self._add_locked(write, count) if locked else self._add_unlocked(write, count)
            self.file_count += added
            return added

    def _add_locked(self, write: Callable[[], Path], count: _Count) -> bool:
        files = count.files
        try:
            write()
            files += 1
        finally:
            # A change by somebody else, at the same tick of the system's clock, has another time.
            with suppress(OSError):  # the folder belongs to another user
                os.utime(self._folder, ns=(time.time_ns(),) * 2)
            self._keep(self._observe(files, count.counted))
        return True

    def _add_unlocked(self, write: Callable[[], Path], count: _Count) -> bool:
        path = write()
        self._warn()
        room = self._max_files - count.files
        if room < CAREFUL_BELOW and _count_files(self._folder) > self._max_files:
            with suppress(OSError):
                path.unlink()  # others have written meanwhile
            return False
        return True

    # --- the count ---

    def _count(self, locked: bool) -> _Count:
        known = self._read() if locked else self._known
        if known is not None and self._is_valid(known):
            return known
        fresh = self._observe(0, 0)  # before counting: what changes meanwhile is noticed
        files = _count_files(self._folder)
        fresh = fresh._replace(files=files, counted=files)
        self._known = fresh if files >= self._max_files else None
        if files >= self._max_files:
            self._counted_full_s = time.monotonic()
        if locked:
            self._keep(fresh)
        return fresh

    def _is_valid(self, known: _Count) -> bool:
        if known != self._observe(known.files, known.counted):
            return False
        if known.files >= self._max_files:
            return time.monotonic() - self._counted_full_s < self._recount_s
        return known.files - known.counted < 3 * (self._max_files - known.counted) // 4

    def _observe(self, files: int, counted: int) -> _Count:
        """Return these numbers with the folder's present state."""
        try:
            status = os.stat(self._folder)
        except OSError:  # not made yet
            return _Count(files, counted, 0, 0, 0)
        return _Count(files, counted, status.st_mtime_ns, status.st_size, status.st_ino)

    def _read(self) -> _Count | None:
        assert self._state is not None, "the lock is next to it"
        try:
            return _Count(*map(int, self._state.read_text(encoding="ascii").split()))
        except (OSError, ValueError, TypeError):  # none yet, or a writer was killed
            return None

    def _keep(self, count: _Count) -> None:
        assert self._state is not None, "the lock is next to it"
        text = " ".join(map(str, count)).ljust(STATE_BYTES - 1) + "\n"
        mode = "r+b" if self._state.exists() else "wb"
        with suppress(OSError), open(self._state, mode) as file:  # else they are counted again
            file.write(text.encode("ascii"))

    # --- the lock ---

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Hold the lock; gives False where that is not possible."""
        with ExitStack() as resources:
            try:
                if time.monotonic() >= self._lock_again_s:
                    self._state = self._state or self._state_file()
                    lock = locked_file(self._state.with_suffix(".lock"), LOCK_WAIT_S)
                    resources.enter_context(lock)
            except OSError as error:
                self._state, self._lock_failure = None, str(error)
                self._lock_again_s = time.monotonic() + LOCK_RETRY_S
            yield self._state is not None

    def _state_file(self) -> Path:
        """Return the file for the count, in a folder that can be written to; raises OSError."""
        for above in (self._folder.parent, self._folder):
            state = above / STATE_DIR / f"{self._folder.name}.count"
            try:
                state.parent.mkdir(exist_ok=True)
                with open(state.with_suffix(".lock"), "ab"):
                    return state
            except OSError as error:
                failure = error
        raise failure

    def _warn(self) -> None:
        if not self._warned:  # once
            self._warned = True
            log.warning(
                "no file lock for %s (%s): its files are counted for each image, which is slow",
                self._folder,
                self._lock_failure,
            )


def _count_files(folder: Path) -> int:
    try:
        with os.scandir(folder) as entries:
            return sum(not entry.is_dir(follow_symlinks=False) for entry in entries)
    except OSError:  # such as a folder that cannot be made; writing reports it
        return 0
