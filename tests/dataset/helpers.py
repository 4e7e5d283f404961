"""Rules for images, files of images, and ways to give files their names."""

from __future__ import annotations

import dataclasses
import io
import struct
import zlib
from typing import Any

from cnnlib.config_reader import IMAGE_SUFFIXES
from cnnlib.dataset.verification import Rules
from tests.crashes import no_links, other_device
from tests.helpers import SPEC


def rules(suffixes: tuple[str, ...] = IMAGE_SUFFIXES, **changed: Any) -> Rules:
    """Return rules for SPEC, unless something in it is changed."""
    return Rules(dataclasses.replace(SPEC, **changed), suffixes)


WAYS = {
    "links": lambda patch: None,
    "another file system": other_device,
    "no links": no_links,
}


def file_bytes(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width, height, data, interlace=0):
    """Return a PNG file, 8 bits of gray, whose lines begin with their filter type."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlace))
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )
