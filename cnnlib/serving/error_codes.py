"""The status, the error_code and the message that the API answers for each error."""

from __future__ import annotations

from http import HTTPStatus

from flask import current_app, request
from werkzeug.exceptions import HTTPException

from cnnlib.errors import (
    CharsetError,
    ImageFormatError,
    ImageSizeError,
    ImageTooLargeError,
    OverloadError,
)

FAULT_CODE = "1099"
ERROR_CODES = {
    400: "1001",
    415: "1002",
    422: "1003",
    413: "1004",
    503: "1005",
    404: "1006",
    401: "1007",
    405: "1008",
}


class OptionError(ValueError):
    """An option of a request has a value that cannot be used."""


STATUS_OF: dict[type[Exception], int] = {
    ImageFormatError: 415,
    ImageSizeError: 422,
    CharsetError: 422,
    OptionError: 422,
    ImageTooLargeError: 413,
    OverloadError: 503,
}


def error_body(error: Exception) -> dict[str, str]:
    """Return the JSON object for an error."""
    return {"error_code": error_code(status_of(error)), "message": message_of(error)}


def status_of(error: Exception) -> int:
    """Return the status for an error: that of its class, else of the nearest base class."""
    if isinstance(error, HTTPException) and error.code:
        return error.code
    return next((STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF), 500)


def error_code(status: int) -> str:
    return ERROR_CODES.get(status, ERROR_CODES[400] if status < 500 else FAULT_CODE)


def message_of(error: Exception) -> str:
    """Return the message for the caller, our own where werkzeug's would not help."""
    if not isinstance(error, HTTPException):
        return str(error)
    status = status_of(error)
    by_itself = error.description == type(error).description  # werkzeug's own words
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and by_itself:
        limit = current_app.config["MAX_CONTENT_LENGTH"]
        return f"the request has {request.content_length} bytes: send {limit} at most"
    if status == HTTPStatus.NOT_FOUND and by_itself:
        return f"nothing is at {request.path[:100]}: /b takes images, /docs describes the API"
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        images = ": images go to /b" if request.method == "POST" else ""
        return f"{request.method} is not possible here{images}; the header Allow names what is"
    return error.description or HTTPStatus(status).phrase
