"""The images of a request, in each of the ways in which clients send them."""

from __future__ import annotations

import base64
import binascii
import re
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import request
from werkzeug.exceptions import BadRequest

from cnnlib.console import examples
from cnnlib.dataset.images import looks_like_image
from cnnlib.serving.bodies import (
    FORM,
    UTF8_MARK,
    UTF16_MARKS,
    Part,
    is_json,
    is_multipart,
    read_body,
    read_form,
    read_json,
    read_parts,
    size,
    too_large,
)
from cnnlib.serving.limits import MAX_IMAGES

FIELD = "image_file"
FIELD_HEADER = "X-Image-Field"  # of the answer, where the images were in another one
IMAGE_FIELDS = (FIELD, "image", "images", "file", "files", "captcha", "img")
BASE64 = re.compile(rb"[A-Za-z0-9+/_-]+={0,3}")
INDEX = re.compile(r"\[\w*\]$")  # of a field, as PHP's forms have it
EDGES = b"\r\n\t\0\"'`"  # of base64, where it was quoted or cut from something
MAX_NAMED, MAX_NAME = 2, 40  # fields, and their characters, in a message
HOW_TO_SEND = (
    "send the image as a file in a field image_file, as multipart/form-data; or its bytes as "
    'image/png, application/octet-stream or the like; or JSON, {"image": "its bytes in base64"}'
)


@dataclass(frozen=True)
class Received:
    """The images of a request, as bytes, and where they were."""

    images: Sequence[bytes]
    field: str = ""  # that holds the images; "": they are the body
    is_list: bool = False  # however few they are


@dataclass(frozen=True)
class Fields:
    """What a request says: options by their names in lower case, and a way to its images.

    `find_images` takes names of fields: the images are in the first that has any, or are the body.
    It raises HTTPException where there are none, or too many.
    """

    options: Mapping[str, Any]
    find_images: Callable[[Sequence[str]], Received]


def read_fields() -> Fields:
    """Take the body of Flask's current request apart; raises HTTPException."""
    body, kind = read_body(), request.mimetype
    if not body:
        return _fields_of_form([], "an empty body")
    if looks_like_image(body):  # whatever its Content-Type says
        return Fields({}, lambda _: Received([body]))
    if is_multipart(kind, body):
        return _fields_of_form(read_parts(body))
    if is_json(kind, body):
        return _fields_of_json(read_json(body))
    image = decoded(body)
    is_image = looks_like_image(image)
    if is_image or kind.startswith("image/") or kind == "application/octet-stream":
        return Fields({}, lambda _: Received([image if is_image else body]))
    is_form = kind == FORM or (not kind and re.match(rb"\w+=", body))
    found = "" if is_form else f"a body of {size(len(body))}, {kind or 'without Content-Type'}"
    return _fields_of_form(read_form(body), found, in_form=True)


def decoded(data: bytes, in_form: bool = False) -> bytes:
    """Return what base64 text stands for, also in a data URL; other bytes as they are.

    Line breaks, the alphabet of URLs, missing padding, quotes and percent signs are accepted. Where
    there is no plus sign, blanks are taken for them: forms make one of the other, `in_form` also at
    the ends of lines.
    """
    text = data.removeprefix(UTF8_MARK)
    if text.startswith(UTF16_MARKS):  # as some shells write texts
        text = text.decode("utf-16", "replace").encode("ascii", "replace")
    # No image begins with what a blank may stand for.
    text = text.lstrip(EDGES + b" ").removeprefix(b"b'").strip(EDGES)
    if b"%" in text:
        text = urllib.parse.unquote_to_bytes(text)
    if text[:5].lower() == b"data:" or text.startswith(b"base64,"):
        text = text.partition(b",")[2]
    has_plus = b"+" in text
    edges = b"\t" if in_form and not has_plus else b"\t "
    text = b"".join(line.strip(edges) for line in text.splitlines())
    text = text.replace(b" ", b"" if has_plus else b"+")
    if not BASE64.fullmatch(text):
        return data
    text = text.rstrip(b"=")
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), b"-_")
    except binascii.Error:
        return data


# --- forms and JSON ---


