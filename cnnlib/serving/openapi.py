"""The recognition API's description of itself (OpenAPI 3.1), as /openapi.json answers it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnnlib.serving.error_codes import ERROR_CODES, FAULT_CODE
from cnnlib.serving.limits import MAX_IMAGES
from cnnlib.serving.received import FIELD, FIELD_HEADER
from cnnlib.version import __version__

Object = dict[str, Any]  # of JSON

JSON = "application/json"
MEANINGS = {
    "1001": "no image in the request, or it cannot be read",
    "1002": "not an image, or a format that is not accepted",
    "1003": "an image of another size, or an option that cannot be used",
    "1004": "too many bytes, pixels or images",
    "1005": "overloaded: try again after the seconds in Retry-After",
    "1006": "no such model",
    "1007": "the key is missing or wrong",
    "1008": "another method",
    FAULT_CODE: "a fault in the server",
}


def describe_api(models: Sequence[str], needs_key: bool) -> Object:
    """Return the description of an API that serves these models."""
    schemes = {
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cnn_captcha",
            "version": __version__,
            "description": "Recognises the text in images of captchas.",
        },
        "paths": _paths(models, [{name: []} for name in schemes] if needs_key else []),
        "components": {"schemas": SCHEMAS} | ({"securitySchemes": schemes} if needs_key else {}),
    }


def _paths(models: Sequence[str], security: list[Object]) -> Object:
    name = {
        "name": "name",
        "in": "path",
        "required": True,
        "description": "a model",
        "schema": {"type": "string", "enum": list(models)},
    }
    errors = [400, 413, 415, 422, 503]
    not_ready = {"503": _json("a model does not answer", "Status")}
    return {
        "/b": _post("recognize", [], errors, security),
        "/b/{name}": _post("recognizeWith", [name], sorted([404, *errors]), security),
        "/": _get("home", "a page to try it", None, kind="text/html"),
        "/docs": _get("docs", "this description, as a page", None, kind="text/html"),
        "/models": _get("models", "the models that are served", "Models", security),
        "/health/live": _get("live", "the process answers", "Status"),
        "/health/ready": _get(
            "ready", "every model answers a test image", "Status", others=not_ready
        ),
        "/metrics": _get("metrics", "for Prometheus", None),
        "/openapi.json": _get("openapi", "this description", "Description"),
    }


# --- operations ---


def _post(
    operation: str, parameters: list[Object], errors: list[int], security: list[Object]
) -> Object:
    binary = {"schema": {"type": "string", "format": "binary"}}
    body = {
        "multipart/form-data": {"schema": _reference("Upload")},
        JSON: {"schema": _reference("Base64")},
        "application/x-www-form-urlencoded": {"schema": _reference("Form")},
        "application/octet-stream": binary,
        "image/png": binary,
        "image/jpeg": binary,
    }
    answer = {"oneOf": [_reference("Answer"), _reference("Answers")]}
    described = {
        "operationId": operation,
        "summary": "recognise images",
        "parameters": [*parameters, *OPTIONS],
        "requestBody": {"required": True, "content": body},
        "responses": {
            "200": {
                "description": "the text of the image, or of each of several",
                "headers": {FIELD_HEADER: FIELD_USED},
                "content": {JSON: {"schema": answer}},
            },
            **{str(status): _error(ERROR_CODES[status]) for status in errors},
            "500": _error(FAULT_CODE),
        },
    }
    return {"post": _secured(described, security)}


def _get(
    operation: str,
    summary: str,
    schema: str | None,
    security: Sequence[Object] = (),
    others: Object | None = None,
    kind: str = "text/plain",
) -> Object:
    """Describe an address that answers this schema; None: text of this kind."""
    text = {"description": summary, "content": {kind: {"schema": TEXT}}}
    answer = _json(summary, schema) if schema else text
    described = {
        "operationId": operation,
        "summary": summary,
        "responses": {"200": answer, **(others or {})},
    }
    return {"get": _secured(described, security)}


def _secured(operation: Object, security: Sequence[Object]) -> Object:
    if security:
        operation["security"] = list(security)
        operation["responses"]["401"] = _error(ERROR_CODES[401])
    return operation


def _error(code: str) -> Object:
    return _json(f"{MEANINGS[code]} (error_code {code})", "Error")


def _json(description: str, schema: str) -> Object:
    return {"description": description, "content": {JSON: {"schema": _reference(schema)}}}


def _reference(schema: str) -> Object:
    return {"$ref": f"#/components/schemas/{schema}"}


# --- schemas ---


def _object(properties: Object, required: Sequence[str] | None = None) -> Object:
    """Describe an object; without `required` all of its properties are."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties if required is None else required),
    }


