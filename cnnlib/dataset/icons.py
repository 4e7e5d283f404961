"""ICO files: the image that a browser shows of those in one icon."""

from __future__ import annotations

import struct

from cnnlib.dataset.file_kinds import PNG_START

ENTRY = struct.Struct("<BBBxHHII")  # width, height, colours, planes, bits, bytes, where they begin
BITMAP = struct.Struct("<IiiHHII")  # size of the header, width, twice the height, planes, bits, ...
FILE_HEADER_BYTES = 14
BITFIELDS, MASKED_HEADER_BYTES = 3, 108
BGRA_MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def icon_image(data: bytes) -> bytes:
    """Return an icon's largest image, of those the one with the most bits, as a PNG or BMP file.

    Raises ValueError or struct.error where the file is damaged, or the image has a mask that
    cannot be kept: one of fewer than 32 bits a pixel with transparent parts.
    """
    [count] = struct.unpack_from("<H", data, 4)
    entries = [ENTRY.unpack_from(data, 6 + ENTRY.size * i) for i in range(min(count, 256))]
    if not entries:
        raise ValueError("icon without an image")
    *_, size, start = max(entries, key=lambda e: ((e[0] or 256) * (e[1] or 256), e[4]))
    image = data[start : start + size]
    return image if image.startswith(PNG_START) else _bitmap_file(image)


def _bitmap_file(image: bytes) -> bytes:
    """Return a BMP file of an icon's bitmap, whose mask follows its pixels."""
    header, width, doubled, planes, bits, compression, _ = BITMAP.unpack_from(image)
    height = doubled // 2
    if header != 40 or compression or width <= 0 or height <= 0:
        raise ValueError("icon of an unknown kind")
    [colours] = struct.unpack_from("<I", image, 32)
    palette = 4 * (colours or 1 << bits) if bits <= 8 else 0
    row, mask_row = (width * bits + 31) // 32 * 4, (width + 31) // 32 * 4
    start = header + palette
    pixels = image[start : start + row * height]
    if bits == 32 and any(pixels[3::4]):
        fields = BITMAP.pack(MASKED_HEADER_BYTES, width, height, planes, bits, BITFIELDS, 0)
        info = fields + bytes(16) + struct.pack("<4I", *BGRA_MASKS)
        return _file(info.ljust(MASKED_HEADER_BYTES, b"\0"), b"", pixels)
    if any(image[start + row * height : start + (row + mask_row) * height]):
        raise ValueError("icon with a mask: save it as PNG")
    fields = BITMAP.pack(header, width, height, planes, bits, 0, 0)
    return _file(fields + image[BITMAP.size : header], image[header:start], pixels)


def _file(info: bytes, palette: bytes, pixels: bytes) -> bytes:
    start = FILE_HEADER_BYTES + len(info) + len(palette)
    head = b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start)
    return head + info + palette + pixels
