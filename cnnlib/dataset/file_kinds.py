"""What a file is, by its first bytes."""

from __future__ import annotations

import re

START_BYTES = 1024  # by which a file's kind is known
PNG_START, JPEG_START, ICON_START = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\0\0\1\0"
FORMATS = (  # patterns of how each begins and of what must follow, and the suffix of its files
    (PNG_START[:4], PNG_START[4:], "png"),
    (JPEG_START + b"\xff", b"", "jpg"),
    (rb"GIF8", rb"[79]a", "gif"),
    (rb"BM", rb"", "bmp"),
    (rb"RIFF", rb"....WEBP", "webp"),
    (rb"....ftyp", rb"(avi[fs]|m[is]f1)", "avif"),
    (rb"II[*+]\0|MM\0[*+]|II\0\*|MM\*\0", rb"", "tif"),
    (ICON_START, rb"", "ico"),
)
LIKE_AN_IMAGE = re.compile(b"|".join(begin for begin, _, _ in FORMATS), re.DOTALL)
SUFFIX_OF_START = [(re.compile(begin + rest, re.DOTALL), suffix) for begin, rest, suffix in FORMATS]
OTHER_FILES = {
    JPEG_START: "a damaged JPEG",
    PNG_START: "a damaged PNG",
    b"GIF8": "a damaged GIF",
    b"%PDF": "a PDF",
    b"PK\3\4": "a ZIP archive",
    b"\x1f\x8b": "data compressed with gzip",
}
NAMED_BYTES = 16


def suffix_of(start: bytes) -> str:
    """Return the suffix that an image's content should have; "" for no accepted format."""
    return next((suffix for pattern, suffix in SUFFIX_OF_START if pattern.match(start)), "")


def looks_like_image(start: bytes) -> bool:
    """Return whether it may be an image, also a damaged one or one of a related format."""
    return bool(LIKE_AN_IMAGE.match(start))


def is_svg(start: bytes) -> bool:
    """Return whether a file that begins with these bytes is a drawing in SVG."""
    text = start.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").lower()
    return text.startswith((b"<svg", b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in text


def what_it_is(start: bytes) -> str:
    """Return in words what a file is that begins with these bytes and is no image."""
    if not start:
        return "an empty file"
    for begins, what in OTHER_FILES.items():
        if start.startswith(begins):
            return what
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.lower().startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page (HTML): look at what the site has answered"
    if text and text[:NAMED_BYTES].isascii() and text[:NAMED_BYTES].decode("ascii").isprintable():
        return f"text that begins {text[:NAMED_BYTES].decode('ascii')!r}"
    return f"bytes that begin {start[:8].hex(' ')}"
