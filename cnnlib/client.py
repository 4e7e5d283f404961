"""The calling side: fetch captchas, ask the recognition API, and measure how long it takes."""

from __future__ import annotations

import csv
import itertools
import math
import queue
import re
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry
from urllib3.exceptions import HTTPError, ReadTimeoutError

from cnnlib.config import AnyPath
from cnnlib.errors import ApiError, ServiceError
from cnnlib.files import read_bytes, replacing

TIMEOUT_S = (3.0, 10.0)  # to connect, and between two pieces of an answer
RETRIES = 3
BACKOFF_S = 0.2  # before a second retry; doubled before each further one
MAX_IMAGE_BYTES = 5_000_000
LOOPBACK = ("127.0.0.1", "localhost", "::1")
TIMES = ("total_ms", "recognize_ms", "request_ms")
CSV_COLUMNS = ("index", "value", "time", *TIMES)


@dataclass(frozen=True)
class Answer:
    """What the API said of an image, and how long it took (specification 3.2)."""

    value: str
    confidence: float | None
    total_ms: float
    recognize_ms: float

    @property
    def request_ms(self) -> float:
        """What of the total was not recognition."""
        return self.total_ms - self.recognize_ms

    def __str__(self) -> str:
        sure = "" if self.confidence is None else f"confidence {self.confidence:.3f}, "
        return f"{self.value} ({sure}{self.total_ms:.0f} ms)"


@dataclass(frozen=True)
class Captcha:
    """A fetched image, and its text where the server told it."""

    image: bytes
    text: str | None


class Client:
    """Ask one address from any number of threads; each keeps a connection of its own alive.

    A connection that fails, or a server that says 503, is tried again `retries` times, an answer
    that does not come, once. Every failure is a ServiceError.
    """

    def __init__(self, url: str, *, retries: int = RETRIES) -> None:
        self.url = url
        self._retries = retries
        self._local = threading.local()
        self._sessions: list[requests.Session] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        for session in self._sessions:
            session.close()

    def recognize(self, image: bytes, name: str = "captcha", *, raw: bool = False) -> Answer:
        """Ask the recognition API about an image; raises ApiError where it refuses it.

        `raw` sends the bytes alone instead of a form (multipart).
        """
        content: dict[str, Any] = (
            {"data": image, "headers": {"Content-Type": "application/octet-stream"}} if raw else
            {"files": {"image_file": (name, image, "application/octet-stream")}})
        began = time.perf_counter()
        response = self._request("POST", "start the API with `python3 webserver_recognize_api.py` "
                                 "(it takes some seconds) or name its address with --api-url",
                                 **content)
        total_ms = (time.perf_counter() - began) * 1000
        try:
            body = response.json()
            if not response.ok:
                raise ApiError(f"{self.url} refused {name} with error {body['error_code']}: "
                               f"{body['message']}")
            confidence = body.get("confidence")
            return Answer(str(body["value"]), None if confidence is None else float(confidence),
                          total_ms, min(float(body.get("speed_time(ms)", 0)), total_ms))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ServiceError(f"{self.url} gave no answer of the recognition API (status "
                               f"{response.status_code}): check the address") from error

    def fetch(self) -> Captcha:
        """Get an image, with its text where the server sends X-Captcha-Text."""
        remedy = ("start the practice server with `python3 webserver_captcha_image.py` or name "
                  "another address with --remote-url")
        with self._request("GET", remedy, stream=True) as response:
            if not response.ok:
                raise ServiceError(f"{self.url} answered with status {response.status_code} "
                                   f"instead of an image: {remedy}")
            image = b""
            try:
                for piece in response.iter_content(1 << 16):
                    image += piece
                    if len(image) > MAX_IMAGE_BYTES:
                        raise ServiceError(f"{self.url} sends more than {MAX_IMAGE_BYTES} bytes: "
                                           "it is no captcha")
            except requests.RequestException as error:
                raise ServiceError(f"{self.url} broke off: {error}") from error
            text = response.headers.get("X-Captcha-Text")
            return Captcha(image, None if text is None else unquote(text))

    def _request(self, method: str, remedy: str, **arguments: Any) -> requests.Response:
        try:
            return self._session().request(method, self.url, timeout=TIMEOUT_S, **arguments)
        except requests.ConnectionError as error:
            if isinstance(getattr((*error.args, None)[0], "reason", None), ReadTimeoutError):
                raise ServiceError(f"{self.url} did not answer within {TIMEOUT_S[1]:g} s: is the "
                                   f"server busy? Otherwise {remedy}") from error
            cause = re.sub(r"[\"']\)\)$", "", str(error)).rpartition(": ")[2]
            raise ServiceError(f"no answer from {self.url} ({cause}): {remedy}") from error
        except (requests.RequestException, HTTPError, ValueError) as error:
            raise ServiceError(f"{self.url} cannot be asked ({error}): {remedy}") from error

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            # A proxy of the environment cannot reach a server on this machine.
            session.trust_env = urlsplit(self.url).hostname not in LOOPBACK
            # Asking again does no harm, also with POST. A server may not say how long we wait.
            retry = Retry(self._retries, read=min(1, self._retries), status_forcelist=(503,),
                          backoff_factor=BACKOFF_S, allowed_methods=None, raise_on_status=False,
                          respect_retry_after_header=False)
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=retry))
            self._sessions.append(session)
        return session


