"""The HTTP side: the applications that recognise and that draw captchas.

Models and the generator are passed in, so that nothing here needs TensorFlow.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import random
import re
import secrets
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import HTTPException, NotFound, Unauthorized

from cnnlib import encoding, openapi, wire
from cnnlib.batching import TOGETHER, WAITING
from cnnlib.config import AnyPath, CaptchaConfig, SampleConfig
from cnnlib.errors import ConfigError, ImageSizeError, OverloadError, SampleError
from cnnlib.keeping import Keeper
from cnnlib.served import RecognizerLike, ServedModel, Watch
from cnnlib.server import ACCESS
from cnnlib.telemetry import CONTENT_TYPE, Telemetry

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

log = logging.getLogger(__name__)
access_log = logging.getLogger(ACCESS)

MAX_BYTES = 5_000_000  # of a request; a captcha has some 5,000
RETRY_S = 1
OPEN_PATHS = ("/health/", "/metrics", "/openapi.json")  # which need no API key


class GeneratorLike(Protocol):
    """What draws the captchas; called from many threads at a time."""

    config: CaptchaConfig

    def random_text(self, rng: random.Random, /) -> str: ...

    def draw(self, text: str, /) -> Image.Image: ...

    def encode(self, image: Image.Image, /) -> bytes: ...


@dataclass(frozen=True)
class ServingOptions:
    """How the recognition API serves; the defaults suit most."""

    api_image_dir: AnyPath | None = None  # keeps uploads, named after the answer
    image_suffix: str = "png"  # of what is kept
    label_separator: str = encoding.SEPARATOR  # in its name
    api_image_limit: int = SampleConfig.api_image_limit
    max_bytes: int = MAX_BYTES
    together: int = TOGETHER  # images in a run of the network; 1: each alone
    waiting: int = WAITING  # images of a model at a time; fewer than the server's threads
    runs: int | None = None  # of a network at a time; None: one for each core
    api_keys: Sequence[str] = ()  # none: nobody needs one
    allow_origin: str = "*"  # Access-Control-Allow-Origin; "": no page of another origin may ask
    watch: bool = False  # take up better weights while serving


def create_recognize_app(recognizers: Mapping[str, RecognizerLike],
                         options: ServingOptions | None = None) -> Flask:
    """Make the application that recognises images at /b and /b/<name>, and tells of itself.

    The first recogniser answers at /b. `app.extensions["service"]` is what is behind it, whose
    `close` ends its threads.
    Raises ConfigError for names that cannot be served, ModelError for a model that does not work.
    """
    options = options or ServingOptions()
    _check_names(recognizers)
    service = RecognizeService(recognizers, options)
    app = _new_app("recognize", options.allow_origin, service.telemetry, service.models)
    app.config["MAX_CONTENT_LENGTH"] = options.max_bytes
    app.config["MAX_FORM_PARTS"] = 2 * wire.MAX_IMAGES
    app.extensions["service"] = service
    if options.api_keys:
        check: Callable[[], None] = partial(_check_key, options.api_keys)
        app.before_request(check)
    first = next(iter(recognizers))
    app.post("/b", defaults={"name": first})(service.recognize)
    app.post("/b/<name>")(service.recognize)
    app.get("/models")(service.describe)
    app.get("/health/live")(service.live)
    app.get("/health/ready")(service.ready)
    app.get("/metrics")(service.metrics)
    app.get("/openapi.json")(service.openapi)
    return app


class RecognizeService:
    """What is behind the addresses of the recognition API."""

    def __init__(self, recognizers: Mapping[str, RecognizerLike], options: ServingOptions) -> None:
        self.telemetry = Telemetry()
        self.models = {name: ServedModel(name, recognizer, together=options.together,
                                         waiting=options.waiting, runs=options.runs)
                       for name, recognizer in recognizers.items()}
        for name, model in self.models.items():
            model.batcher.on_run = partial(self.telemetry.run, name)
        self._description = openapi.describe(list(recognizers), bool(options.api_keys))
        self._keeper = None if options.api_image_dir is None else Keeper(
            options.api_image_dir, options.image_suffix, options.api_image_limit,
            self.telemetry.lost, options.label_separator)
        self._watch = Watch(self.models.values()) if options.watch else None

    def close(self) -> None:
        """End the threads; what waits to be written is written."""
        for thread in (self._watch, self._keeper):
            if thread is not None:
                thread.close()

    def recognize(self, name: str) -> dict[str, Any]:
        model = self.models.get(name)
        if model is None:
            raise NotFound(f"no model named {name!r}; there is {', '.join(self.models)}")
        g.entry["model"] = name
        by_size = request.args.get("route") == "size"
        if model.batcher.full and not by_size:  # before the images are read
            raise OverloadError("too many images wait; try again")
        question = wire.read_question()
        began = time.perf_counter()
        results = self._results(None if by_size else model, question)
        elapsed_ms = round((time.perf_counter() - began) * 1000)
        clock = str(time.time())
        answers = [result if isinstance(result, dict) else _error_body(result)
                   for result in results]
        for data, found in zip(question.images, answers, strict=True):
            if self._keeper and "error_code" not in found:
                self._keeper.keep(data, found["value"] or found["candidate"], clock)
        if question.several:
            g.entry["answer"] = [found.get("value") for found in answers]
            return {"time": clock, "speed_time(ms)": elapsed_ms, "results": answers}
        if isinstance(results[0], Exception):
            raise results[0]
        g.entry["answer"] = results[0]["value"]
        value, *others = answers[0].items()
        return {"time": clock, **dict([value]), "speed_time(ms)": elapsed_ms, **dict(others)}

    def _results(self, model: ServedModel | None,
                 question: wire.Question) -> list[dict[str, Any] | SampleError]:
        """Return the answer, or the error, for each image, in their order.

        Without a model, the first that takes images of its size reads it.
        """
        results: list[dict[str, Any] | SampleError] = []
        of_model: dict[ServedModel, list[tuple[int, Any]]] = {}
        for place, data in enumerate(question.images):
            try:
                image = encoding.open_image(data)
                chosen, pixels = ((model, model.pixels_of(image)) if model
                                  else self._by_size(image))
                of_model.setdefault(chosen, []).append((place, pixels))
                results.append({})
            except SampleError as error:
                results.append(error)
        for chosen, images in of_model.items():
            found = chosen.predict([its for _, its in images], question.charset)
            for (place, _), prediction in zip(images, found, strict=True):
                results[place] = wire.answer(prediction, question.min_confidence)
        if model is None:
            g.entry["model"] = ",".join(chosen.name for chosen in of_model) or "-"
        return results

    def _by_size(self, image: Image.Image) -> tuple[ServedModel, np.ndarray]:
        """Return the model of this size, else the first that takes others, and what it takes."""
        for model in sorted(self.models.values(), key=lambda model: model.size != image.size):
            with suppress(ImageSizeError):
                return model, model.pixels_of(image)
        raise ImageSizeError(f"image of {image.width}x{image.height}; the models take " + ", ".join(
            f"{name} {model.size[0]}x{model.size[1]}" for name, model in self.models.items()))

    def describe(self) -> dict[str, Any]:
        return {"pid": os.getpid(),
                "models": [model.describe() for model in self.models.values()]}

    def openapi(self) -> dict[str, Any]:
        return self._description

    def metrics(self) -> Response:
        return Response(self.telemetry.text(), content_type=CONTENT_TYPE)

    def live(self) -> dict[str, str]:
        return {"status": "live"}

    def ready(self) -> tuple[dict[str, Any], int]:
        """Answer 200 when every model answers a test image."""
        states = {}
        for name, model in self.models.items():
            try:
                model.test()
                states[name] = "ready"
            except Exception as error:  # whatever it is, the model does not answer
                log.error("model %s is not ready: %s", name, error)
                states[name] = "fails"
        ready = all(state == "ready" for state in states.values())
        return ({"status": "ready" if ready else "not ready", "models": states},
                200 if ready else 503)


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
        response = Response(generator.encode(generator.draw(text)),
                            mimetype=f"image/{'jpeg' if suffix == 'jpg' else suffix}")
        response.headers["Cache-Control"] = "no-store"
        if show_answers:
            response.headers["X-Captcha-Text"] = urllib.parse.quote(text, safe="")
        return response

    return app


def read_api_keys(path: AnyPath) -> list[str]:
    """Read a file of keys, one a line; raises ConfigError where there is none in it."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            keys = [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): name a text file with one key a "
                          "line") from error
    if not keys:
        raise ConfigError(f"{path} is empty: write one key a line to it")
    return keys