TEXT = {"type": "string"}
INTEGER = {"type": "integer"}
PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1}
CHARSET = {
    "type": "string",
    "minLength": 1,
    "description": "the text has only these characters",
}
MIN_CONFIDENCE = {
    **PROBABILITY,
    "description": "below it `value` is empty, and the text is `candidate`",
}
BATCH = {
    "type": "string",
    "enum": ["1", "0"],
    "description": "1: the answer is a list, also for one image",
}
FIELD_USED = {
    "schema": {"type": "string"},
    "description": f"the field that held the image, where it was not {FIELD}",
}
OPTIONS = [
    {"name": "charset", "in": "query", "schema": CHARSET},
    {"name": "min_confidence", "in": "query", "schema": MIN_CONFIDENCE},
    {"name": "batch", "in": "query", "schema": BATCH},
    {
        "name": "route",
        "in": "query",
        "schema": {"type": "string", "enum": ["size"]},
        "description": "let the first model answer that takes images of this size",
    },
]
FORM_OPTIONS = {"charset": CHARSET, "min_confidence": MIN_CONFIDENCE, "batch": BATCH}
FILES = {
    "type": "array",
    "minItems": 1,
    "maxItems": MAX_IMAGES,
    "items": {"type": "string", "format": "binary"},
}
BASE64 = {"type": "string", "contentEncoding": "base64"}
REQUIRED_RESULT: Object = {
    "value": TEXT,
    "confidence": PROBABILITY,
    "char_confidences": {"type": "array", "items": PROBABILITY},
}
RESULT = REQUIRED_RESULT | {
    "candidate": TEXT,
    "result": {"type": "integer", "description": "of the sum that the text is"},
}
TIMING: Object = {
    "time": {"type": "string", "description": "seconds since 1970"},
    "speed_time(ms)": INTEGER,
}
RESULTS = {
    "type": "array",
    "items": {"oneOf": [_object(RESULT, list(REQUIRED_RESULT)), _reference("Error")]},
}
MODEL = _object(
    {
        "name": TEXT,
        "width": INTEGER,
        "height": INTEGER,
        "characters": TEXT,
        "since": {"type": "number"},
    }
)
SCHEMAS = {
    "Upload": _object({FIELD: FILES, **FORM_OPTIONS}, [FIELD]),
    "Base64": {
        "description": "one image, or several",
        "anyOf": [
            _object({"image": BASE64, **FORM_OPTIONS}, ["image"]),
            _object(
                {"images": {**FILES, "items": BASE64}, **FORM_OPTIONS},
                ["images"],
            ),
        ],
    },
    "Form": _object({FIELD: BASE64, **FORM_OPTIONS}, [FIELD]),
    "Answer": _object({**TIMING, **RESULT}, [*TIMING, *REQUIRED_RESULT]),
    "Answers": _object({**TIMING, "results": RESULTS}),
    "Error": _object(
        {
            "error_code": {"type": "string", "enum": [*ERROR_CODES.values(), FAULT_CODE]},
            "message": TEXT,
        }
    ),
    "Models": _object({"pid": INTEGER, "models": {"type": "array", "items": MODEL}}),
    "Status": _object({"status": TEXT}),
    "Description": {"type": "object"},
}
