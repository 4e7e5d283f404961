"""The one way from an image to pixels, for verification, training, testing and serving alike."""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.errors import ImageFormatError, ImageSizeError, ImageTooLargeError

GRAY_WEIGHTS = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow's conversion
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
MAX_PIXELS = 4_000_000  # a captcha has some 6,000; decoding this many takes 12 MB and 50 ms
# In all threads together: some 20 bytes each, with what conversions take.
MAX_OPEN_PIXELS = 2 * MAX_PIXELS

# Once for the process: warnings.catch_warnings is not safe where other threads run.
warnings.simplefilter("error", Image.DecompressionBombWarning)


class _PixelBudget:
    """A number of pixels, which threads take and give back in the order in which they come."""

    def __init__(self, pixels: int) -> None:
        self._free = pixels
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        """Hold some for the time of a `with` block; waits until there are as many."""
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is turn and self._free >= pixels)
                self._free -= pixels
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()


_open_pixels = _PixelBudget(MAX_OPEN_PIXELS)


@contextmanager
def opened(source: bytes | str | os.PathLike[str]) -> Iterator[Image.Image]:
    """Give an image, from its bytes or its path, whose size is known and whose pixels are not.

    They are decoded when they are needed (`to_pixels`), and gone after the `with` block. The images
    that all threads have open at a time have MAX_OPEN_PIXELS together; whoever comes then waits, so
    do not open one within another.
    Raises ImageFormatError where there is no image of an accepted format and ImageTooLargeError
    above MAX_PIXELS.
    """
    with _opened(source, lambda image: image.close()) as image:
        yield image


def open_image(
    source: bytes | str | os.PathLike[str], spec: CaptchaSpec | None = None
) -> Image.Image:
    """Decode the first frame of an image, given its bytes or its path.

    Raises ImageFormatError where there is no whole image of an accepted format. ImageTooLargeError
    above MAX_PIXELS and ImageSizeError, where a spec is given that does not allow the size, come
    before any pixel is decoded.
    """
    with _opened(source, _close_file) as image:
        if spec is not None:
            check_size(image, spec)
        _decode(image)
        return image


@contextmanager
def _opened(
    source: bytes | str | os.PathLike[str], close: Callable[[Image.Image], object]
) -> Iterator[Image.Image]:
    """As `opened`; `close` ends it, once: older versions of Pillow raise at a second time."""
    file = io.BytesIO(source) if isinstance(source, bytes) else Path(source)
    with _image_errors():
        image = Image.open(file, formats=FORMATS)
    try:
        pixels = image.width * image.height
        if pixels > MAX_PIXELS:
            raise ImageTooLargeError(
                f"image of {image.width}x{image.height} has more than {MAX_PIXELS} pixels: "
                "scale it down"
            )
        with _open_pixels.take(pixels):
            yield image
    finally:
        close(image)


def _close_file(image: Image.Image) -> None:
    """Close an image's file; what was decoded stays."""
    with image:
        pass


def _decode(image: Image.Image) -> None:
    with _image_errors():
        image.load()


@contextmanager
def _image_errors() -> Iterator[None]:
    """Make ours of what Pillow raises: its decoders raise nearly anything on damaged data."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError(
            f"image has more than {MAX_PIXELS} pixels: scale it down"
        ) from error
    except Exception as error:
        # Pillow names the object in memory where it knows no format.
        detail = "" if isinstance(error, UnidentifiedImageError) else f" ({error})"
        raise ImageFormatError(
            f"not a whole image in one of the formats {', '.join(FORMATS)}{detail}"
        ) from error


def read_pixels(source: bytes | str | os.PathLike[str], spec: CaptchaSpec) -> np.ndarray:
    """Decode an image to pixels; raises what `open_image` and `to_pixels` raise."""
    with opened(source) as image:
        return to_pixels(image, spec)


def check_size(image: Image.Image, spec: CaptchaSpec) -> None:
    """Raise ImageSizeError for an image of another size where the spec does not resize."""
    if image.size != (spec.image_width, spec.image_height) and not spec.resize:
        raise ImageSizeError(
            f"image of {image.width}x{image.height}, "
            f"expected {spec.image_width}x{spec.image_height}"
        )


def to_pixels(image: Image.Image, spec: CaptchaSpec) -> np.ndarray:
    """Return an image's pixels, uint8 [H, W] or [H, W, 3], as the spec says.

    Raises ImageSizeError for an image of another size where the spec does not resize, before any
    pixel is decoded, and ImageFormatError where the pixels are damaged.
    """
    check_size(image, spec)
    _decode(image)
    if image.size != (spec.image_width, spec.image_height):
        image = resize_to_fit(to_gray_or_rgb(image, spec.image_channels), spec)
    return np.array(to_gray_or_rgb(image, spec.image_channels))


def resize_to_fit(image: Image.Image, spec: CaptchaSpec) -> Image.Image:
    """Scale a gray or RGB image to the spec's size; each new pixel is a mean of all it covers."""
    width, height = spec.image_width, spec.image_height
    if spec.resize != "pad":
        return image.resize((width, height), Image.Resampling.BILINEAR)
    scale = min(width / image.width, height / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    padded = Image.new(image.mode, (width, height), _border_colour(image))
    padded.paste(
        image.resize(size, Image.Resampling.BILINEAR),
        ((width - size[0]) // 2, (height - size[1]) // 2),
    )
    return padded


def _border_colour(image: Image.Image) -> int | tuple[int, ...]:
    """Return the median of the pixels at the edge."""
    pixels = np.array(image)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    median = np.median(edge, axis=0).astype(int)
    return int(median) if median.ndim == 0 else tuple(median.tolist())


def to_gray_or_rgb(image: Image.Image, channels: int = 1) -> Image.Image:
    """Return an image of mode L (one channel) or RGB; transparent pixels show white.

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
