"""The images of a request, in each of the ways in which clients send them."""

from __future__ import annotations

import base64
import binascii
import json
import re
import urllib.parse
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import current_app, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from cnnlib.serving.error_codes import MAX_IMAGES

FIELD = "image_file"
FIELD_HEADER = "X-Image-Field"  # of the answer, where the images were in another one
OTHER_FIELDS = ("image", "images", "file", "files", "captcha", "img")  # where there is no FIELD
SIGNATURES = b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*", b"\0\0\1\0"
BRAND = b"ftyp"  # of AVIF, after four bytes
BASE64 = re.compile(rb"[A-Za-z0-9+/_-]+={0,2}")
FORM = "application/x-www-form-urlencoded"  # also what curl calls anything that it is given
WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # for zlib
MAX_PARTS = 2 * MAX_IMAGES
MAX_NAMED = 2  # fields, in a message
HOW_TO_SEND = (
    "send the image as a file in a field image_file, as multipart/form-data; or its bytes as "
    'image/png, application/octet-stream or the like; or JSON, {"image": "its bytes in base64"}'
)

Fields = Sequence[tuple[str, bytes]]  # names and values, in their order


@dataclass(frozen=True)
class Received:
    """The images of a request, as bytes, and what it says beside them."""

    images: Sequence[bytes]
    options: Mapping[str, Any]
    field: str = ""  # that holds the images; "": they are the body
    is_list: bool = False  # however few they are


def receive(names: Sequence[str] = (FIELD, *OTHER_FIELDS)) -> Received:
    """Read Flask's current request; raises HTTPException.

    The images are in the first field of these `names` that is not empty, or are the body.
    """
    body, kind = _body(), request.mimetype
    if not body:
        raise _nothing("an empty body")
    if kind == "multipart/form-data":
        return _of_fields(list(_parts(body, request.mimetype_params.get("boundary", ""))), names)
    if _is_json(kind, body):
        return _of_json(body, names)
    image = decoded(body)
    if kind.startswith("image/") or kind == "application/octet-stream" or _is_image(image):
        return Received([image], {})
    if kind == FORM:
        return _of_fields(_form(body), names)
    raise _nothing(f"a body of {size(len(body))}, {kind or 'without Content-Type'}")


def _body() -> bytes:
    """Return the body, decompressed; raises HTTPException above the limit, compressed or not."""
    data = request.get_data()
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return data
    if encoding not in WINDOW_BITS:
        raise UnsupportedMediaType(
            f"Content-Encoding {encoding[:20]!r} is not accepted: send the body as it is, "
            "or as gzip"
        )
    limit = current_app.config["MAX_CONTENT_LENGTH"]
    decompressor = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        body = decompressor.decompress(data, limit + 1)
    except zlib.error as error:
        raise BadRequest(f"the body is not {encoding} as its Content-Encoding says") from error
    if len(body) > limit:
        raise RequestEntityTooLarge()
    if not decompressor.eof:
        raise BadRequest(f"the {encoding} of the body ends too early")
    return body


def decoded(data: bytes) -> bytes:
    """Return what base64 text stands for, also in a data URL; other bytes as they are.

    Line breaks, the alphabet of URLs and missing padding are accepted, and blanks where a form has
    made them of plus signs.
    """
    text = data.strip()
    if text.startswith(b"data:"):
        text = urllib.parse.unquote_to_bytes(text.partition(b",")[2])
    text = b"".join(line.strip() for line in text.splitlines()).replace(b" ", b"+")
    if not BASE64.fullmatch(text):
        return data
    text = text.rstrip(b"=")
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), b"-_")
    except binascii.Error:
        return data


def _is_image(data: bytes) -> bool:
    return data.startswith(SIGNATURES) or data[4:8] == BRAND


def _is_json(kind: str, body: bytes) -> bool:
    """Return whether it is JSON; a page may send that as text/plain, which needs no preflight."""
    return kind == "application/json" or kind.endswith("+json") or body.lstrip()[:1] == b"{"


