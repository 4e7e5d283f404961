"""When a recogniser loads weights again that have changed on the disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Between two attempts to load the same newer weights; doubled after each.
RETRY_S, MAX_RETRY_S = 2.0, 60.0


class Reloads:
    """Attempts to load what took the place of the weights named `current`."""

    def __init__(self, current: str) -> None:
        self._current = self._attempted = current
        self._retry_at_s = self._retry_s = 0.0

    def load(self, newest: str, load: Callable[[], T]) -> T | None:
        """Return what `load` returns where `newest` names other weights than the current ones.

        Passes on what it raises. The same weights are tried again only after a pause, in which this
        returns None: what failed may pass, such as a file that is half copied.
        """
        if newest == self._current:
            return None
        if newest != self._attempted:
            self._attempted, self._retry_s = newest, RETRY_S
        elif time.monotonic() < self._retry_at_s:
            return None
        try:
            return load()
        finally:
            self._retry_at_s = time.monotonic() + self._retry_s
            self._retry_s = min(2 * self._retry_s, MAX_RETRY_S)
