"""Who recognises the images of a bulk run: threads of this process."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol

import numpy as np

from cnnlib.bulk.answers import Row
from cnnlib.bulk.downloads import Downloads
from cnnlib.bulk.limits import MAX_IMAGE_BYTES, TOO_LARGE
from cnnlib.bulk.order import Item
from cnnlib.config import SampleConfig
from cnnlib.cores import usable_cores
from cnnlib.dataset.images import read_pixels
from cnnlib.errors import SampleError
from cnnlib.files import reason
from cnnlib.runtimes import load_recognizer
from cnnlib.text_reader import Prediction, TextReader

BINARY = getattr(os, "O_BINARY", 0)  # Windows would change line ends
# Of what a recogniser says of its model.
IDENTITY = ("network", "step", "accuracy", "precision", "test_time_augmentation")


class Workers(Protocol):
    """Recognise images for as many threads at a time as `threads` says."""

    threads: int

    def identity(self) -> dict[str, Any]:
        """Return what another model would have different, as JSON values."""
        ...

    def recognize(self, items: Sequence[Item]) -> list[Row]: ...

    def stop(self) -> None:
        """Let `recognize` end soon, in whatever way; none is called any more."""
        ...

    def close(self) -> None:
        """Free the models, when no thread is recognising."""
        ...


class ThreadWorkers:
    """A recogniser of this process: each thread decodes some images, and runs the network.

    Both are done without Python's lock for the most part, so that all cores are busy.
    """

    def __init__(self, reader: TextReader, threads: int | None = None) -> None:
        self._reader, self._owns_reader = reader, False
        self.threads = threads or usable_cores()  # more only wait for Python's lock
        self._downloads = Downloads()

    @classmethod
    def from_config(cls, config: SampleConfig, threads: int | None = None) -> ThreadWorkers:
        workers = cls(load_recognizer(config), threads)
        workers._owns_reader = True
        return workers

    def identity(self) -> dict[str, Any]:
        return identity_of(self._reader)

    def recognize(self, items: Sequence[Item]) -> list[Row]:
        return read_items(self._reader, fetched(items, self._downloads))

    def stop(self) -> None:
        self._downloads.stop()

    def close(self) -> None:
        if self._owns_reader:
            self._reader.close()


def identity_of(reader: TextReader) -> dict[str, Any]:
    described: dict[str, Any] = getattr(reader, "describe", dict)()
    spec = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(reader.spec).items()
    }
    return {**{name: described.get(name) for name in IDENTITY}, **spec}


def fetched(items: Sequence[Item], downloads: Downloads) -> list[Item]:
    """Return the items with the content of those that are URLs."""
    urls = [item.path for item in items if item.is_url]
    contents = iter(downloads.fetch_all(urls) if urls else ())

    def fill(item: Item) -> Item:
        if not item.is_url:
            return item
        content = next(contents)
        if isinstance(content, SampleError):
            return replace(item, error=str(content))
        return replace(item, data=content)

    return [fill(item) for item in items]


def read_items(reader: TextReader, items: Sequence[Item]) -> list[Row]:
    """Return the answer to each image, in their order; files are read here, not URLs."""
    rows: list[Row | None] = []
    pixels: list[np.ndarray] = []
    for item in items:
        try:
            pixels.append(_pixels(item, reader))
            rows.append(None)
        except SampleError as error:
            rows.append(Row(item.name, error=str(error)))
        except Exception as error:  # of a decoder: one image must not end a run of millions
            rows.append(Row(item.name, error=f"cannot be decoded ({error!r})"))
    # [n, H, W(, 3)]
    answers = iter(reader.predict_pixels(np.stack(pixels)) if pixels else ())
    return [row or _row(item, next(answers)) for item, row in zip(items, rows, strict=True)]


def _row(item: Item, answer: Prediction) -> Row:
    return Row(item.name, answer.text, answer.confidence)


def _pixels(item: Item, reader: TextReader) -> np.ndarray:
    if item.error:
        raise SampleError(item.error)
    data = _content(item.path) if item.data is None else item.data
    return read_pixels(data, reader.spec)


def _content(path: str) -> bytes:
    """Return the bytes of a file; raises SampleError where it is none, or too large."""
    try:
        # Not open(): it takes as long as all the rest. A pipe would be waited for.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | BINARY)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise SampleError("is not a file")
            if status.st_size > MAX_IMAGE_BYTES:
                raise SampleError(TOO_LARGE)
            return _read(descriptor, status.st_size)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise SampleError(f"cannot be read: {why}") from error


def _read(descriptor: int, size: int) -> bytes:
    """Return the content of a file of this size; network file systems may give less at a time."""
    data = os.read(descriptor, size)
    while len(data) < size and (more := os.read(descriptor, size - len(data))):
        data += more
    return data


OpenWorkers = Callable[[], Workers]
