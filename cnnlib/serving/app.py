"""The WSGI applications: one recognises captchas, the other draws them.

Models and the generator are passed in, so that nothing here needs TensorFlow.
"""

from __future__ import annotations

import json
import logging
import random
import re
import secrets
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

from flask import Flask, Response, current_app, g, request
from PIL import Image
from werkzeug.exceptions import HTTPException, Unauthorized

from cnnlib.config import CaptchaConfig
from cnnlib.errors import ConfigError
from cnnlib.serving import error_codes, pages
from cnnlib.serving.compat import COMPAT, compatible
from cnnlib.serving.keys import is_known
from cnnlib.serving.logs import access_log
from cnnlib.serving.models import RecognizerLike
from cnnlib.serving.received import FIELD_HEADER
from cnnlib.serving.service import RecognizeService, ServingOptions

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1
ALLOWED_HEADERS = "Content-Type, Content-Encoding, X-API-Key, Authorization"
MAX_SKIPPED_BYTES, SKIPPED_AT_ONCE = 128 << 20, 1 << 16  # of a body that is too large
PREFLIGHT_AGE_S = 86_400  # that a browser may keep the answer to a preflight request
OPEN_PATHS = ("/", "/docs", "/openapi.json", "/metrics", "/health/live", "/health/ready")  # no key

# --- the recognition API ---


def create_recognize_app(
    recognizers: Mapping[str, RecognizerLike], options: ServingOptions | None = None
) -> Flask:
    """Make the application that recognises images at /b and /b/<name>, and reports on itself.

    The first recogniser answers at /b. `app.extensions["service"]` is the RecognizeService behind
    it: its `close` ends the threads and closes the recognisers.
    Raises ConfigError for names that cannot be served, ModelError for a model that does not work.
    """
    options = options or ServingOptions()
    _check_names(recognizers)
    service = RecognizeService(recognizers, options)
    app = _new_app("recognize", options.allow_origin, service.observe_request)
    app.config["MAX_CONTENT_LENGTH"] = options.max_request_bytes
    app.config["ALLOW_ORIGIN"] = options.allow_origin
    app.extensions["service"] = service
    if options.api_keys:
        check_key: Callable[[], None] = partial(_check_key, options.api_keys)
        app.before_request(check_key)
    if options.compat:
        app.register_blueprint(compatible(service.recognize_one, options.api_keys))
    first = next(iter(recognizers))
    app.post("/b", defaults={"name": first})(service.recognize)
    app.post("/b/<name>")(service.recognize)
    app.get("/")(service.home)
    app.get("/docs", strict_slashes=True)(service.docs)  # its links are relative
    app.get("/models")(service.describe)
    app.get("/health/live")(service.live)
    app.get("/health/ready")(service.ready)
    app.get("/metrics")(service.metrics)
    app.get("/openapi.json")(service.openapi)
    return app


def _check_names(recognizers: Mapping[str, RecognizerLike]) -> None:
    if not recognizers:
        raise ConfigError("no recogniser to serve: load_recognizers must return at least one")
    for name in recognizers:
        if not re.fullmatch(r"[\w-][\w.-]*", name):
            raise ConfigError(
                f"model name {name!r} cannot be part of an address: use letters, digits, '_', "
                "'-' and '.'"
            )


def _check_key(keys: Sequence[str]) -> None:
    """Raise Unauthorized without a key; the addresses of --compat look for it in the body."""
    is_open = (request.path.rstrip("/") or "/") in OPEN_PATHS
    if request.method == "OPTIONS" or is_open or request.blueprint == COMPAT:
        return
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    given = request.headers.get("X-API-Key") or (
        token.strip() if scheme.lower() == "bearer" else ""
    )
    if not is_known(given, keys):
        raise Unauthorized(
            "the API key is missing or wrong: send it as header X-API-Key, or as Authorization: "
            "Bearer KEY"
        )


# --- practice captchas ---

MEDIA_TYPES = {"jpg": "image/jpeg", "tif": "image/tiff", "ico": "image/x-icon"}


class GeneratorLike(Protocol):
    """What draws the captchas; called from many threads at a time."""

    config: CaptchaConfig

    def random_text(self, rng: random.Random, /) -> str: ...

    def draw(self, text: str, /) -> Image.Image: ...

    def encode(self, image: Image.Image, /) -> bytes: ...