def _check_names(recognizers: Mapping[str, RecognizerLike]) -> None:
    if not recognizers:
        raise ConfigError("no recogniser to serve: load_recognizers must return at least one")
    for name in recognizers:
        if not re.fullmatch(r"[\w-][\w.-]*", name):
            raise ConfigError(f"model name {name!r} cannot stand in an address: use letters, "
                              "digits, '_', '-' and '.'")


def _check_key(keys: Sequence[str]) -> None:
    if request.method == "OPTIONS" or request.path.startswith(OPEN_PATHS):
        return
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    given = request.headers.get("X-API-Key") or (token if scheme.lower() == "bearer" else "")
    # All are compared, each in constant time: how long it takes tells nothing.
    if not any([hmac.compare_digest(key.encode(), given.encode()) for key in keys]):
        raise Unauthorized("the API key is missing or wrong: send it as header X-API-Key, or as "
                           "Authorization: Bearer KEY")


# What both applications have in common


def _new_app(name: str, allow_origin: str, telemetry: Telemetry | None = None,
             models: Mapping[str, ServedModel] | None = None) -> Flask:
    app = Flask(f"{__name__}.{name}", static_folder=None)
    app.json.ensure_ascii = False  # type: ignore[attr-defined]  # of Flask's default provider
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = False
    app.url_map.redirect_defaults = False  # the first model answers at its own address too

    def finish(response: Response) -> Response:
        _allow(response, allow_origin)
        seconds = time.perf_counter() - g.began
        if telemetry:
            name = g.entry.get("model", "-")
            telemetry.request(name, response.status_code, seconds)
            if models and name in models:
                telemetry.waiting(name, models[name].batcher.waiting)
        entry = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "method": request.method,
                 "path": request.path, "status": response.status_code, **g.entry,
                 "ms": round(seconds * 1000, 1)}
        access_log.info("%s", json.dumps(entry))
        return response

    app.before_request(_start_entry)
    app.after_request(finish)
    app.register_error_handler(Exception, _error_answer)
    return app


