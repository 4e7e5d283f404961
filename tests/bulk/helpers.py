"""What several tests of bulk runs use."""

from __future__ import annotations

import csv
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnnlib.bulk import BulkResult, recognize_bulk
from cnnlib.bulk.workers import ThreadWorkers
from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.console import SilentReporter
from cnnlib.text_reader import TextReader


class Shades(TextReader):
    """Reads an image of 8x8 as 0 or 1, dark or bright; counts what it has read."""

    threads: int | None = None  # as many as there are cores

    def __init__(self) -> None:
        self.spec = CaptchaSpec(8, 8, 1, ("0", "1"))
        self.char_set = self.spec.char_set
        self.read_images, self._lock = 0, threading.Lock()

    def close(self) -> None:
        pass

    def _run(self, pixels: np.ndarray) -> np.ndarray:
        with self._lock:
            self.read_images += len(pixels)
        bright = pixels.mean(axis=(1, 2)) / 255  # [n]
        return np.stack([1 - bright, bright], axis=-1)[:, np.newaxis].astype(np.float32)


class Notes(SilentReporter):
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str = "") -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(text)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def run(
    reader: TextReader, inputs: Sequence[str | Path], output: Path, **options: Any
) -> BulkResult:
    options = {"reporter": SilentReporter()} | options
    threads = getattr(reader, "threads", None)
    return recognize_bulk(
        list(map(str, inputs)), output, lambda: ThreadWorkers(reader, threads), **options
    )


def rows_of(output: Path) -> list[dict[str, str]]:
    with open(output, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def names_of(output: Path) -> list[str]:
    return [row["file"] for row in rows_of(output)]