def create_captcha_app(generator: GeneratorLike, *, show_answers: bool = False) -> Flask:
    """Make the application that answers GET /captcha/ with a fresh captcha.

    `show_answers` adds its text, percent-encoded UTF-8, as header X-Captcha-Text.
    """
    app = _new_app("captcha", "*")
    suffix = generator.config.image_suffix
    rng = random.SystemRandom()

    @app.get("/captcha/")
    def captcha() -> Response:
        text = generator.random_text(rng)
        response = Response(
            generator.encode(generator.draw(text)),
            mimetype=MEDIA_TYPES.get(suffix, f"image/{suffix}"),
        )
        response.headers["Cache-Control"] = "no-store"
        if show_answers:
            response.headers["X-Captcha-Text"] = urllib.parse.quote(text, safe="")
        return response

    return app


# --- what both have in common ---


def _new_app(
    name: str,
    allow_origin: str,
    on_request: Callable[[str, int, float], None] = lambda *_: None,
) -> Flask:
    """Make an application with JSON errors and an access log.

    `on_request` gets the model's name, or "-", the status and the seconds of each request.
    """
    app = Flask(f"{__name__}.{name}", static_folder=None, template_folder=pages.TEMPLATES)
    app.json.ensure_ascii = False  # type: ignore[attr-defined]  # of Flask's default provider
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = False
    app.url_map.redirect_defaults = False  # the first model answers at its own address too

    def finish(response: Response) -> Response:
        if "body_read" not in g:
            _skip_body()
        _set_cors_headers(response, allow_origin)
        seconds = time.perf_counter() - g.began_s
        on_request(g.log_entry.get("model", "-"), response.status_code, seconds)
        _log_request(response.status_code, seconds)
        return response

    app.before_request(_start_log_entry)
    app.after_request(finish)
    app.register_error_handler(Exception, _error_response)
    return app


def _start_log_entry() -> None:
    g.began_s = time.perf_counter()
    g.log_entry = {}  # what the access log says beyond method, path, status and time


def _log_request(status: int, seconds: float) -> None:
    entry = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "method": request.method,
        "path": request.path,
        "status": status,
        **g.log_entry,
        "ms": round(seconds * 1000, 1),
    }
    access_log.info("%s", json.dumps(entry))


def _set_cors_headers(response: Response, origin: str) -> None:
    """Allow pages of this origin to read the response."""
    if not origin:
        return
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Expose-Headers"] = f"{FIELD_HEADER}, Retry-After"
    if origin != "*":
        response.headers["Vary"] = "Origin"
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = "GET, POST"
        asked = request.headers.get("Access-Control-Request-Headers", "")
        response.headers["Access-Control-Allow-Headers"] = asked or ALLOWED_HEADERS
        response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_AGE_S)
        # A page of a public site asks for this before it may reach a server of this machine.
        if "Access-Control-Request-Private-Network" in request.headers:
            response.headers["Access-Control-Allow-Private-Network"] = "true"


def _error_response(error: Exception) -> Response:
    """Answer any exception with a status and a JSON body of error_code and message."""
    status = error_codes.status_of(error)
    body = error_codes.error_body(error)
    g.log_entry["error"] = body["error_code"]
    if body["error_code"] == error_codes.FAULT_CODE:
        fault = secrets.token_hex(8)
        body["message"] = f"fault {fault} in the server; its log says more under this id"
        g.log_entry["fault"] = fault
        log.error("fault %s", fault, exc_info=error)
    headers = error.get_headers() if isinstance(error, HTTPException) else None
    response = Response(current_app.json.dumps(body), status, headers)
    response.content_type = "application/json"
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def _skip_body() -> None:
    """Read what is left of the body: most clients read no answer before they have sent all."""
    stream, left = request.environ["wsgi.input"], request.content_length
    if left is None:  # in chunks, where the server knows their end
        left = MAX_SKIPPED_BYTES if request.environ.get("wsgi.input_terminated") else 0
    left = min(left, MAX_SKIPPED_BYTES)
    with suppress(OSError):  # the client has gone
        while left > 0 and (data := stream.read(min(left, SKIPPED_AT_ONCE))):
            left -= len(data)
