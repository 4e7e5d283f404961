"""The recognition service: what the addresses of the recognition API answer."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from flask import Response, after_this_request, g, request
from PIL import Image
from werkzeug.exceptions import NotFound

from cnnlib.config import SampleConfig
from cnnlib.dataset.images import opened, shown_size
from cnnlib.dataset.labels import SEPARATOR
from cnnlib.errors import ImageSizeError, OverloadError, SampleError
from cnnlib.paths import AnyPath
from cnnlib.serving import error_codes, pages, wire
from cnnlib.serving.batching import STOPPING, Batcher
from cnnlib.serving.error_codes import OptionError
from cnnlib.serving.limits import MAX_BATCH_SIZE, MAX_QUEUE_SIZE, MAX_REQUEST_BYTES
from cnnlib.serving.models import Answer, ModelReloader, RecognizerLike, ServedModel
from cnnlib.serving.openapi import describe_api
from cnnlib.serving.prometheus import CONTENT_TYPE, Metrics
from cnnlib.serving.received import FIELD, FIELD_HEADER
from cnnlib.serving.uploads import UploadStore

log = logging.getLogger(__name__)

POLL_S = 2.0  # between two checks for newer weights
LARGE_PIXELS = 250_000  # of an image that is decoded in a thread for it; a captcha has some 6,000
LARGE_THREADS = 2

Pixels = tuple[ServedModel, np.ndarray]  # of one image, and the model that they are for


@dataclass(frozen=True)
class ServingOptions:
    """How the recognition API serves; the defaults suit most."""

    api_image_dir: AnyPath | None = None  # where images are saved, named after their text
    image_suffix: str = "png"  # of their names
    label_separator: str = SEPARATOR  # in their names
    api_image_limit: int = SampleConfig.api_image_limit
    max_request_bytes: int = MAX_REQUEST_BYTES
    max_batch_size: int = MAX_BATCH_SIZE  # images in a run of the network; 1: each alone
    max_queue_size: int = MAX_QUEUE_SIZE  # images of a model; fewer than the server's threads
    num_batch_threads: int | None = None  # runs of a network at a time; None: one for each core
    api_keys: Sequence[str] = ()  # none: nobody needs one
    allow_origin: str = "*"  # Access-Control-Allow-Origin; "": no page of another origin may ask
    hot_reload: bool = False  # load newer weights while serving
    compat: bool = False  # answer the interfaces of other services too
    arithmetic: Collection[str] = ()  # models whose texts are sums: answers have the result


class RecognizeService:
    """Recognise the images of requests, and report on itself.

    Raises ModelError for a model that does not work. `close` closes the recognisers too.
    """

    def __init__(self, recognizers: Mapping[str, RecognizerLike], options: ServingOptions) -> None:
        self._metrics = Metrics()
        self._needs_key = bool(options.api_keys)
        self._description = describe_api(list(recognizers), self._needs_key)
        with ExitStack() as parts:  # closes what there is if the rest fails
            self._uploads = self._new_upload_store(options)
            if self._uploads:
                parts.callback(self._uploads.close)
            self.models = {
                name: parts.enter_context(closing(self._new_model(name, recognizer, options)))
                for name, recognizer in recognizers.items()
            }
            # The system's allocator keeps up to 64 MB for each of many threads that decoded one.
            self._large = parts.enter_context(ThreadPoolExecutor(LARGE_THREADS, "large-images"))
            if options.hot_reload:
                parts.callback(ModelReloader(self.models.values(), POLL_S).close)
            self._parts = parts.pop_all()

    def _new_model(
        self, name: str, recognizer: RecognizerLike, options: ServingOptions
    ) -> ServedModel:
        new_batcher = partial(
            Batcher,
            max_batch_size=options.max_batch_size,
            max_queue_size=options.max_queue_size,
            num_batch_threads=options.num_batch_threads,
            on_batch=partial(self._metrics.observe_batch, name),
        )
        return ServedModel(name, recognizer, new_batcher, name in options.arithmetic)

    def _new_upload_store(self, options: ServingOptions) -> UploadStore | None:
        if options.api_image_dir is None:
            return None
        return UploadStore(
            options.api_image_dir,
            options.image_suffix,
            options.api_image_limit,
            separator=options.label_separator,
            on_drop=self._metrics.count_dropped_upload,
        )

    def close(self) -> None:
        """Stop reloading, finish and close the models, write the uploads that are queued."""
        self._parts.close()  # in reverse order; a second call finds nothing left

    # --- recognition ---

    def recognize(self, name: str) -> dict[str, Any]:
        """Answer a request for images: one result, or the list of several."""
        model = self.models.get(name)
        if model is None:
            raise NotFound(f"no model named {name!r}; there is {', '.join(self.models)}")
        g.log_entry["model"] = name
        route = request.args.get("route", "")
        if route not in ("", "size"):
            raise OptionError(f"route must be size, not {route[:20]!r}")
        by_size = route == "size"
        if model.batcher.full and not by_size:  # before the images are read
            raise OverloadError("too many images wait; try again")
        asked = wire.read_request()
        if asked.field not in ("", FIELD):
            after_this_request(partial(_name_field, asked.field))
        began_s = time.perf_counter()
        results = self._recognize_images(None if by_size else model, asked)
        elapsed_ms = round((time.perf_counter() - began_s) * 1000)
        clock = str(time.time())
        self._save(asked.images, results, clock)
        if not asked.is_batch and isinstance(results[0], Exception):
            raise results[0]
        bodies = [
            error_codes.error_body(result)
            if isinstance(result, Exception)
            else wire.result_body(result, asked.min_confidence)
            for result in results
        ]
        if asked.is_batch:
            g.log_entry["answer"] = [body.get("value") for body in bodies]
            return {"time": clock, "speed_time(ms)": elapsed_ms, "results": bodies}
        g.log_entry["answer"] = value = bodies[0]["value"]
        return {"time": clock, "value": value, "speed_time(ms)": elapsed_ms} | bodies[0]

    def recognize_one(self, image: bytes, wanted: Callable[[str], bool] | None = None) -> Answer:
        """Recognise an image, of characters for which a test holds, with the model of its size.

        Raises SampleError and OverloadError.
        """
        asked = wire.RecognizeRequest([image], "", False, None, 0.0)
        [result] = self._recognize_images(None, asked, wanted)
        self._save(asked.images, [result], str(time.time()))
        if isinstance(result, Exception):
            raise result
        g.log_entry["answer"] = result.prediction.text
        return result

    def _recognize_images(
        self,
        model: ServedModel | None,
        asked: wire.RecognizeRequest,
        wanted: Callable[[str], bool] | None = None,
    ) -> list[Answer | SampleError]:
        """Return the prediction, or the error, for each image, in their order.

        Without a model, each image goes to the first model that takes its size. A `wanted` test of
        characters restricts answers as a charset does, where the model has such characters.
        """
        results: dict[int, Answer | SampleError] = {}
        groups: dict[ServedModel, dict[int, np.ndarray]] = {}  # pixels by the image's number
        for i, data in enumerate(asked.images):
            try:
                with opened(data) as image:
                    chosen, pixels = self._pixels_of(image, model)
                groups.setdefault(chosen, {})[i] = pixels
            except SampleError as error:
                results[i] = error
        for chosen, group in groups.items():
            fitting = sorted(filter(wanted, chosen.recognizer.char_set)) if wanted else None
            answers = chosen.predict(list(group.values()), fitting or asked.charset)
            results |= zip(group, answers, strict=True)
        if model is None:
            g.log_entry["model"] = ",".join(chosen.name for chosen in groups) or "-"
        return [results[i] for i in range(len(asked.images))]

    def _pixels_of(self, image: Image.Image, model: ServedModel | None) -> Pixels:
        def decode() -> Pixels:
            return (model, model.pixels_of(image)) if model else self._choose_by_size(image)

        if image.width * image.height < LARGE_PIXELS:
            return decode()
        return self._submit(decode).result()

    def _submit(self, decode: Callable[[], Pixels]) -> Future[Pixels]:
        try:
            return self._large.submit(decode)
        except RuntimeError as error:  # after `close`
            raise OverloadError(STOPPING) from error

    def _choose_by_size(self, image: Image.Image) -> Pixels:
        """Return the model of the image's size, else the first that resizes, and the pixels."""
        width, height = size = shown_size(image)
        for model in sorted(self.models.values(), key=lambda model: model.size != size):
            with suppress(ImageSizeError):
                return model, model.pixels_of(image)
        sizes = (f"{name} {m.size[0]}x{m.size[1]}" for name, m in self.models.items())
        raise ImageSizeError(f"image of {width}x{height}; the models take {', '.join(sizes)}")

    def _save(
        self,
        images: Sequence[bytes],
        results: Sequence[Answer | SampleError],
        serial: str,
    ) -> None:
        if self._uploads:
            for data, result in zip(images, results, strict=True):
                if not isinstance(result, Exception):
                    self._uploads.save(data, result.prediction.text, serial)

    # --- reports ---

    def home(self) -> str:
        models = () if self._needs_key else self.describe()["models"]
        return pages.home(list(self.models), models, self._needs_key)

    def docs(self) -> str:
        return pages.docs(self._description)

    def describe(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "models": [model.describe() for model in self.models.values()]}

    def openapi(self) -> dict[str, Any]:
        return self._description

    def metrics(self) -> Response:
        return Response(self._metrics.exposition(), content_type=CONTENT_TYPE)

    def live(self) -> dict[str, str]:
        return {"status": "live"}

    def ready(self) -> tuple[dict[str, Any], int]:
        """Answer 200 when every model answers a test image, else 503."""
        states = {}
        for name, model in self.models.items():
            try:
                model.test()
                states[name] = "ready"
            except Exception as error:  # whatever it is, the model does not answer
                log.error("model %s is not ready: %s", name, error)
                states[name] = "fails"
        ready = all(state == "ready" for state in states.values())
        status = "ready" if ready else "not ready"
        return {"status": status, "models": states}, 200 if ready else 503

    def observe_request(self, name: str, status: int, seconds: float) -> None:
        """Count an answered request; the name is a model's, or "-"."""
        self._metrics.observe_request(name, status, seconds)
        if name in self.models:
            self._metrics.set_pending_images(name, self.models[name].batcher.pending)


def _name_field(field: str, response: Response) -> Response:
    response.headers[FIELD_HEADER] = field
    return response