# --- forms ---


def _form(body: bytes) -> Fields:
    try:
        fields = urllib.parse.parse_qsl(body, keep_blank_values=True, max_num_fields=MAX_PARTS)
    except ValueError as error:
        raise RequestEntityTooLarge() from error
    return [(name.decode(errors="replace"), value) for name, value in fields]


def _parts(body: bytes, boundary: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each part, with a file name or without."""
    name, content = "", b""
    try:
        decoder = MultipartDecoder(boundary.encode(), max_parts=MAX_PARTS)
        decoder.receive_data(body)
        decoder.receive_data(None)
        while not isinstance(event := decoder.next_event(), (Epilogue, NeedData)):
            if isinstance(event, (Field, File)):
                name, content = event.name or "", b""  # a damaged part has no name
            elif isinstance(event, Data):
                content += event.data
                if not event.more_data:
                    yield name, content
    except ValueError as error:
        raise BadRequest(f"the form is damaged ({error}): {HOW_TO_SEND}") from error


def _of_fields(fields: Fields, names: Sequence[str]) -> Received:
    by_name: dict[str, list[bytes]] = {}
    for name, value in fields:
        by_name.setdefault(name.removesuffix("[]"), []).append(value)
    field = _field_of(by_name, names)
    if field is None:
        raise _nothing(_named("a field", ((name, len(value)) for name, value in fields)))
    options = {name: values[0].decode(errors="replace") for name, values in by_name.items()}
    return Received(_limited([decoded(value) for value in by_name[field]]), options, field)


def _field_of(values: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """Return the name that holds the images: one that is not empty, if any."""
    present = [name for name in names if name in values]
    filled = (name for name in present if values[name] not in (None, "", [], [b""]))
    return next(filled, present[0] if present else None)


# --- JSON ---


def _of_json(body: bytes, names: Sequence[str]) -> Received:
    try:
        values = json.loads(body)
    except RecursionError as error:
        raise BadRequest("the JSON is nested too deeply") from error
    except ValueError as error:  # also where it is not UTF-8
        raise BadRequest(f"the JSON cannot be read ({error}): {HOW_TO_SEND}") from error
    if not isinstance(values, dict):
        raise BadRequest(f"the JSON must be an object: {HOW_TO_SEND}")
    field = _field_of(values, names)
    if field is None:
        sizes = ((name, len(v) if isinstance(v, str) else 0) for name, v in values.items())
        raise _nothing(_named("a key", sizes))
    texts, is_list = values[field], isinstance(values[field], list)
    images = [_of_base64(text, field) for text in _limited(texts if is_list else [texts])]
    if not images:
        raise _nothing(f"an empty list '{field}'")
    return Received(images, values, field, is_list)


def _of_base64(text: object, key: str) -> bytes:
    if not isinstance(text, str):
        raise BadRequest(f"'{key}' must be a string: {HOW_TO_SEND}")
    data = text.encode(errors="replace")
    image = decoded(data)
    if image is data and data:
        raise BadRequest(
            f"'{key}' is not base64, but {size(len(data))} that begin {text[:20]!r}: {HOW_TO_SEND}"
        )
    return image


# --- messages ---


def size(count: int) -> str:
    """Return a number of bytes in words."""
    if count < 1000:
        return f"{count} byte{'' if count == 1 else 's'}"
    return f"{count / 1000:.0f} KB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def _named(what: str, sizes: Iterable[tuple[str, int]]) -> str:
    found = [
        f"{what} {name!r} of {size(count)}" if count else f"{what} {name!r}"
        for name, count in sizes
    ]
    more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    return ", ".join(found[:MAX_NAMED]) + more or "an empty form"


def _nothing(found: str) -> BadRequest:
    return BadRequest(f"no image in the request, but {found}: {HOW_TO_SEND}")


def _limited(images: Sequence[Any]) -> Sequence[Any]:
    if len(images) > MAX_IMAGES:
        raise RequestEntityTooLarge()
    return images
