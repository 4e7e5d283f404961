"""Save the images that the API received: aside from the requests, whole files, up to a limit."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from cnnlib.dataset.labels import SEPARATOR, file_name
from cnnlib.errors import SampleError
from cnnlib.files import store_image
from cnnlib.paths import AnyPath, ProjectPath
from cnnlib.serving.limits import CLOSE_S
from cnnlib.serving.quota import FileQuota

log = logging.getLogger(__name__)

MAX_QUEUED_UPLOADS = 1000  # images between the requests and the disk, some 5 MB
RECOUNT_S = 60.0  # of a full folder: somebody may have moved files away
REPORT_S = 60.0  # between two lines of the log about images that are dropped for the same reason
# Why an image is not saved; the values are labels of a metric.
FOLDER_FULL, QUEUE_FULL, FAILED = "full", "busy", "failed"
IN_WORDS = {
    FOLDER_FULL: "the folder was full",
    QUEUE_FULL: "the disk was too slow",
    FAILED: "they could not be written",
}


class _Upload(NamedTuple):
    data: bytes
    label: str
    serial: str


class UploadStore:
    """Write images to a folder, of at most `max_files` files, from a thread of its own.

    The limit holds for all stores, of any number of processes, that write to the folder. `on_drop`
    gets the reason for each image that is not saved: FOLDER_FULL, QUEUE_FULL or FAILED.
    """

    def __init__(
        self,
        folder: AnyPath,
        suffix: str,
        max_files: int,
        *,
        separator: str = SEPARATOR,
        on_drop: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._folder, self._suffix, self._separator = ProjectPath(folder), suffix, separator
        self._max_files = max_files
        self._quota = FileQuota(self._folder, max_files, recount_s=RECOUNT_S)
        self._on_drop, self._drops = on_drop, _DropLog(str(self._folder))
        self._queue: queue.Queue[_Upload | None] = queue.Queue(MAX_QUEUED_UPLOADS)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)
        self._thread.start()

    def save(self, data: bytes, label: str, serial: str) -> None:
        """Have an image written as label_serial.suffix; returns at once."""
        if self._closed:
            self._drop(FAILED, "the server is stopping: images are not kept")
            return
        try:
            self._queue.put_nowait(_Upload(data, label, serial))
        except queue.Full:
            self._drop(QUEUE_FULL, f"the disk of {self._folder} is too slow: images are not kept")

    def close(self) -> None:
        """Write the images that are queued, for CLOSE_S at most, and end the thread."""
        if self._closed:
            return
        self._closed = True
        deadline_s = time.monotonic() + CLOSE_S
        try:
            self._queue.put(None, timeout=CLOSE_S)
        except queue.Full:
            pass
        else:
            self._thread.join(max(0.0, deadline_s - time.monotonic()))
        if self._thread.is_alive():
            self._give_up()
        self._drops.finish()

    def _give_up(self) -> None:
        """Drop what is queued; the thread ends after the image that it is writing, if ever."""
        log.error("the disk of %s does not answer: what is queued is not kept", self._folder)
        with suppress(queue.Empty):
            while True:
                if self._queue.get_nowait() is not None:
                    self._drop(FAILED, "images are not kept")
        with suppress(queue.Full):
            self._queue.put_nowait(None)

    def _run(self) -> None:
        while (upload := self._queue.get()) is not None:
            try:
                self._write(upload)
            except Exception:  # the thread must go on
                self._drop(FAILED, "images are not kept", with_traceback=True)

    def _write(self, upload: _Upload) -> None:
        names = (
            file_name(upload.label, self._suffix, serial, self._separator)
            for serial in (upload.serial, None)
        )
        try:
            saved = self._quota.add(lambda: store_image(upload.data, self._folder, *names))
        except SampleError as error:
            self._drop(FAILED, f"images are not kept: {error}")
            return
        if not saved:
            self._drop(
                FOLDER_FULL,
                f"{self._folder} has {self._quota.file_count} files, and api_image_limit is "
                f"{self._max_files}: images are not kept until files are moved away",
            )
            return
        self._drops.end(FOLDER_FULL, FAILED)
        if self._queue.qsize() <= self._queue.maxsize // 2:  # not where the next one is dropped
            self._drops.end(QUEUE_FULL)

    def _drop(self, reason: str, message: str, *, with_traceback: bool = False) -> None:
        self._on_drop(reason)
        self._drops.begin(reason, message, with_traceback)


@dataclass
class _Drops:
    """Images that are dropped for the same reason."""

    count: int = 0
    is_open: bool = False  # the log says that it began, and not that it ended
    logged_s: float = -math.inf  # the last line about it


class _DropLog:
    """Log that images are dropped: when it begins, every REPORT_S, and when it ends.

    What begins again within REPORT_S is counted, and is in the next line.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._by_reason = {reason: _Drops() for reason in IN_WORDS}

    def begin(self, reason: str, message: str, with_traceback: bool) -> None:
        """Count one more."""
        with self._lock:
            drops, now_s = self._by_reason[reason], time.monotonic()
            drops.count += 1
            if now_s - drops.logged_s >= REPORT_S:
                so_far = f" ({drops.count} so far)" if drops.count > 1 else ""
                log.error("%s%s", message, so_far, exc_info=with_traceback)
                drops.is_open, drops.logged_s = True, now_s

    def end(self, *reasons: str) -> None:
        """Say that images are kept again, where the log says that they are not."""
        with self._lock:
            for reason in reasons:
                drops = self._by_reason[reason]
                if drops.is_open:
                    self._tell(reason, "images are kept again")

    def finish(self) -> None:
        """Say how many were dropped that the log has not reported."""
        with self._lock:
            for reason, drops in self._by_reason.items():
                if drops.count:
                    self._tell(reason, "the server stops")

    def _tell(self, reason: str, what: str) -> None:
        count = self._by_reason[reason].count
        log.warning("%s; not kept in %s: %d, since %s", what, self._folder, count, IN_WORDS[reason])
        self._by_reason[reason] = _Drops(logged_s=time.monotonic())
