"""Keep what the API received: beside the requests, whole files, and not without end."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from cnnlib import encoding
from cnnlib.config import AnyPath, ProjectPath
from cnnlib.errors import SampleError

log = logging.getLogger(__name__)

MOST_WAITING = 1000  # images, some 5 MB, between the requests and the disk
RECOUNT_S = 60.0  # whether somebody has made room
FULL, BUSY, FAILED = "full", "busy", "failed"  # why an image is not kept


class _Upload(NamedTuple):
    data: bytes
    label: str
    serial: str


class Keeper:
    """Write images to a folder, of at most `most` files, from a thread of its own.

    `on_loss` is told why an image is not kept: "full", "busy" or "failed"; the log says it too,
    once for each time that it begins.
    """

    def __init__(self, folder: AnyPath, suffix: str, most: int,
                 on_loss: Callable[[str], None] = lambda reason: None,
                 separator: str = encoding.SEPARATOR) -> None:
        self._folder, self._suffix, self._most = ProjectPath(folder), suffix, most
        self._separator = separator
        self._on_loss = on_loss
        self._queue: queue.Queue[_Upload | None] = queue.Queue(MOST_WAITING)
        self._files: int | None = None  # in the folder, as far as this process knows
        self._counted_s = 0.0
        self._trouble = ""  # as the log has it
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def keep(self, data: bytes, label: str, serial: str) -> None:
        """Have an image written as label_serial.suffix; returns at once."""
        try:
            self._queue.put_nowait(_Upload(data, label, serial))
        except queue.Full:
            self._lose(BUSY, f"the disk of {self._folder} is too slow: images are not kept")

    def close(self) -> None:
        """Write what waits, and end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (upload := self._queue.get()) is not None:
            try:
                self._write(upload)
            except Exception:  # the thread must live on
                self._on_loss(FAILED)
                log.exception("an image is not kept")

    def _write(self, upload: _Upload) -> None:
        if not self._has_room():
            self._lose(FULL, f"{self._folder} has {self._files} files, and api_image_limit is "
                             f"{self._most}: images are not kept until files are moved away")
            return
        try:
            encoding.store_image(upload.data, self._folder, upload.label, self._suffix,
                                 upload.serial, self._separator)
        except SampleError as error:
            self._lose(FAILED, f"images are not kept: {error}")
            return
        self._files = (self._files or 0) + 1
        self._trouble = ""

    def _has_room(self) -> bool:
        now = time.monotonic()
        full = self._files is not None and self._files >= self._most
        if self._files is None or (full and now - self._counted_s > RECOUNT_S):
            self._counted_s = now
            try:
                with os.scandir(self._folder) as entries:
                    self._files = sum(1 for _ in entries)
            except OSError:  # not there yet, say; writing says what is wrong
                self._files = 0
        return self._files < self._most

    def _lose(self, reason: str, message: str) -> None:
        self._on_loss(reason)
        if reason != self._trouble:
            self._trouble = reason
            log.error("%s", message)
