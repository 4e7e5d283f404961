"""The HTTP side: the wire format of the APIs, their errors, and the server below them.

Recognisers and the generator are passed in, so that nothing here needs TensorFlow.
"""

from __future__ import annotations

import logging
import random
import re
import secrets
import signal
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import waitress
from flask import Flask, Response, current_app, g, request
from waitress import wasyncore
from werkzeug.exceptions import BadRequest, HTTPException, NotFound, ServiceUnavailable

from cnnlib import encoding
from cnnlib.config import AnyPath, CaptchaConfig
from cnnlib.errors import (
    CaptchaError,
    ConfigError,
    ImageFormatError,
    ImageSizeError,
    ImageTooLargeError,
    SampleError,
)

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

LOCALHOST = "127.0.0.1"
MAX_BYTES = 5_000_000  # of a request; a captcha has some 5,000
MAX_RECOGNITIONS = 16  # at a time; a request beyond them is refused, not queued
# The spare threads refuse. waitress itself would queue without a bound.
THREADS = MAX_RECOGNITIONS + 16
# waitress refuses what is larger in plain text, before the application could in JSON.
MAX_BUFFERED_BYTES = 64 << 20
CONNECTIONS = 500  # select() on Windows has room for 512; many systems allow 1,024 open files
DRAIN_S = 8.0  # for answers in flight on stopping; Docker and systemd give at least 10

FAULT = "1099"
ERROR_CODES = {400: "1001", 415: "1002", 422: "1003", 413: "1004", 503: "1005", 404: "1006",
               401: "1007", 405: "1008"}
STATUS_OF: dict[type[Exception], int] = {
    ImageFormatError: 415, ImageSizeError: 422, ImageTooLargeError: 413}


class PredictionLike(Protocol):
    @property
    def text(self) -> str: ...

    @property
    def confidence(self) -> float: ...


class RecognizerLike(Protocol):
    """What is served; `predict` is called from many threads at a time."""

    def predict(self, images: Sequence[Image.Image], /) -> Sequence[PredictionLike]: ...


class GeneratorLike(Protocol):
    """What draws the captchas; called from many threads at a time."""

    config: CaptchaConfig

    def random_text(self, rng: random.Random, /) -> str: ...

    def draw(self, text: str, /) -> Image.Image: ...

    def encode(self, image: Image.Image, /) -> bytes: ...


def create_recognize_app(recognizers: Mapping[str, RecognizerLike], *,
                         api_image_dir: AnyPath | None = None, image_suffix: str = "png",
                         max_bytes: int = MAX_BYTES,
                         max_recognitions: int = MAX_RECOGNITIONS) -> Flask:
    """Make the application that answers POST of `image_file` to /b and to /b/<name>.

    The first recogniser answers at /b. Uploads are kept in `api_image_dir`, named after the
    answer; None keeps none. At most `max_recognitions` images are recognised at a time, which
    must be fewer than the server's threads: further requests are refused with 503.
    """
    _check_names(recognizers)
    first = next(iter(recognizers))
    slots = threading.BoundedSemaphore(max_recognitions)
    app = _new_app("recognize")
    app.config["MAX_CONTENT_LENGTH"] = max_bytes

    @app.post("/b", defaults={"name": first})
    @app.post("/b/<name>")
    def recognize(name: str) -> dict[str, Any]:
        if name not in recognizers:
            raise NotFound(f"no model named {name!r}; there is {', '.join(recognizers)}")
        upload = _uploaded_image()
        if not slots.acquire(blocking=False):
            raise ServiceUnavailable("too many requests at a time; try again", retry_after=1)
        try:
            began = time.perf_counter()
            prediction = recognizers[name].predict([encoding.open_image(upload)])[0]
            elapsed_ms = (time.perf_counter() - began) * 1000
        finally:
            slots.release()
        g.outcome = f"model={name} answer={prediction.text}"
        clock = str(time.time())
        if api_image_dir is not None:
            _keep(upload, api_image_dir, prediction.text, image_suffix, clock)
        return {"time": clock, "value": prediction.text, "speed_time(ms)": round(elapsed_ms),
                "confidence": round(float(prediction.confidence), 6)}

    return app


def create_captcha_app(generator: GeneratorLike, *, show_answers: bool = False) -> Flask:
    """Make the application that answers GET /captcha/ with a fresh captcha.

    `show_answers` adds its text, percent-encoded UTF-8, as header X-Captcha-Text.
    """
    app = _new_app("captcha")
    suffix = generator.config.image_suffix
    rng = random.SystemRandom()

    @app.get("/captcha/")
    def captcha() -> Response:
        text = generator.random_text(rng)
        response = Response(generator.encode(generator.draw(text)),
                            mimetype=f"image/{'jpeg' if suffix == 'jpg' else suffix}")
        response.headers["Cache-Control"] = "no-store"
        if show_answers:
            response.headers["X-Captcha-Text"] = urllib.parse.quote(text, safe="")
        return response

    return app


def _check_names(recognizers: Mapping[str, RecognizerLike]) -> None:
    if not recognizers:
        raise ConfigError("no recogniser to serve: load_recognizers must return at least one")
    for name in recognizers:
        if not re.fullmatch(r"[\w-][\w.-]*", name):
            raise ConfigError(f"model name {name!r} cannot stand in an address: use letters, "
                              "digits, '_', '-' and '.'")


