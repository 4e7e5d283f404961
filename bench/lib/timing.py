"""Times of calls; what is compared runs in turn, so that noise meets all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

RUNS = 5
CALLS = 200


def median_ms(*calls: Callable[[], object]) -> list[float]:
    """Return the median time of each call."""
    runs: list[list[float]] = [[] for _ in calls]
    for _ in range(RUNS):
        for call, times in zip(calls, runs, strict=True):
            times.append(statistics.median(seconds_of(call) for _ in range(CALLS)))
    return [statistics.median(times) * 1000 for times in runs]


def seconds_of(call: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    call()
    return time.perf_counter() - began_s
