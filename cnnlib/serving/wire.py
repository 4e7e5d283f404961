"""The wire format of the recognition API: what a request asks, how a result looks."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from cnnlib.serving.error_codes import MAX_IMAGES, OptionError
from cnnlib.serving.models import PredictionLike

HOW_TO_SEND = (
    "send the image as a file in a field image_file, as multipart/form-data; or its bytes as "
    'image/png, application/octet-stream or the like; or JSON, {"image": "its bytes in base64"}'
)


# --- requests ---


@dataclass(frozen=True)
class RecognizeRequest:
    """What a request asks: images, as bytes, and how to read them."""

    images: Sequence[bytes]
    is_batch: bool  # the answer is a list of results
    charset: Sequence[str] | None  # the characters that may occur; None: all of the model
    min_confidence: float  # below it, the text is a candidate and not the value


def read_request() -> RecognizeRequest:
    """Read Flask's current request; raises HTTPException, or an error of STATUS_OF."""
    kind = request.mimetype
    options: Mapping[str, Any] = {}
    images: list[bytes] = []
    if kind == "multipart/form-data":
        options = request.form
        images = [upload.read() for upload in request.files.getlist("image_file")]
        if len(images) > MAX_IMAGES:
            raise RequestEntityTooLarge()
    elif kind == "application/json":
        options = _json_object()
        images = [_decode_base64(options["image"])] if "image" in options else []
    elif kind.startswith("image/") or kind == "application/octet-stream":
        images = [request.get_data()]
    if not images:
        raise BadRequest(f"no image in the request: {HOW_TO_SEND}")
    options = {**options, **request.args}
    return RecognizeRequest(
        images,
        is_batch=len(images) > 1,
        charset=_charset(options.get("charset")),
        min_confidence=_min_confidence(options.get("min_confidence", 0)),
    )


def _json_object() -> dict[str, Any]:
    try:
        values = request.get_json()
    except RecursionError as error:
        raise BadRequest("the JSON is nested too deeply") from error
    if not isinstance(values, dict):
        raise BadRequest(f"the JSON must be an object: {HOW_TO_SEND}")
    return values


def _decode_base64(text: object) -> bytes:
    """Decode base64, also in a data URL, which a browser's canvas gives."""
    if not isinstance(text, str):
        raise BadRequest(f"'image' must be a string: {HOW_TO_SEND}")
    try:
        return base64.b64decode(
            text.partition(",")[2] if text.startswith("data:") else text, validate=True
        )
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"'image' is not base64: {HOW_TO_SEND}") from error


def _charset(text: object) -> Sequence[str] | None:
    if text is None:
        return None
    if not isinstance(text, str) or not text:
        raise OptionError("charset must be a string of the characters that may occur")
    return tuple(dict.fromkeys(text))


def _min_confidence(value: object) -> float:
    try:
        confidence = float(value)  # type: ignore[arg-type]  # whatever it is
    except (TypeError, ValueError, OverflowError):
        confidence = math.nan
    if not 0 <= confidence <= 1:
        raise OptionError("min_confidence must be a number from 0 to 1")
    return confidence


# --- results ---


def result_body(prediction: PredictionLike, min_confidence: float) -> dict[str, Any]:
    """Return the JSON object for one recognised image."""
    confident = prediction.confidence >= min_confidence
    body: dict[str, Any] = {
        "value": prediction.text if confident else "",
        "confidence": round(float(prediction.confidence), 6),
        "char_confidences": [round(float(c), 6) for c in prediction.char_confidences],
    }
    return body if confident else body | {"candidate": prediction.text}
