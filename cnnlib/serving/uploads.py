"""Save the images that the API received: aside from the requests, whole files, up to a limit."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from cnnlib.dataset.labels import SEPARATOR, file_name
from cnnlib.errors import SampleError
from cnnlib.files import store_image
from cnnlib.paths import AnyPath, ProjectPath

log = logging.getLogger(__name__)

MAX_QUEUED_UPLOADS = 1000  # images between the requests and the disk, some 5 MB
RECOUNT_S = 60.0  # of a full folder: somebody may have moved files away
# Why an image is not saved; the values are labels of a metric.
FOLDER_FULL, QUEUE_FULL, FAILED = "full", "busy", "failed"


class _Upload(NamedTuple):
    data: bytes
    label: str
    serial: str


class UploadStore:
    """Write images to a folder, of at most `max_files` files, from a thread of its own.

    `on_drop` gets the reason for each image that is not saved: FOLDER_FULL, QUEUE_FULL or FAILED.
    The log says it once, until an image is saved again or the reason changes.
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
        self._on_drop = on_drop
        self._queue: queue.Queue[_Upload | None] = queue.Queue(MAX_QUEUED_UPLOADS)
        self._file_count: int | None = None  # in the folder, as far as this process knows
        self._counted_s = 0.0
        self._logged_reason = ""
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
        """Write the images that are queued, and end the thread."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (upload := self._queue.get()) is not None:
            try:
                self._write(upload)
            except Exception:  # the thread must go on
                self._on_drop(FAILED)
                log.exception("an image is not kept")

    def _write(self, upload: _Upload) -> None:
        if not self._has_room():
            self._drop(
                FOLDER_FULL,
                f"{self._folder} has {self._file_count} files, and api_image_limit is "
                f"{self._max_files}: images are not kept until files are moved away",
            )
            return
        names = (
            file_name(upload.label, self._suffix, serial, self._separator)
            for serial in (upload.serial, None)
        )
        try:
            store_image(upload.data, self._folder, *names)
        except SampleError as error:
            self._drop(FAILED, f"images are not kept: {error}")
            return
        self._file_count = (self._file_count or 0) + 1
        self._logged_reason = ""

    def _has_room(self) -> bool:
        now_s = time.monotonic()
        full = self._file_count is not None and self._file_count >= self._max_files
        if self._file_count is None or (full and now_s - self._counted_s > RECOUNT_S):
            self._counted_s = now_s
            try:
                with os.scandir(self._folder) as entries:
                    self._file_count = sum(1 for _ in entries)
            except OSError:  # such as a folder that is not made yet; writing reports the others
                self._file_count = 0
        return self._file_count < self._max_files

    def _drop(self, reason: str, message: str) -> None:
        self._on_drop(reason)
        if reason != self._logged_reason:
            self._logged_reason = reason
            log.error("%s", message)
