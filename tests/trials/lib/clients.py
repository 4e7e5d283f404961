"""Clients for the trials, that judge each answer, and what nginx wrote down meanwhile."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from bench.lib.load import CONTENT_TYPE

NGINX_PORT = 80
TOLERANCE = 2e-3  # of a confidence: batches of other sizes add up in another order
MOST_S = 600.0  # that clients ask
CLIENT_S = 30.0  # that a client waits


@dataclass(frozen=True)
class Example:
    """An image, its text, and how sure the old and the new model are of it."""

    body: bytes
    text: str
    old: float
    new: float


@dataclass
class Answers:
    """What the clients of one step got."""

    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    new: list[bool] = field(default_factory=list)  # whether of the new model


class Clients:
    """Threads that ask nginx without a pause, each over its own connection."""

    def __init__(self, examples: Sequence[Example], count: int) -> None:
        self._examples, self.count, self.answers = examples, count, Answers()
        self._lock = threading.Lock()
        self._stop, self._until_s = threading.Event(), time.monotonic() + MOST_S
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(count)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def next_step(self) -> Answers:
        """Return what was answered since the last call."""
        with self._lock:
            done, self.answers = self.answers, Answers()
            return done

    def _ask(self, number: int) -> None:
        connection = HTTPConnection("127.0.0.1", NGINX_PORT, timeout=CLIENT_S)
        while not self._stop.is_set() and time.monotonic() < self._until_s:
            number += 1
            example = self._examples[number % len(self._examples)]
            began_s = time.perf_counter()
            try:
                connection.request("POST", "/b", example.body, {"Content-Type": CONTENT_TYPE})
                answer = connection.getresponse()
                status, body = answer.status, answer.read()
                problem, is_new = judge(example, status, body)
            except (OSError, HTTPException, ValueError, KeyError) as error:
                connection.close()
                problem, is_new = f"{type(error).__name__}: {error}", False
            with self._lock:
                self.answers.seconds.append(time.perf_counter() - began_s)
                self.answers.new.append(is_new)
                self.answers.wrong += [problem] if problem else []
        connection.close()


def judge(example: Example, status: int, body: bytes) -> tuple[str, bool]:
    """Return what is wrong with an answer, "" for nothing, and whether the new model gave it."""
    if status != 200:
        return f"status {status}: {body[:200]!r}", False
    answer = json.loads(body)
    is_new = abs(answer["confidence"] - example.new) < abs(answer["confidence"] - example.old)
    expected = example.new if is_new else example.old
    if answer["value"] != example.text or abs(answer["confidence"] - expected) > TOLERANCE:
        return f"{answer}, not {example.text} with {example.old} or {example.new}", is_new
    return "", is_new


@dataclass
class Passed:
    """Requests that nginx answered: their number for each machine, and those passed on."""

    by_machine: Counter[str]
    retried: int
    failed: int


def read_log(log: Path, offset: int) -> tuple[Passed, int]:
    """Read the whole lines after an offset; return what they say, and the next offset."""
    with log.open("rb") as file:
        file.seek(offset)
        data = file.read()
    data = data[: data.rfind(b"\n") + 1]
    passed = Passed(Counter(), 0, 0)
    for line in data.decode().splitlines():
        _, status, _, *rest = line.replace(", ", ",").split()
        machines = rest[0].split(",")
        passed.retried += len(machines) > 1
        passed.failed += status != "200"
        last = machines[-1].partition(":")[0]
        passed.by_machine[last] += status == "200"
    return passed, offset + len(data)
