"""Files that browsers show and Pillow refuses: an end or a comment is amiss, and no pixel."""

from __future__ import annotations

import io
import struct
from typing import Any

from PIL import Image

from cnnlib.dataset.file_kinds import ICON_START, JPEG_START, PNG_START
from cnnlib.dataset.icons import icon_image

JPEG_END, JPEG_SCAN = b"\xff\xd9", b"\xff\xda"
# What a decoder takes for pixels, unless it needs no more: bits of several patterns, with restart
# markers from any of them on. Bits of 0 are what it takes where there are none.
JPEG_FILLERS = tuple(
    b"".join(bytes([pattern] * 24 + [0xFF, 0xD0 + (i + first) % 8]) for i in range(8))
    for pattern, first in ((0xA5, 0), (0x5A, 4), (0xFE, 2))
)
ANIMATED_OR_TRANSPARENT = (b"tRNS", b"acTL", b"fcTL", b"fdAT")  # chunks that are not critical
MAX_SCANS = 1000  # that a hostile file costs; a progressive one has some 10


def is_mendable(start: bytes) -> bool:
    """Return whether `mended_file` may help with a file that begins with these bytes."""
    return start.startswith((PNG_START, ICON_START))


def mended_file(data: bytes) -> bytes | None:
    """Return a file that Pillow can open, in place of one that it cannot; None: there is none.

    A PNG loses what is not needed for its pixels: texts and profiles may be too long or damaged.
    Of an icon its image is left. Raises ValueError or struct.error where an icon is damaged.
    """
    if data.startswith(PNG_START):
        return _pixels_of_png(data)
    if data.startswith(ICON_START):
        return icon_image(data)
    return None


def mended_image(data: bytes) -> Image.Image | None:
    """Decode a file whose pixels Pillow has refused; None where some of them are missing."""
    try:
        if data.startswith(PNG_START):
            return _decoded(_pixels_of_png(data), "PNG")
        if data.startswith(JPEG_START):
            return _jpeg_without_end(data)
    except Exception:  # damaged: Pillow's decoders raise nearly anything
        return None
    return None


def scale_transparency(image: Image.Image) -> None:
    """Give the transparent value of a PNG in the 8 bits of its pixels, before they are decoded.

    Pillow leaves it in the bits of the file: 2 or 4 for gray, 16 for colours. Of those it decodes
    the upper 8, so that colours are held for transparent that differ in the lower ones.
    """
    value: Any = image.info.get("transparency")
    if value is None or image.format != "PNG" or not image.tile:  # type: ignore[attr-defined]
        return
    raw_mode = image.tile[0][3]  # type: ignore[attr-defined]
    if raw_mode == "1":
        image.info["transparency"] = 255 if value else 0
    elif raw_mode in ("L;2", "L;4"):
        image.info["transparency"] = value * (85 if raw_mode == "L;2" else 17)
    elif raw_mode == "RGB;16B":
        image.info["transparency"] = tuple(channel >> 8 for channel in value)


def _pixels_of_png(data: bytes) -> bytes:
    """Return a PNG file without the chunks that say nothing of its pixels."""
    kept, at, has_pixels = [PNG_START], len(PNG_START), False
    while at + 12 <= len(data):
        [size], kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        end = at + 12 + size
        turns = kind == b"eXIf" and not has_pixels  # browsers know no turn that comes later
        if kind[:1].isupper() or kind in ANIMATED_OR_TRANSPARENT or turns:
            kept.append(data[at:end])
        has_pixels = has_pixels or kind == b"IDAT"
        at = end
    return b"".join(kept)


def _jpeg_without_end(data: bytes) -> Image.Image | None:
    """Decode a JPEG that ends too early, where what follows does not change its pixels."""
    data = data.rstrip(b"\xff")  # half of a marker
    image = _decoded(data + JPEG_END, "JPEG")
    if not _has_all_scans(data, image.layers):  # type: ignore[attr-defined]
        return None
    pixels = image.tobytes()
    for filler in JPEG_FILLERS:
        if _decoded(data + filler + JPEG_END, "JPEG").tobytes() != pixels:
            return None
    return image


def _has_all_scans(data: bytes, components: int) -> bool:
    """Return whether each component has all bits of its 64 coefficients, which a progressive JPEG
    sends in several scans.
    """
    missing_bits: dict[int, list[int]] = {}
    at = data.find(JPEG_SCAN)
    for _ in range(MAX_SCANS):
        if at < 0:
            break
        count = data[at + 4]
        first, last, bits = data[at + 5 + 2 * count : at + 8 + 2 * count]
        for component in data[at + 5 : at + 5 + 2 * count : 2]:
            coefficients = missing_bits.setdefault(component, [1] * 64)
            coefficients[first : last + 1] = [bits & 15] * (last + 1 - first)
        at = data.find(JPEG_SCAN, at + 2)
    return len(missing_bits) >= components and not any(map(any, missing_bits.values()))


def _decoded(data: bytes, kind: str) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=(kind,))
    scale_transparency(image)
    image.load()
    return image
