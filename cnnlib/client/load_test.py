"""Measure how long the recognition API takes, under the load of many requests."""

from __future__ import annotations

import csv
import itertools
import math
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from cnnlib.client.api_client import Answer, Asked, Client
from cnnlib.errors import ServiceError
from cnnlib.files import replacing
from cnnlib.paths import AnyPath

TIMES = ("total_ms", "recognize_ms", "request_ms")
CSV_COLUMNS = ("index", "value", "time", *TIMES)


@dataclass(frozen=True)
class Trial:
    """One request of a load test: an answer or a failure."""

    index: int
    began_s: float  # seconds since a moment that all trials share
    ended_s: float
    clock: str
    answer: Answer | None
    failure: ServiceError | None = None


@dataclass(frozen=True)
class Spread:
    """Mean and percentiles of a number of times."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float


@dataclass(frozen=True)
class LoadReport:
    """The result of a load test; `times` has a spread for each of TIMES, in milliseconds."""

    answered: int
    failed: int
    requests_per_s: float
    times: Mapping[str, Spread]


# --- requests ---


def load_test(
    url: str,
    images: Sequence[bytes],
    times: int | None,
    concurrency: int = 1,
    *,
    duration_s: float = math.inf,
    raw: bool = False,
    asked: Asked | None = None,
) -> Iterator[Trial]:
    """Ask about the images, one after another, again and again; yield each trial when it is done.

    Ends after `times` requests (None: no end) or `duration_s`. Trials are counted from 1. A first
    request, which is not counted, raises ServiceError where the server or the first image is at
    fault. The others are not repeated when they fail. `asked` answers in the place of the API.
    """
    with ExitStack() as resources:
        (asked or resources.enter_context(Client(url))).recognize(images[0], raw=raw)
        asked = asked or resources.enter_context(Client(url, retries=0))
        pool = resources.enter_context(ThreadPoolExecutor(concurrency))
        load = _Load(asked, images, times, duration_s, raw)
        futures = [pool.submit(load.send) for _ in range(concurrency)]
        try:
            for _ in range(concurrency):
                yield from iter(load.trials.get, None)
        finally:  # also when the caller stops early
            load.stop.set()
        for future in futures:
            future.result()


class _Load:
    """What the threads of one load test share; `trials` gets None at the end of each thread."""

    def __init__(
        self,
        client: Asked,
        images: Sequence[bytes],
        times: int | None,
        duration_s: float,
        raw: bool,
    ) -> None:
        self._client, self._images, self._raw = client, images, raw
        self._indices = itertools.islice(itertools.count(1), times)
        self._ends_s = time.perf_counter() + duration_s
        self.trials: queue.SimpleQueue[Trial | None] = queue.SimpleQueue()
        self.stop = threading.Event()

    def send(self) -> None:
        """Send one request after another, until the end of the test."""
        try:
            while not self.stop.is_set() and time.perf_counter() < self._ends_s:
                index = next(self._indices, None)
                if index is None:
                    return
                self.trials.put(self._trial(index))
        finally:
            self.trials.put(None)

    def _trial(self, index: int) -> Trial:
        image = self._images[(index - 1) % len(self._images)]
        answer, failure, began_s = None, None, time.perf_counter()
        try:
            answer = self._client.recognize(image, raw=self._raw)
        except ServiceError as error:
            failure = error
        ended_s = time.perf_counter()
        return Trial(index, began_s, ended_s, time.strftime("%H:%M:%S"), answer, failure)


# --- results ---


def summarize(trials: Sequence[Trial]) -> LoadReport:
    """Return the result of at least one trial; those that failed have no times."""
    answers = [trial.answer for trial in trials if trial.answer is not None]
    seconds = max(trial.ended_s for trial in trials) - min(trial.began_s for trial in trials)
    return LoadReport(
        answered=len(answers),
        failed=len(trials) - len(answers),
        requests_per_s=len(answers) / seconds,
        times={name: spread([getattr(answer, name) for answer in answers]) for name in TIMES},
    )


def spread(values: Sequence[float]) -> Spread:
    """Return mean and percentiles, linear between neighbours; NaN where there are no values."""
    if not values:
        return Spread(*[math.nan] * 5)
    ordered = sorted(values)

    def percentile(fraction: float) -> float:
        place = (len(ordered) - 1) * fraction
        low = ordered[math.floor(place)]
        return low + (ordered[math.ceil(place)] - low) * (place % 1)

    return Spread(math.fsum(ordered) / len(ordered), *map(percentile, (0.5, 0.9, 0.95, 0.99)))


def write_csv(trials: Iterable[Trial], path: AnyPath) -> None:
    """Write the answered trials in the order of their requests, replacing the file as a whole."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(CSV_COLUMNS)
        for trial in sorted(trials, key=lambda trial: trial.index):
            if trial.answer is not None:
                times = (round(getattr(trial.answer, name), 1) for name in TIMES)
                rows.writerow((trial.index, trial.answer.value, trial.clock, *times))
