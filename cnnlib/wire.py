"""The wire format of the recognition API: what a request asks, how an answer or an error looks."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from flask import Request, current_app, request
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge

from cnnlib.errors import (
    CharsetError,
    ImageFormatError,
    ImageSizeError,
    ImageTooLargeError,
    OverloadError,
)
from cnnlib.served import PredictionLike

MAX_IMAGES = 64  # in a request
FAULT = "1099"
ERROR_CODES = {400: "1001", 415: "1002", 422: "1003", 413: "1004", 503: "1005", 404: "1006",
               401: "1007", 405: "1008"}
HOW = ("send the image as a file in a field image_file, as multipart/form-data; or its bytes as "
       'image/png, application/octet-stream or the like; or JSON, {"image": "its bytes in base64"}')


class OptionError(ValueError):
    """An option of a request has a value that cannot be used."""


STATUS_OF: dict[type[Exception], int] = {
    ImageFormatError: 415, ImageSizeError: 422, CharsetError: 422, OptionError: 422,
    ImageTooLargeError: 413, OverloadError: 503}


@dataclass(frozen=True)
class Question:
    """What a request asks: images, as bytes, and how to read them."""

    images: Sequence[bytes]
    several: bool  # the answer is a list
    charset: Sequence[str] | None  # the answer has these characters alone
    min_confidence: float  # below it, the text is a candidate and no value


def read_question() -> Question:
    """Read the request at hand; raises HTTPException, or an error of STATUS_OF."""
    kind = request.mimetype
    if kind == "multipart/form-data":
        images = [upload.read() for upload in request.files.getlist("image_file")]
        if len(images) > MAX_IMAGES:
            raise RequestEntityTooLarge()
        options: Mapping[str, Any] = request.form
    elif kind == "application/json":
        options = _json(request)
        images = [_decoded(options["image"])] if "image" in options else []
    else:
        raw = kind.startswith("image/") or kind == "application/octet-stream"
        images, options = [request.get_data()] if raw else [], {}
    if not images:
        raise BadRequest(f"no image in the request: {HOW}")
    options = {**options, **request.args}
    return Question(images, len(images) > 1, _charset(options.get("charset")),
                    _share(options.get("min_confidence", 0)))


def _json(request: Request) -> dict[str, Any]:
    try:
        values = request.get_json()
    except RecursionError as error:
        raise BadRequest("the JSON is nested too deeply") from error
    if not isinstance(values, dict):
        raise BadRequest(f"the JSON is no object: {HOW}")
    return values


def _decoded(text: object) -> bytes:
    """Read base64, also as the data URL that a browser's canvas gives."""
    if not isinstance(text, str):
        raise BadRequest(f"'image' is no text: {HOW}")
    try:
        return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text,
                                validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"'image' is not base64: {HOW}") from error


def _charset(text: object) -> Sequence[str] | None:
    if text is None:
        return None
    if not isinstance(text, str) or not text:
        raise OptionError("charset must be a text of the characters that may occur")
    return tuple(dict.fromkeys(text))


def _share(value: object) -> float:
    try:
        share = float(value)  # type: ignore[arg-type]  # whatever it is
    except (TypeError, ValueError, OverflowError):
        share = math.nan
    if not 0 <= share <= 1:
        raise OptionError("min_confidence must be a number from 0 to 1")
    return share


def answer(prediction: PredictionLike, min_confidence: float) -> dict[str, Any]:
    """Return what a result says of one image."""
    sure = prediction.confidence >= min_confidence
    found: dict[str, Any] = {
        "value": prediction.text if sure else "",
        "confidence": round(float(prediction.confidence), 6),
        "char_confidences": [round(float(c), 6) for c in prediction.char_confidences]}
    return found if sure else found | {"candidate": prediction.text}


def status_of(error: Exception) -> int:
    if isinstance(error, HTTPException) and error.code:
        return error.code
    return STATUS_OF.get(type(error), 500)


def error_code(status: int) -> str:
    return ERROR_CODES.get(status, ERROR_CODES[400] if status < 500 else FAULT)


def message_of(error: Exception) -> str:
    """Return what to tell the caller, with words of our own where werkzeug's would not help."""
    status = status_of(error)
    if isinstance(error, HTTPException):
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return (f"the request has more than {current_app.config['MAX_CONTENT_LENGTH']} bytes, "
                    f"{MAX_IMAGES} images, or too many parts: send small images, and fewer")
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            return f"{request.method} is not possible here; the header Allow names what is"
        return error.description or HTTPStatus(status).phrase
    return str(error)