def _start_entry() -> None:
    g.began = time.perf_counter()
    g.entry = {}  # for the access log


def _allow(response: Response, origin: str) -> None:
    """Let pages of this origin ask, where they come from another than the API."""
    if not origin:
        return
    response.headers["Access-Control-Allow-Origin"] = origin
    if origin != "*":
        response.headers["Vary"] = "Origin"
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = "GET, POST"
        response.headers["Access-Control-Allow-Headers"] = "Content-Type, X-API-Key, Authorization"
        response.headers["Access-Control-Max-Age"] = "86400"


def _error_body(error: Exception) -> dict[str, Any]:
    return {"error_code": wire.error_code(wire.status_of(error)),
            "message": wire.message_of(error)}


def _error_answer(error: Exception) -> Response:
    """Answer any exception with a status and a JSON body of error_code and message."""
    status = wire.status_of(error)
    body = _error_body(error)
    g.entry["error"] = body["error_code"]
    if body["error_code"] == wire.FAULT:
        fault = secrets.token_hex(8)
        body["message"] = f"fault {fault} in the server; its log says more under this id"
        g.entry["fault"] = fault
        log.error("fault %s", fault, exc_info=error)
    headers = error.get_headers() if isinstance(error, HTTPException) else None
    response = Response(current_app.json.dumps(body), status, headers)
    response.content_type = "application/json"
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_S)
    return response
