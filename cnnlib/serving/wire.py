"""The wire format of the recognition API: what a request asks, how a result looks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import request

from cnnlib.serving.error_codes import OptionError
from cnnlib.serving.models import Answer
from cnnlib.serving.received import IMAGE_FIELDS, read_fields

FLAGS = dict.fromkeys(("1", "true", "on", "yes"), True) | dict.fromkeys(
    ("0", "false", "off", "no"), False
)

# --- requests ---


@dataclass(frozen=True)
class RecognizeRequest:
    """What a request asks: images, as bytes, and how to read them."""

    images: Sequence[bytes]
    field: str  # that holds them; "": they are the body
    is_batch: bool  # the answer is a list of results
    charset: Sequence[str] | None  # the characters that may occur; None: all of the model
    min_confidence: float  # below it, the text is a candidate and not the value


def read_request() -> RecognizeRequest:
    """Read Flask's current request; raises HTTPException, or an error of STATUS_OF.

    Options without a value are as if they were absent: forms send those.
    """
    fields = read_fields()
    received = fields.find_images(IMAGE_FIELDS)
    options = {
        name: value
        for given in (fields.options, request.args)
        for name, value in given.items()
        if value not in ("", None)
    }
    return RecognizeRequest(
        received.images,
        field=received.field,
        is_batch=len(received.images) > 1 or received.is_list or _flag(options.get("batch", False)),
        charset=_charset(options.get("charset")),
        min_confidence=_min_confidence(options.get("min_confidence", 0)),
    )


def _charset(text: object) -> Sequence[str] | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise OptionError("charset must be a string of the characters that may occur")
    return tuple(dict.fromkeys(text.strip("\r\n")))


def _min_confidence(value: object) -> float:
    try:
        confidence = float(value)  # type: ignore[arg-type]  # whatever it is
    except (TypeError, ValueError, OverflowError):
        confidence = math.nan
    if not 0 <= confidence <= 1:
        raise OptionError(f"min_confidence must be a number from 0 to 1, not {str(value)[:20]!r}")
    return confidence


def _flag(value: object) -> bool:
    text = str(value).lower()
    if text not in FLAGS:
        raise OptionError(f"batch must be 1 or 0, not {text[:20]!r}")
    return FLAGS[text]


# --- results ---


def result_body(answer: Answer, min_confidence: float) -> dict[str, Any]:
    """Return the JSON object for one recognised image."""
    prediction = answer.prediction
    confident = prediction.confidence >= min_confidence
    body: dict[str, Any] = {
        "value": prediction.text if confident else "",
        "confidence": round(float(prediction.confidence), 6),
        "char_confidences": [round(float(c), 6) for c in prediction.char_confidences],
    }
    if not confident:
        return body | {"candidate": prediction.text}
    return body if answer.result is None else body | {"result": answer.result}
