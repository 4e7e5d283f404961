"""The recognition API's description of itself (OpenAPI 3.1), as /openapi.json answers it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnnlib.wire import ERROR_CODES, FAULT, MAX_IMAGES

JSON = "application/json"


def describe(models: Sequence[str], needs_key: bool) -> dict[str, Any]:
    """Return the description of an API that serves these models."""
    keys = {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "bearer": {"type": "http", "scheme": "bearer"}}
    guarded: list[dict[str, Any]] = [{name: []} for name in keys] if needs_key else []
    name = {"name": "name", "in": "path", "required": True, "description": "a model",
            "schema": {"type": "string", "enum": list(models)}}
    described = {
        "openapi": "3.1.0",
        "info": {"title": "cnn_captcha", "version": "3.0.0",
                 "description": "Recognises the text in images of captchas."},
        "paths": {
            "/b": {"post": _recognition("recognize", [], [400, 413, 415, 422, 503], guarded)},
            "/b/{name}": {"post": _recognition(
                "recognizeWith", [name], [400, 404, 413, 415, 422, 503], guarded)},
            "/models": {"get": _look("models", "the models that are served", "Models", guarded)},
            "/health/live": {"get": _look("live", "the process answers", "Status", [])},
            "/health/ready": {"get": _look(
                "ready", "every model answers a test image", "Status", [], {
                    "503": _content("a model does not answer", "Status")})},
            "/metrics": {"get": _answer_of_text("metrics", "for Prometheus")},
            "/openapi.json": {"get": _look("openapi", "this description", "Description", [])},
        },
        "components": {"schemas": _SCHEMAS},
    }
    if needs_key:
        described["components"] = {"schemas": _SCHEMAS, "securitySchemes": keys}
    return described


def _recognition(operation: str, parameters: list[dict[str, Any]], errors: list[int],
                 security: list[dict[str, Any]]) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return _secured({
        "operationId": operation, "summary": "recognise images",
        "parameters": [*parameters, *_OPTIONS],
        "requestBody": {"required": True, "content": {
            "multipart/form-data": {"schema": {"$ref": "#/components/schemas/Upload"}},
            JSON: {"schema": {"$ref": "#/components/schemas/Base64"}},
            "application/octet-stream": binary, "image/png": binary, "image/jpeg": binary}},
        "responses": {
            "200": {"description": "the text of the image, or of each of several",
                    "content": {JSON: {"schema": {"oneOf": [
                        {"$ref": "#/components/schemas/Answer"},
                        {"$ref": "#/components/schemas/Answers"}]}}}},
            **{str(status): _content(f"error_code {ERROR_CODES[status]}", "Error")
               for status in errors},
            "500": _content(f"error_code {FAULT}", "Error")}}, security)


def _look(operation: str, summary: str, schema: str, security: list[dict[str, Any]],
          others: dict[str, Any] | None = None) -> dict[str, Any]:
    return _secured({"operationId": operation, "summary": summary, "responses": {
        "200": _content(summary, schema), **(others or {})}}, security)


def _answer_of_text(operation: str, summary: str) -> dict[str, Any]:
    return {"operationId": operation, "summary": summary, "responses": {"200": {
        "description": summary, "content": {"text/plain": {"schema": {"type": "string"}}}}}}


def _secured(operation: dict[str, Any], security: list[dict[str, Any]]) -> dict[str, Any]:
    if security:
        operation["security"] = security
        operation["responses"]["401"] = _content(f"error_code {ERROR_CODES[401]}", "Error")
    return operation


def _content(description: str, schema: str) -> dict[str, Any]:
    return {"description": description,
            "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


def _object(properties: dict[str, Any], required: Sequence[str] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": properties,
            "required": list(properties if required is None else required)}


_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_TEXT = {"type": "string"}
_CHARSET = {"type": "string", "minLength": 1,
            "description": "the answer has these characters alone"}
_LEAST = {**_SHARE, "description": "below it `value` is empty, and the text is `candidate`"}
_OPTIONS = [
    {"name": "charset", "in": "query", "schema": _CHARSET},
    {"name": "min_confidence", "in": "query", "schema": _LEAST},
    {"name": "route", "in": "query", "schema": {"type": "string", "enum": ["size"]},
     "description": "let the first model answer that takes images of this size"},
]
_RESULT = {"value": _TEXT, "confidence": _SHARE,
           "char_confidences": {"type": "array", "items": _SHARE}, "candidate": _TEXT}
_REQUIRED = ("value", "confidence", "char_confidences")
_CLOCK = {"time": {"type": "string", "description": "seconds since 1970"},
          "speed_time(ms)": {"type": "integer"}}
_SCHEMAS = {
    "Upload": _object({
        "image_file": {"type": "array", "minItems": 1, "maxItems": MAX_IMAGES,
                       "items": {"type": "string", "format": "binary"}},
        "charset": _CHARSET, "min_confidence": _LEAST}, ["image_file"]),
    "Base64": _object({"image": {"type": "string", "contentEncoding": "base64"},
                       "charset": _CHARSET, "min_confidence": _LEAST}, ["image"]),
    "Answer": _object({**_CLOCK, **_RESULT}, [*_CLOCK, *_REQUIRED]),
    "Answers": _object({**_CLOCK, "results": {"type": "array", "items": {"oneOf": [
        _object(_RESULT, _REQUIRED), {"$ref": "#/components/schemas/Error"}]}}}),
    "Error": _object({"error_code": {"type": "string", "enum": [*ERROR_CODES.values(), FAULT]},
                      "message": _TEXT}),
    "Models": _object({"pid": {"type": "integer"},
                       "models": {"type": "array", "items": _object({
                           "name": _TEXT, "width": {"type": "integer"},
                           "height": {"type": "integer"}, "characters": _TEXT,
                           "since": {"type": "number"}})}}),
    "Status": _object({"status": _TEXT}),
    "Description": {"type": "object"},
}
