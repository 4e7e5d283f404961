"""Images from the network: few at once, with a pause for each host, of bounded size and time."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from cnnlib.bulk.limits import MAX_IMAGE_BYTES, TOO_LARGE
from cnnlib.client.proxies import is_near, new_session
from cnnlib.errors import SampleError
from cnnlib.version import __version__

CONNECTIONS = 4  # at a time, to all hosts together
PAUSE_S = 0.1  # between two requests to a host
TIMEOUT_S = (5.0, 10.0)  # to connect, and between two pieces
WITHIN_S = 30.0  # an image has to be there
TRIES = 3
BACKOFF_S = 1.0  # before a second try; doubled before the next one
LONGEST_WAIT_S = 30.0  # that a server may ask for
BUSY = (429, 500, 502, 503, 504)  # statuses that may be others when asked again
PIECE_BYTES = 1 << 16
SMALL_PIECE_BYTES = 256  # where urllib3 cannot say what has come so far, below version 2.1
REDIRECTS = 5
USER_AGENT = f"cnn_captcha/{__version__} (recognize_batch.py; python-requests)"
KNOWN_HOSTS = 1000


class DownloadsStoppedError(Exception):
    """The program is ending."""


class _TryAgainError(Exception):
    """A try that failed, and how long the server asks to wait."""

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class Downloads:
    """Fetches images for any number of threads; `stop` ends all of it soon."""

    def __init__(self, pause_s: float = PAUSE_S, backoff_s: float = BACKOFF_S) -> None:
        self._pause_s, self._backoff_s = pause_s, backoff_s
        self._pool = ThreadPoolExecutor(CONNECTIONS, "download")
        self._local = threading.local()
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}  # when each host may be asked
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def fetch_all(self, urls: Sequence[str]) -> list[bytes | SampleError]:
        """Return the content of each, or why there is none."""
        return list(self._pool.map(self._fetch_or_error, urls))

    def _fetch_or_error(self, url: str) -> bytes | SampleError:
        try:
            return self._fetch(url)
        except SampleError as error:
            return error

    def _fetch(self, url: str) -> bytes:
        wait_s, why = self._backoff_s, ""
        for number in range(TRIES):
            try:
                self._take_turn(urlsplit(url).hostname or "")
                return self._try(url)
            except _TryAgainError as error:
                why = str(error)
                if number + 1 < TRIES:
                    self._wait(max(wait_s, min(error.wait_s, LONGEST_WAIT_S)))
                wait_s *= 2
            except (requests.RequestException, HTTPError, ValueError) as error:
                raise SampleError(f"cannot be fetched ({error})") from error
        raise SampleError(f"cannot be fetched ({why}; {TRIES} tries)")

    def _take_turn(self, host: str) -> None:
        with self._lock:
            now_s = time.monotonic()
            if len(self._next) > KNOWN_HOSTS:
                self._next = {name: at_s for name, at_s in self._next.items() if at_s > now_s}
            at_s = max(now_s, self._next.get(host, 0.0))
            self._next[host] = at_s + self._pause_s
        self._wait(at_s - now_s)

    def _wait(self, seconds: float) -> None:
        if self._stopped.wait(seconds) if seconds > 0 else self._stopped.is_set():
            raise DownloadsStoppedError

    def _try(self, url: str) -> bytes:
        ends_s = time.monotonic() + WITHIN_S
        try:
            with self._session(url).get(url, timeout=TIMEOUT_S, stream=True) as response:
                if response.status_code in BUSY:
                    asked_s = response.headers.get("Retry-After", "")
                    raise _TryAgainError(
                        f"status {response.status_code}",
                        float(asked_s) if asked_s.isdecimal() else 0.0,
                    )
                if not response.ok:
                    raise SampleError(f"cannot be fetched (status {response.status_code})")
                return self._body(response, ends_s)
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _TryAgainError(_cause(error)) from error
        except (requests.exceptions.ChunkedEncodingError, HTTPError) as error:
            raise _TryAgainError("the answer broke off") from error

    def _body(self, response: requests.Response, ends_s: float) -> bytes:
        data = bytearray()
        expected = response.headers.get("Content-Length", "")
        if expected.isdecimal() and int(expected) > MAX_IMAGE_BYTES:
            raise SampleError(TOO_LARGE)
        while piece := _next_piece(response):
            data += piece
            if len(data) > MAX_IMAGE_BYTES:
                raise SampleError(TOO_LARGE)
            if time.monotonic() > ends_s:
                raise SampleError(f"did not come within {WITHIN_S:g} s")
            if self._stopped.is_set():
                raise DownloadsStoppedError
        return bytes(data)

    def _session(self, url: str) -> requests.Session:
        """Return this thread's session for near hosts, which need no proxy, or for others."""
        near = _is_near(urlsplit(url).hostname or "")
        sessions: dict[bool, requests.Session] = self._local.__dict__.setdefault("sessions", {})
        if near not in sessions:
            session = sessions[near] = new_session(near)
            session.headers["User-Agent"] = USER_AGENT
            session.max_redirects = REDIRECTS
        return sessions[near]


_is_near = functools.lru_cache(maxsize=KNOWN_HOSTS)(is_near)


def _next_piece(response: requests.Response) -> bytes:
    """Return what has come so far, so that a server cannot make a piece last."""
    if hasattr(response.raw, "read1"):
        return bytes(response.raw.read1(PIECE_BYTES, decode_content=True))
    return bytes(response.raw.read(SMALL_PIECE_BYTES, decode_content=True))


def _cause(error: Exception) -> str:
    """Return the last part of what requests says: the rest are names of objects."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    return str(error).rpartition(": ")[2].rstrip("\"')") or type(error).__name__
