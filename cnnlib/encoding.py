"""The contract between the outside and tensors, in one place for every script.

image -> pixels: any accepted image becomes uint8 gray [H, W], or colours [H, W, 3].
label <-> class ids: class i is the i-th character of char_set.
file name <-> label: the label stands before the first separator, `_`, of the name.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import re
import secrets
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
NO_CHARACTER = -1  # stands in char_ids after the end of a label

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


@dataclass(frozen=True)
class InputFormat:
    """What images become for a network: uint8 [height, width], or [height, width, 3] in colour.

    `resize` says what becomes of images of other sizes: "" refuses them, "pad" scales them with
    their proportions kept and fills the rest with the background, "stretch" scales each side.
    """

    width: int
    height: int
    channels: int = 1
    resize: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.height, self.width, 3)[:3 if self.channels == 3 else 2]

    def read(self, source: bytes | str | os.PathLike[str]) -> np.ndarray:
        """Decode an image to pixels; raises what `open_image` and `pixels` raise."""
        return self.pixels(open_image(source))

    def pixels(self, image: Image.Image) -> np.ndarray:
        """Return the pixels of an image; raises ImageSizeError for one of another size."""
        if image.size != (self.width, self.height):
            if not self.resize:
                raise ImageSizeError(f"image of {image.width}x{image.height}, "
                                     f"expected {self.width}x{self.height}")
            image = _fitted(flat(image, self.channels), self.width, self.height,
                            keep_proportions=self.resize == "pad")
        return np.array(flat(image, self.channels))


def _fitted(image: Image.Image, width: int, height: int, keep_proportions: bool) -> Image.Image:
    """Scale a flat image to this size; each new pixel is a mean of all that it covers."""
    if not keep_proportions:
        return image.resize((width, height), Image.Resampling.BILINEAR)
    scale = min(width / image.width, height / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    ground = Image.new(image.mode, (width, height), _border_colour(image))
    ground.paste(image.resize(size, Image.Resampling.BILINEAR),
                 ((width - size[0]) // 2, (height - size[1]) // 2))
    return ground


def _border_colour(image: Image.Image) -> int | tuple[int, ...]:
    """Return the median of the pixels at the edge."""
    pixels = np.array(image)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    median = np.median(edge, axis=0).astype(int)
    return int(median) if median.ndim == 0 else tuple(median.tolist())


def flat(image: Image.Image, channels: int = 1) -> Image.Image:
    """Return an image of mode L (one channel) or RGB; what is transparent shows white below it.

    Gray is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), as Pillow computes it.
    """
    mode = "RGB" if channels == 3 else "L"
    if image.mode.startswith("I"):  # 16 bits a pixel, in modes I;16 and (older Pillow) I
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        grays = np.where(values == image.info.get("transparency"), 255, values // 257)
        return Image.fromarray(grays.astype(np.uint8)).convert(mode)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return image.convert(mode)


def label_of(name: str, separator: str = SEPARATOR) -> str:
    """Return the label in a file name; raises SampleError where label or serial is missing.

    What `file_name` encoded is decoded.
    """
    label, _, serial = os.path.splitext(name)[0].partition(separator)
    undecoded = any("\ud800" <= c <= "\udfff" for c in label)  # bytes that are no text
    if not label or not serial or undecoded:
        raise SampleError(f"{name}: expected a name such as 2e8j{separator}17322d3d.png, "
                          f"label and serial with '{separator}' between them")
    return re.sub("%([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), label)


def has_suffix(name: str, suffixes: Iterable[str]) -> bool:
    """Return whether a file name ends in one of the suffixes, in any case; dot files have none."""
    suffix = os.path.splitext(name)[1].lstrip(".").lower()
    return not name.startswith(".") and suffix in {known.lower() for known in suffixes}


def file_name(label: str, suffix: str, serial: str | None = None,
              separator: str = SEPARATOR) -> str:
    """Return `label_serial.suffix`; without a serial a random one that never occurred before.

    Characters that cannot stand in a label of a file name are percent-encoded.
    """
    unsafe = f'\\/:*?"<>|%{separator}'
    if label.startswith("."):  # it would be a dot file
        unsafe += "."
    safe = "".join(f"%{ord(c):02X}" if c in unsafe or ord(c) < 32 else c for c in label)
    return f"{safe}{separator}{serial or secrets.token_hex(16)}.{suffix}"


def store_image(data: bytes, folder: str | os.PathLike[str], label: str, suffix: str,
                serial: str | None = None, separator: str = SEPARATOR) -> Path:
    """Write an image's bytes to `folder/label_serial.suffix`, whole or not at all.

    The folder is made where it is missing; a serial that is taken gives way to a random one.
    Returns the path; raises SampleError where it cannot be written.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        for chosen in (serial, None):
            path = Path(folder) / file_name(label, suffix, chosen, separator)
            if _write_new(path, data):
                return path
        raise FileExistsError(errno.EEXIST, "a random name is there already", str(path))
    except OSError as error:
        raise SampleError(f"cannot write an image to {folder} ({os.fspath(folder)}): "
                          f"{error.strerror}; make room, or make the folder writable") from error


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
    return "".join(char_set[i] for i in char_ids if i != NO_CHARACTER)
