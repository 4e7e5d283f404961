"""Animations: one picture of all frames, where the first of them is not all of it.

Some captchas show each letter in other frames. Everything that differs from the ground in some
frame is put together. What a single frame shows counts where the frames show such things in
different columns; elsewhere it is noise that flickers. Frames that show several pictures are not
joined: the first one counts, as it does where it shows all.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from cnnlib.dataset.colours import on_ground

ANIMATED_FORMATS = ("GIF", "PNG", "WEBP", "AVIF")
MAX_FRAMES = 100
MAX_BYTES = 2_000_000  # of a GIF: of a larger one the first frame counts
MAX_ANIMATION_PIXELS = 1_000_000  # of all frames that are looked at
INK = 32  # levels, of 255, by which what is drawn differs from the ground
NEARLY_ALL = 0.98  # of what is drawn: the rest of it is no letter
APART = 1.3  # frames that show things in different columns have as many columns, or a bit more
NEAR = 2  # pixels
JOINED, DIFFERENT = "joined", "different"  # what `info["frames"]` of a picture says


def is_animation(image: Image.Image) -> bool:
    """Return whether an image has further frames and shows the first; decodes nothing."""
    if image.format not in ANIMATED_FORMATS or image.tell():
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # what follows the first frame is damaged
        return False


def join_frames(image: Image.Image) -> Image.Image:
    """Return the picture, of mode RGB, that an animation shows; leaves it at its first frame.

    `info["frames"]` is "joined" where it is of several frames, "different" where they contradict
    each other so that the first one was taken. At most MAX_FRAMES and MAX_ANIMATION_PIXELS are
    decoded. Raises what Pillow raises where the first frame is damaged.
    """
    shown = _frames(image)  # [F, H, W, 3]
    pixels, info = _joined(shown) if len(shown) > 1 else (shown[0], {})
    picture = Image.fromarray(pixels)
    picture.info.update(info)
    return picture


def _frames(image: Image.Image) -> np.ndarray:
    """Decode frames, uint8 [F, H, W, 3], one at least, on the same ground."""
    size = image.size
    count = min(MAX_FRAMES, max(1, MAX_ANIMATION_PIXELS // (size[0] * size[1])))
    if image.format == "GIF" and not _fits_canvas(image):
        count = 1
    # Of a PNG, this is the picture for programs that do not know animations.
    first = int(getattr(image, "default_image", False))
    layers = []
    try:
        for i in range(first, first + count):
            try:
                image.seek(i)
                layers.append(image.convert("RGBA"))
            except Exception:  # the end, or a damaged frame; decoders raise nearly anything
                if not layers:
                    raise
                break
    finally:
        with suppress(Exception):
            image.seek(0)
    layers = [layer for layer in layers if layer.size == layers[0].size]
    width, height = layers[0].size
    strip = Image.new("RGBA", (width, height * len(layers)))
    for i, layer in enumerate(layers):
        strip.paste(layer, (0, height * i))
    return np.array(on_ground(strip)).reshape(len(layers), height, width, 3)


def _fits_canvas(image: Any) -> bool:
    """Return whether all frames of a GIF are within the first: others would enlarge it."""
    if image.fp is None:  # decoded before
        return True
    place = image.fp.tell()
    image.fp.seek(0)
    data = image.fp.read(MAX_BYTES + 1)
    image.fp.seek(place)
    if len(data) > MAX_BYTES:
        return False
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 128 else 0)
    while at + 10 < len(data) and data[at] in b"!,":
        if data[at] == ord(","):
            left, top, width, height, flags = struct.unpack_from("<4HB", data, at + 1)
            if left + width > image.width or top + height > image.height:
                return False
            at += 11 + (3 << (flags & 7) + 1 if flags & 128 else 0)
        else:
            at += 2
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    return True


def _joined(frames: np.ndarray) -> tuple[np.ndarray, dict[str, str]]:
    """Return one picture, uint8 [H, W, 3], of frames [F, H, W, 3], and its `info`."""
    ground = np.median(frames.reshape(-1, 3)[:: 1 + frames.size // 300_000], axis=0)
    # Levels from the ground, uint8 [F, H, W].
    distances = np.abs(frames - ground.astype(np.int16)).max(axis=-1).astype(np.uint8)
    # What is faint in a frame, and not in others, fades in or out there.
    drawn = (distances > INK) & (distances >= distances.max(axis=0) // 2)
    times = drawn.sum(axis=0)  # [H, W]
    if not times.any():
        return frames[0], {}
    whole = _first_with(drawn, times > 0)
    if whole is not None:
        return frames[whole], {"frames": JOINED} if whole else {}
    source = distances.argmax(axis=0)  # [H, W], the frame that shows most
    once = times == 1
    flickers = _columns_overlap(drawn & once)
    if flickers:
        source = np.where(once, distances.argmin(axis=0), source)
        times = np.where(once, 0, times)
    if _first_with(drawn, times > 0) == 0:
        return frames[0], {"frames": DIFFERENT} if len(frames) == 2 else {}
    if _are_pictures(drawn, times):
        return frames[0], {"frames": DIFFERENT}
    rows, columns = np.indices(source.shape, sparse=True)
    return frames[source, rows, columns], {"frames": JOINED}


def _first_with(drawn: np.ndarray, expected: np.ndarray) -> int | None:
    """Return the first frame that shows nearly all that is expected, bool [H, W]."""
    shares = (drawn & expected).sum(axis=(1, 2)) >= NEARLY_ALL * expected.sum()
    return int(shares.argmax()) if shares.any() else None


def _columns_overlap(drawn: np.ndarray) -> bool:
    """Return whether frames, bool [F, H, W], show things in the same columns."""
    columns = drawn.any(axis=1)  # [F, W]
    return bool(columns.sum() > APART * columns.any(axis=0).sum())


def _are_pictures(drawn: np.ndarray, times: np.ndarray) -> bool:
    """Return whether frames show several pictures: what one lacks is where it shows others."""
    lacking = near = 0
    for frame in drawn & (times < len(drawn)):  # what all show is ground
        missing = (times > 0) & (times < len(drawn)) & ~frame
        around = Image.fromarray(frame.astype(np.uint8)).filter(ImageFilter.MaxFilter(2 * NEAR + 1))
        lacking += missing.sum()
        near += (missing & np.asarray(around).astype(bool)).sum()
    return near > lacking / 2
