"""Ask the recognition API about images, and fetch captchas."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry
from urllib3.exceptions import HTTPError, ReadTimeoutError

from cnnlib.client.proxies import is_near, new_session, proxy_hint
from cnnlib.errors import ApiError, CaptchaError, SampleError, ServiceError
from cnnlib.files import read_bytes
from cnnlib.threads import map_in_order

TIMEOUT_S = (3.0, 10.0)  # to connect, and between two pieces of an answer
RETRIES = 3
BACKOFF_S = 0.2  # before a second retry; doubled before each further one
MAX_IMAGE_BYTES = 5_000_000
PIECE_BYTES = 1 << 16  # that are read of an image at a time
START_API = (
    "start the API with `python3 webserver_recognize_api.py` (it takes some seconds) or name its "
    "address with --api-url"
)
START_PRACTICE_SERVER = (
    "start the practice server with `python3 webserver_captcha_image.py` or name another address "
    "with --remote-url"
)


@dataclass(frozen=True)
class Answer:
    """What the API said of an image, and how long it took."""

    value: str
    confidence: float | None  # None: an API of version 2, which gives none
    total_ms: float
    recognize_ms: float
    result: int | None = None  # of the sum that `value` is, where the API was told that it is one

    @property
    def request_ms(self) -> float:
        """What of the total was not recognition."""
        return self.total_ms - self.recognize_ms

    def __str__(self) -> str:
        confidence = "" if self.confidence is None else f"confidence {self.confidence:.3f}, "
        value = self.value if self.result is None else f"{self.value} -> {self.result}"
        return f"{value} ({confidence}{self.total_ms:.0f} ms)"


@dataclass(frozen=True)
class Captcha:
    """A fetched image, and its text where the server sent it."""

    image: bytes
    text: str | None


class Asked(Protocol):
    """What answers about images: the API, or a recogniser in this process."""

    def recognize(self, image: bytes, name: str = ..., *, raw: bool = ...) -> Answer: ...


class Client:
    """Ask one address from any number of threads; each keeps a connection of its own alive.

    A connection that fails, or a server that answers 503, is tried again `retries` times, an answer
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
        self.close()

    def close(self) -> None:
        for session in self._sessions:
            session.close()

    def recognize(self, image: bytes, name: str = "captcha", *, raw: bool = False) -> Answer:
        """Ask the recognition API about an image; raises ApiError where it refuses it.

        `raw` sends the bytes alone instead of a form (multipart).
        """
        kind = "application/octet-stream"
        name = name.encode("utf-8", "backslashreplace").decode()  # bytes that are not text
        content: dict[str, Any] = (
            {"data": image, "headers": {"Content-Type": kind}}
            if raw
            else {"files": {"image_file": (name, image, kind)}}
        )
        began_s = time.perf_counter()
        response = self._request("POST", START_API, **content)
        return self._answer(response, name, (time.perf_counter() - began_s) * 1000)

    def fetch(self, remedy: str = START_PRACTICE_SERVER) -> Captcha:
        """Get an image, with its text where the server sends X-Captcha-Text.

        `remedy` says in errors what to do.
        """
        with self._request("GET", remedy, stream=True) as response:
            if not response.ok:
                raise ServiceError(
                    f"{self.url} answered with status {response.status_code} instead of an image: "
                    f"{remedy}"
                )
            text = response.headers.get("X-Captcha-Text")
            return Captcha(self._image(response), None if text is None else unquote(text))

    def _answer(self, response: requests.Response, name: str, total_ms: float) -> Answer:
        try:
            body = response.json()
            if not response.ok:
                raise ApiError(
                    f"{self.url} refused {name} with error {body['error_code']}: {body['message']}"
                )
            confidence = body.get("confidence")
            return Answer(
                str(body["value"]),
                None if confidence is None else float(confidence),
                total_ms,
                min(float(body.get("speed_time(ms)", 0)), total_ms),
                body.get("result"),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ServiceError(
                f"{self.url} gave no answer of the recognition API (status "
                f"{response.status_code}): check the address"
            ) from error

    def _image(self, response: requests.Response) -> bytes:
        image = b""
        try:
            for piece in response.iter_content(PIECE_BYTES):
                image += piece
                if len(image) > MAX_IMAGE_BYTES:
                    raise ServiceError(
                        f"{self.url} sends more than {MAX_IMAGE_BYTES} bytes: it is not a captcha"
                    )
        except requests.RequestException as error:
            raise ServiceError(f"{self.url} broke off: {error}") from error
        return image

    def _request(self, method: str, remedy: str, **arguments: Any) -> requests.Response:
        try:
            return self._session().request(method, self.url, timeout=TIMEOUT_S, **arguments)
        except requests.ConnectionError as error:
            if isinstance(getattr((*error.args, None)[0], "reason", None), ReadTimeoutError):
                raise ServiceError(
                    f"{self.url} did not answer within {TIMEOUT_S[1]:g} s: is the server busy? "
                    f"Otherwise {remedy}"
                ) from error
            cause = re.sub(r"[\"')]+$", "", str(error)).rpartition(": ")[2]
            remedy = proxy_hint(self.url) or remedy
            raise ServiceError(f"no answer from {self.url} ({cause}): {remedy}") from error
        except (requests.RequestException, HTTPError, ValueError) as error:
            remedy = proxy_hint(self.url) or remedy
            raise ServiceError(f"{self.url} cannot be asked ({error}): {remedy}") from error

    def _session(self) -> requests.Session:
        """Return this thread's session."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            near = is_near(urlsplit(self.url).hostname or "")
            session = self._local.session = new_session(near)
            adapter = HTTPAdapter(max_retries=self._retry())
            for scheme in ("http://", "https://"):
                session.mount(scheme, adapter)
            self._sessions.append(session)
        return session

    def _retry(self) -> Retry:
        return Retry(
            self._retries,
            read=min(1, self._retries),
            status_forcelist=(503,),
            backoff_factor=BACKOFF_S,
            allowed_methods=None,  # asking again does no harm, also with POST
            raise_on_status=False,
            respect_retry_after_header=False,  # a server may not say how long we wait
        )


# --- many images ---


def recognize_all(
    client: Asked, images: Iterable[Path], concurrency: int
) -> Iterator[tuple[Path, bytes, Answer | CaptchaError]]:
    """Ask about image files, `concurrency` at a time; yield answers in their order, or errors.

    These are of files that cannot be read and images that are refused. Raises ServiceError where
    the server is not there.
    """

    def ask(image: Path) -> tuple[Path, bytes, Answer | CaptchaError]:
        data = b""
        try:
            data = read_bytes(image)
            return image, data, client.recognize(data, image.name)
        except (SampleError, ApiError) as error:
            return image, data, error

    # Not all of a large folder in memory.
    return map_in_order(ask, images, threads=concurrency, ahead=2 * concurrency)


def tally(results: Sequence[bool | None], asked: int) -> str:
    """Say how many answers were right, of those whose text is known, and how many are missing."""
    known = [right for right in results if right is not None]
    parts = [f"{sum(known)} of {len(known)} right"] if known else []
    if len(known) < len(results):
        parts.append(f"{len(results) - len(known)} answered, their text is not known")
    if len(results) < asked:
        parts.append(f"{asked - len(results)} without an answer")
    return ", ".join(parts) or "no image"
