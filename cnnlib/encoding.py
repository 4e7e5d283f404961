"""The contract between the outside and tensors, in one place for every script.

image -> pixels: any accepted image becomes uint8 gray [H, W].
label <-> class ids: class i is the i-th character of char_set.
file name <-> label: the label stands before the first `_` of the name.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import secrets
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from cnnlib.errors import (
    ImageFormatError,
    ImageSizeError,
    ImageTooLargeError,
    SampleError,
)

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
MAX_PIXELS = 4_000_000  # a captcha has some 6,000; decoding this many takes 12 MB and 50 ms
SEPARATOR = "_"

# Once for the process: warnings.catch_warnings is not safe beside other threads.
warnings.simplefilter("error", Image.DecompressionBombWarning)


def open_image(source: bytes | str | os.PathLike[str]) -> Image.Image:
    """Decode the first frame of an image, given its bytes or its path.

    Raises ImageFormatError where there is no whole image of an accepted format and
    ImageTooLargeError above MAX_PIXELS, which is checked before any pixel is decoded.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else Path(source)
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageTooLargeError(
                    f"image of {image.width}x{image.height} has more than {MAX_PIXELS} pixels: "
                    "scale it down")
            image.load()
            return image
    except ImageTooLargeError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError(f"image has more than {MAX_PIXELS} pixels: "
                                 "scale it down") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged data
        # Pillow names the object in memory where it knows no format.
        detail = "" if isinstance(error, UnidentifiedImageError) else f" ({error})"
        raise ImageFormatError(
            f"no whole image in one of the formats {', '.join(FORMATS)}{detail}") from error


def image_to_pixels(image: Image.Image) -> np.ndarray:
    """Return gray pixels, uint8 [H, W]; what is transparent shows white below it.

    Gray is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), as Pillow computes it.
    """
    if image.mode.startswith("I"):  # 16 bits a pixel, in modes I;16 and (older Pillow) I
        return (np.asarray(image).astype(np.int64).clip(0, 65535) // 257).astype(np.uint8)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return np.array(image.convert("L"))


def read_pixels(source: bytes | str | os.PathLike[str], width: int, height: int) -> np.ndarray:
    """Decode an image of just this size to gray pixels, uint8 [height, width].

    Raises what `open_image` raises, and ImageSizeError.
    """
    return sized_pixels(open_image(source), width, height)


def sized_pixels(image: Image.Image, width: int, height: int) -> np.ndarray:
    """Return gray pixels, uint8 [height, width]; raises ImageSizeError for another size."""
    if image.size != (width, height):
        raise ImageSizeError(f"image of {image.width}x{image.height}, expected {width}x{height}")
    return image_to_pixels(image)


def label_of(name: str) -> str:
    """Return the label in a file name; raises SampleError where label or serial is missing."""
    label, _, serial = os.path.splitext(name)[0].partition(SEPARATOR)
    undecoded = any("\ud800" <= c <= "\udfff" for c in label)  # bytes that are no text
    if not label or not serial or undecoded:
        raise SampleError(f"{name}: expected a name such as 2e8j_17322d3d.png, "
                          "label and serial with '_' between them")
    return label


def has_suffix(name: str, suffixes: Iterable[str]) -> bool:
    """Return whether a file name ends in one of the suffixes, in any case; dot files have none."""
    suffix = os.path.splitext(name)[1].lstrip(".").lower()
    return not name.startswith(".") and suffix in {known.lower() for known in suffixes}


def file_name(label: str, suffix: str, serial: str | None = None) -> str:
    """Return `label_serial.suffix`; without a serial a random one that never occurred before.

    Characters that some file system refuses in names stand percent-encoded.
    """
    safe = "".join(f"%{ord(c):02X}" if c in '\\/:*?"<>|%' or ord(c) < 32 else c for c in label)
    return f"{safe}{SEPARATOR}{serial or secrets.token_hex(16)}.{suffix}"


def store_image(data: bytes, folder: str | os.PathLike[str], label: str, suffix: str,
                serial: str | None = None) -> Path:
    """Write an image's bytes to `folder/label_serial.suffix`, whole or not at all.

    The folder is made where it is missing; a serial that is taken gives way to a random one.
    Returns the path; raises SampleError where it cannot be written.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        for chosen in (serial, None):
            path = Path(folder) / file_name(label, suffix, chosen)
            if _write_new(path, data):
                return path
        raise FileExistsError(errno.EEXIST, "a random name is there already", str(path))
    except OSError as error:
        raise SampleError(f"cannot write an image to {folder} ({os.fspath(folder)}): "
                          f"{error.strerror}; make the folder writable") from error


def _write_new(path: Path, data: bytes) -> bool:
    """Return False where the name is taken."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        file = open(temporary, "xb")  # noqa: SIM115 - from here on the name is this call's alone
    except FileExistsError:
        return False
    try:
        with file:
            file.write(data)
        if path.exists():
            return False
        os.rename(temporary, path)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def label_to_ids(label: str, char_set: Sequence[str], length: int | None = None) -> list[int]:
    """Return the class of each character.

    Raises SampleError naming those not in char_set, or for another length than the one given.
    """
    if length not in (None, len(label)):
        raise SampleError(f"label {label!r} has {len(label)} characters, expected {length}")
    strangers = unknown_characters(label, char_set)
    if strangers:
        raise SampleError(f"label {label!r} has {' '.join(map(repr, strangers))}, "
                          "not in char_set: correct the label or add it to char_set")
    classes = _classes(tuple(char_set))
    return [classes[character] for character in label]


def unknown_characters(label: str, char_set: Sequence[str]) -> list[str]:
    classes = _classes(tuple(char_set))
    return [c for c in dict.fromkeys(label) if c not in classes]


@functools.lru_cache(maxsize=8)
def _classes(char_set: tuple[str, ...]) -> dict[str, int]:
    """Return the class of each character: a large char_set is slow to search each time."""
    return {character: i for i, character in enumerate(char_set)}


def ids_to_label(char_ids: Sequence[int] | np.ndarray, char_set: Sequence[str]) -> str:
    return "".join(char_set[i] for i in char_ids)
