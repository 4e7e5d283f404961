"""Signals that end a training: it saves first, and then leaves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from cnnlib.console import Reporter


@contextmanager
def stop_signals(reporter: Reporter) -> Iterator[threading.Event]:
    """Give an event that Ctrl-C or SIGTERM sets; a second signal acts as it always does."""
    stop = threading.Event()
    previous: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def on_signal(*_: object) -> None:
        stop.set()
        restore()
        with suppress(OSError):  # Ctrl-C ended the program that stderr goes to, too
            reporter.warn("stopping after this step, and saving; once more ends it at once")

    if threading.current_thread() is threading.main_thread():  # no other may set handlers
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        restore()
