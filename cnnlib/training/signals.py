"""Signals that end a training: it saves first, and then leaves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# SIGHUP comes when an SSH session or a terminal closes; Windows has none.
STOP_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C, SIGTERM or SIGHUP sets; a second signal acts as it always does.

    A signal that is ignored stays ignored, as SIGHUP below nohup. The handler prints nothing: it
    may have interrupted a print.
    """
    stop = threading.Event()
    previous: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def on_signal(*_: object) -> None:
        stop.set()
        restore()

    if threading.current_thread() is threading.main_thread():  # no other may set handlers
        for number in STOP_SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                previous[number] = signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        restore()