def _fields_of_form(parts: Sequence[Part], found: str = "", in_form: bool = False) -> Fields:
    """Return the fields of a form; `found` says what the body is where it cannot have images."""
    by_name: dict[str, list[Part]] = {}
    for part in parts:
        by_name.setdefault(_plain(part.name), []).append(part)

    def find_images(names: Sequence[str]) -> Received:
        files = {name for name, group in by_name.items() if any(part.is_file for part in group)}
        filled = {name for name, group in by_name.items() if any(part.value for part in group)}
        field = None if found else _first(names, files & filled, filled)
        if field is None and not found:
            contents = {name: [part.value for part in by_name[name]] for name in filled}
            field = _only_with_image(contents, in_form) or _first(names, by_name)
        if field is None:
            sizes = ((part.name, len(part.value)) for part in parts)
            raise _nothing(found or _named("a field", sizes))
        # A page sends a part without bytes for a file that nobody chose.
        given = [part for part in by_name[field] if part.value] or by_name[field]
        return Received(_limited([_image(part.value, in_form) for part in given]), field)

    options = {name: group[0].value.decode(errors="replace") for name, group in by_name.items()}
    return Fields(options, find_images)


def _fields_of_json(values: Mapping[str, Any]) -> Fields:
    by_name = {_plain(name): value for name, value in values.items()}

    def find_images(names: Sequence[str]) -> Received:
        filled = {name for name, value in by_name.items() if value not in (None, "", [])}
        field = _first(names, filled)
        if field is None:
            contents = {name: _encoded_texts(by_name[name]) for name in filled}
            field = _only_with_image(contents) or _first(names, by_name)
        if field is None:
            sizes = ((name, len(v) if isinstance(v, str) else 0) for name, v in values.items())
            raise _nothing(_named("a key", sizes, "an empty object"))
        value = by_name[field]
        if not isinstance(value, list):
            return Received([_of_base64(value, field)], field)
        if not value:
            raise _nothing(f"an empty list '{field}'")
        for number, text in enumerate(value):
            if not isinstance(text, str):
                raise _wrong(f"'{field}'[{number}] must be a string, not a {type(text).__name__}")
        images = [_image(text.encode(errors="replace")) for text in _limited(value)]
        return Received(images, field, is_list=True)

    return Fields(by_name, find_images)


def _plain(name: str) -> str:
    return INDEX.sub("", name).lower()


def _first(names: Sequence[str], *choices: Iterable[str]) -> str | None:
    """Return the first of the names in the first of the choices that has any."""
    return next((name for choice in choices for name in names if name in choice), None)


def _only_with_image(contents: Mapping[str, list[bytes]], in_form: bool = False) -> str | None:
    """Return the field that has images, whatever its name; None where several have, or none."""
    found = [
        name
        for name, group in contents.items()
        if any(looks_like_image(_image(data, in_form)) for data in group)
    ]
    return found[0] if len(found) == 1 else None


def _encoded_texts(value: object) -> list[bytes]:
    """Return the texts of a JSON value, one or those of a list."""
    values = value if isinstance(value, list) else [value]
    return [text.encode(errors="replace") for text in values if isinstance(text, str)]


def _image(data: bytes, in_form: bool = False) -> bytes:
    """Return an image's bytes; those that are neither it nor its base64 as they are."""
    image = decoded(data, in_form)
    return image if looks_like_image(image) else data


def _of_base64(text: object, key: str) -> bytes:
    if not isinstance(text, str):
        raise _wrong(f"'{key}' must be a string, not a {type(text).__name__}")
    data = text.encode(errors="replace")
    image = decoded(data)
    if image is data and data:
        raise _wrong(f"'{key}' is not base64, but {size(len(data))} that begin {text[:20]!r}")
    return image


def _limited(images: Sequence[Any]) -> Sequence[Any]:
    if len(images) > MAX_IMAGES:
        raise too_large(f"{len(images)} images, more than {MAX_IMAGES}")
    return images


# --- messages ---


def _named(what: str, sizes: Iterable[tuple[str, int]], nothing: str = "an empty form") -> str:
    found = [
        f"{what} {name[:MAX_NAME]!r} of {size(count)}" if count else f"{what} {name[:MAX_NAME]!r}"
        for name, count in sizes
    ]
    return examples(found, MAX_NAMED) or nothing


def _nothing(found: str) -> BadRequest:
    return _wrong(f"no image in the request, but {found}")


def _wrong(what: str) -> BadRequest:
    return BadRequest(f"{what}: {HOW_TO_SEND}")