def _uploaded_image() -> bytes:
    upload = request.files.get("image_file")
    if upload is None:
        raise BadRequest("no image_file: send the image as a file in a field of this name, "
                         "as multipart/form-data")
    return upload.read()


def _keep(upload: bytes, folder: AnyPath, label: str, suffix: str, serial: str) -> None:
    try:
        encoding.store_image(upload, folder, label, suffix, serial)
    except SampleError as error:
        log.warning("an upload is not kept: %s", error)


# What both applications have in common


def _new_app(name: str) -> Flask:
    app = Flask(f"{__name__}.{name}", static_folder=None)
    app.json.ensure_ascii = False  # type: ignore[attr-defined]  # of Flask's default provider
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = False
    app.url_map.redirect_defaults = False  # the first model answers at its own address too
    app.before_request(_start_clock)
    app.after_request(_finish)
    app.register_error_handler(Exception, _error_answer)
    return app


def _start_clock() -> None:
    g.began = time.perf_counter()
    g.outcome = "-"


def _finish(response: Response) -> Response:
    response.headers["Access-Control-Allow-Origin"] = "*"
    log.info("%s %s %d %s %.1f ms", request.method, urllib.parse.quote(request.path),
             response.status_code, g.outcome, (time.perf_counter() - g.began) * 1000)
    return response


def _error_answer(error: Exception) -> Response:
    """Answer any exception with a status and a JSON body of error_code and message."""
    status, message, headers = STATUS_OF.get(type(error), 500), str(error), None
    if isinstance(error, HTTPException) and error.code:
        status, headers = error.code, error.get_headers()
        message = _general_message(status) or error.description or HTTPStatus(status).phrase
    code = ERROR_CODES.get(status, ERROR_CODES[400] if status < 500 else FAULT)
    g.outcome = f"error={code}"
    if code == FAULT:
        fault = secrets.token_hex(8)
        message = f"fault {fault} in the server; its log says more under this id"
        g.outcome += f" fault={fault}"
        log.error("fault %s", fault, exc_info=error)
    response = Response(current_app.json.dumps({"error_code": code, "message": message}),
                        status, headers)
    response.content_type = "application/json"
    return response


def _general_message(status: int) -> str | None:
    """Return what to say where werkzeug's own words would not help."""
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return (f"the request has more than {current_app.config['MAX_CONTENT_LENGTH']} bytes, or "
                "too many parts: send one small image")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"{request.method} is not possible here; the header Allow names what is"
    return None


# The server


class Server:
    """An application on waitress, listening from the moment on that this object exists.

    Port 0 takes a free one. Raises CaptchaError where it cannot listen.
    """

    def __init__(self, app: Flask, host: str = LOCALHOST, port: int = 0, *,
                 threads: int = THREADS) -> None:
        self._sockets: dict[int, Any] = {}
        self._server = waitress.create_server(
            app, self._sockets, sockets=[_listen(host, port)], threads=threads,
            max_request_body_size=MAX_BUFFERED_BYTES, connection_limit=CONNECTIONS,
            asyncore_use_poll=True)

    @property
    def url(self) -> str:
        """The address that it listens on, without a path, such as http://127.0.0.1:6000."""
        host = self._server.effective_host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._server.effective_port}"

    def run(self) -> None:
        """Answer requests until `stop` is called."""
        self._server.run()

    def stop(self) -> None:
        """Accept nothing more, finish the answers in flight (DRAIN_S at most), end `run`.

        To be called from another thread than the one in `run`.
        """
        deadline = time.monotonic() + DRAIN_S
        self._in_loop(lambda: wasyncore.dispatcher.close(self._server))
        while self._server.active_channels and time.monotonic() < deadline:
            self._in_loop(self._close_idle)
            time.sleep(0.02)
        self._server.task_dispatcher.shutdown(timeout=1)
        self._in_loop(lambda: wasyncore.close_all(self._sockets))

    def run_until_signal(self) -> None:
        """Answer requests until SIGTERM or Ctrl-C; log them to stderr. For the main thread."""
        log_to_stderr()
        previous: dict[int, Any] = {}

        def stop(*_: object) -> None:
            for number, handler in previous.items():  # a second signal ends it at once
                signal.signal(number, handler)
            # Not here: the signal may have come while waitress holds a lock.
            threading.Thread(target=self.stop, daemon=True).start()

        for number in (signal.SIGTERM, signal.SIGINT):
            previous[number] = signal.signal(number, stop)
        self.run()

    def _in_loop(self, action: Callable[[], object]) -> None:
        """Have the thread in `run` do something between two events, and wait for it."""
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        self._server.trigger.pull_trigger(act)
        done.wait(1)

    def _close_idle(self) -> None:
        for channel in list(self._server.active_channels.values()):
            if not channel.requests and channel.request is None and not channel.total_outbufs_len:
                channel.handle_close()


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise CaptchaError(f"cannot listen on port {port}: choose one up to 65535 with --port")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise CaptchaError(f"cannot listen on {host}, port {port}: {error.strerror or error}; "
                           "choose another with --host and --port, or stop the program that uses "
                           "it") from error


def log_to_stderr() -> None:
    """Show this project's log lines, one a request, with the time before each."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("cnnlib").setLevel(logging.INFO)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it would tell each busy moment
