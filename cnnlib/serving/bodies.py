"""The body of a request: decompressed, and taken apart into fields or JSON."""

from __future__ import annotations

import json
import re
import urllib.parse
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from flask import current_app, g, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from cnnlib.serving.limits import MAX_IMAGES

MULTIPART = "multipart/form-data"
FORM = "application/x-www-form-urlencoded"  # also what curl calls anything that it is given
WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # for zlib
RAW_DEFLATE = -15
MAX_PARTS = 2 * MAX_IMAGES
UTF8_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = b"\xff\xfe", b"\xfe\xff"
CHARSETS = ("utf-8", "utf8", "utf-16", "base64", "binary", "8bit", "none")


@dataclass(frozen=True)
class Part:
    """A field of a form."""

    name: str
    value: bytes
    is_file: bool = False


def read_body() -> bytes:
    """Return the body, decompressed; raises HTTPException above the limit, compressed or not."""
    limit = current_app.config["MAX_CONTENT_LENGTH"]
    data = request.get_data()
    # Of a body of unknown length werkzeug gives what is below the limit, and says nothing.
    if request.content_length is None and len(data) >= limit:
        raise too_large(f"more than {size(limit)}")
    g.body_read = True
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    # Some programs name here how characters are encoded.
    if encoding in ("", "identity", *CHARSETS):
        return data
    if encoding not in WINDOW_BITS:
        raise UnsupportedMediaType(
            f"Content-Encoding {encoding[:20]!r} is not accepted: send the body as it is, "
            "or as gzip"
        )
    return _decompressed(data, encoding, limit)


def _decompressed(data: bytes, encoding: str, limit: int) -> bytes:
    body, bits = b"", WINDOW_BITS[encoding]
    if encoding == "deflate" and (not data or data[0] & 15 != 8):  # without zlib's header
        bits = RAW_DEFLATE
    while data:
        decompressor = zlib.decompressobj(bits)
        try:
            body += decompressor.decompress(data, limit + 1 - len(body))
        except zlib.error as error:
            raise BadRequest(f"the body is not {encoding} as its Content-Encoding says") from error
        if len(body) > limit:
            raise too_large(f"more than {size(limit)} when it is decompressed")
        if not decompressor.eof:
            raise BadRequest(f"the {encoding} of the body ends too early")
        data = decompressor.unused_data.lstrip(b"\0")  # another member may follow
    return body


def is_json(kind: str, body: bytes) -> bool:
    """Return whether it is JSON; a page may send that as text/plain, which needs no preflight."""
    start = body.removeprefix(UTF8_MARK).lstrip()[:1]
    return kind == "application/json" or kind.endswith("+json") or start == b"{"


def read_json(body: bytes) -> dict[str, Any]:
    """Return the object that the JSON is; raises BadRequest."""
    try:
        values = json.loads(_json_text(body.removeprefix(UTF8_MARK)))
    except RecursionError as error:
        raise BadRequest("the JSON is nested too deeply") from error
    except ValueError as error:  # also where it is not UTF-8
        raise BadRequest(f"the JSON cannot be read ({error})") from error
    if not isinstance(values, dict):
        raise BadRequest(f"the JSON must be an object, not a {type(values).__name__}")
    return values


def _json_text(body: bytes) -> bytes | str:
    """Return JSON to be read: its bytes where they are Unicode, else by the request's charset."""
    charset = request.mimetype_params.get("charset", "")
    try:
        body.decode(json.detect_encoding(body))
    except UnicodeDecodeError:
        with suppress(LookupError, UnicodeDecodeError):
            return body.decode(charset)
        return body.decode("latin-1") if not charset else body
    return body


def is_multipart(kind: str, body: bytes) -> bool:
    return kind == MULTIPART or (
        body.startswith(b"--") and b"content-disposition:" in body[:400].lower()
    )


def read_parts(body: bytes) -> list[Part]:
    """Return the parts of a multipart form, with a file name or without; raises HTTPException."""
    boundary = request.mimetype_params.get("boundary", "").encode() or _first_boundary(body)
    if not boundary:
        raise BadRequest(
            f"the Content-Type {MULTIPART} has no boundary: leave that header to your client"
        )
    try:
        try:
            return list(_parts(body, boundary))
        except UnicodeDecodeError:  # file names in the encoding of an old system
            return list(_parts(_with_ascii_headers(body, boundary), boundary))
    except RequestEntityTooLarge:
        raise too_large(f"more than {MAX_PARTS} fields") from None
    except ValueError as error:
        raise BadRequest(f"the form is damaged ({error})") from error


def _parts(body: bytes, boundary: bytes) -> Iterator[Part]:
    decoder = MultipartDecoder(boundary, max_parts=MAX_PARTS)
    decoder.receive_data(body)
    decoder.receive_data(None)
    name, content, is_file = "", b"", False
    while not isinstance(event := decoder.next_event(), (Epilogue, NeedData)):
        if isinstance(event, (Field, File)):
            # A damaged part has no name.
            name, content, is_file = event.name or "", b"", isinstance(event, File)
        elif isinstance(event, Data):
            content += event.data
            if not event.more_data:
                yield Part(name, content, is_file)


def _first_boundary(body: bytes) -> bytes:
    first = body.partition(b"\n")[0].strip()
    return first[2:] if first.startswith(b"--") else b""


def _with_ascii_headers(body: bytes, boundary: bytes) -> bytes:
    headers = rb"(--" + re.escape(boundary) + rb"\r?\n.*?\r?\n\r?\n)"
    return re.sub(headers, lambda m: re.sub(rb"[\x80-\xff]", b"_", m[1]), body, flags=re.DOTALL)


def read_form(body: bytes) -> list[Part]:
    """Return the fields of an urlencoded form; raises RequestEntityTooLarge."""
    text = body.decode("latin-1")  # any byte is a character of it
    try:
        fields = urllib.parse.parse_qsl(
            text, keep_blank_values=True, encoding="latin-1", max_num_fields=MAX_PARTS
        )
    except ValueError:
        raise too_large(f"more than {MAX_PARTS} fields") from None
    return [
        Part(name.encode("latin-1").decode(errors="replace"), value.encode("latin-1"))
        for name, value in fields
    ]


def too_large(what: str) -> RequestEntityTooLarge:
    """Return the error for a request that has more than is accepted."""
    return RequestEntityTooLarge(f"the request has {what}: send small images, and fewer")


def size(count: int) -> str:
    """Return a number of bytes in words."""
    if count < 1000:
        return f"{count} byte{'' if count == 1 else 's'}"
    return f"{count / 1000:.0f} KB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"