def tally(results: Sequence[bool | None], asked: int) -> str:
    """Say how many answers were right, of those whose text is known, and how many are missing."""
    known = [right for right in results if right is not None]
    parts = [f"{sum(known)} of {len(known)} right"] if known else []
    if len(known) < len(results):
        parts.append(f"{len(results) - len(known)} answered, their text is not known")
    if len(results) < asked:
        parts.append(f"{asked - len(results)} without an answer")
    return ", ".join(parts) or "no image"


def recognize_all(client: Client, images: Iterable[Path],
                  concurrency: int) -> Iterator[tuple[Path, bytes, Answer | ApiError]]:
    """Ask about image files, so many at a time; yield each answer or refusal in their order.

    Raises SampleError for a file that cannot be read, ServiceError where the server is not there.
    """
    def ask(image: Path) -> tuple[Path, bytes, Answer | ApiError]:
        data = read_bytes(image)
        try:
            return image, data, client.recognize(data, image.name)
        except ApiError as error:
            return image, data, error

    waiting: deque[Future[tuple[Path, bytes, Answer | ApiError]]] = deque()
    with ThreadPoolExecutor(concurrency) as pool:
        try:
            for image in images:
                waiting.append(pool.submit(ask, image))
                if len(waiting) >= 2 * concurrency:  # not all of a large folder in memory
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


# Load test


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


def load_test(url: str, images: Sequence[bytes], times: int | None, concurrency: int = 1, *,
              duration_s: float = math.inf, raw: bool = False) -> Iterator[Trial]:
    """Ask about the images, one after another, again and again; yield each trial when it is done.

    Ends after so many `times` (None: no end) or `duration_s`. Trials are counted from 1. A first
    request, which is not counted, raises ServiceError where the server or the first image is at
    fault. The others are not repeated when they fail.
    """
    with Client(url) as client:
        client.recognize(images[0], raw=raw)
    indices = itertools.count(1)
    ends_s = time.perf_counter() + duration_s
    done: queue.SimpleQueue[Trial | None] = queue.SimpleQueue()
    stop = threading.Event()

    def trial(client: Client, index: int, image: bytes) -> Trial:
        answer, failure, began_s = None, None, time.perf_counter()
        try:
            answer = client.recognize(image, raw=raw)
        except ServiceError as error:
            failure = error
        return Trial(index, began_s, time.perf_counter(), time.strftime("%H:%M:%S"), answer,
                     failure)

    def ask(client: Client) -> None:
        try:
            while not stop.is_set() and time.perf_counter() < ends_s:
                index = next(indices)
                if times is not None and index > times:
                    return
                done.put(trial(client, index, images[(index - 1) % len(images)]))
        finally:
            done.put(None)

    with Client(url, retries=0) as client, ThreadPoolExecutor(concurrency) as pool:
        futures = [pool.submit(ask, client) for _ in range(concurrency)]
        try:
            for _ in range(concurrency):
                while (result := done.get()) is not None:
                    yield result
        finally:  # also when the caller stops early
            stop.set()
        for future in futures:
            future.result()


def summarize(trials: Sequence[Trial]) -> LoadReport:
    """Return what a load test gave, of one trial at least; one that failed has no times."""
    answers = [trial.answer for trial in trials if trial.answer is not None]
    seconds = max(trial.ended_s for trial in trials) - min(trial.began_s for trial in trials)
    return LoadReport(
        len(answers), len(trials) - len(answers), len(answers) / seconds,
        {name: spread([getattr(answer, name) for answer in answers]) for name in TIMES})


def spread(values: Sequence[float]) -> Spread:
    """Return mean and percentiles, linear between neighbours; NaN where there are no values."""
    if not values:
        return Spread(*[math.nan] * 5)
    ordered = sorted(values)

    def percentile(share: float) -> float:
        place = (len(ordered) - 1) * share
        low = ordered[math.floor(place)]
        return low + (ordered[math.ceil(place)] - low) * (place % 1)

    return Spread(math.fsum(ordered) / len(ordered), *map(percentile, (0.5, 0.9, 0.95, 0.99)))


def write_csv(trials: Iterable[Trial], path: AnyPath) -> None:
    """Write the answered trials in the order they were asked, replacing the file as a whole."""
    with replacing(path) as temporary, \
            open(temporary, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(CSV_COLUMNS)
        for trial in sorted(trials, key=lambda trial: trial.index):
            if trial.answer is not None:
                rows.writerow((trial.index, trial.answer.value, trial.clock,
                               *(round(getattr(trial.answer, name), 1) for name in TIMES)))
