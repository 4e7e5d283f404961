"""The one way from an image to pixels, for verification, training, testing and serving alike."""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError, features

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.dataset.animations import MAX_ANIMATION_PIXELS, is_animation, join_frames
from cnnlib.dataset.colours import GRAY_WEIGHTS, to_gray_or_rgb
from cnnlib.dataset.file_kinds import START_BYTES, is_svg, looks_like_image, what_it_is
from cnnlib.dataset.mending import is_mendable, mended_file, mended_image, scale_transparency
from cnnlib.errors import ImageFormatError, ImageSizeError, ImageTooLargeError, SampleError

__all__ = [
    "FORMATS",
    "GRAY_WEIGHTS",
    "MAX_OPEN_PIXELS",
    "MAX_PIXELS",
    "as_shown",
    "check_size",
    "looks_like_image",
    "open_image",
    "opened",
    "read_pixels",
    "resize_to_fit",
    "shown_size",
    "to_gray_or_rgb",
    "to_pixels",
]


def _decoded_formats() -> tuple[str, ...]:
    """Return the formats that this Pillow can decode, of those that are accepted."""
    formats = ["PNG", "JPEG", "GIF", "BMP"]
    formats += [kind for kind in ("WEBP", "AVIF") if _supports(kind.lower())]
    return (*formats, "TIFF")


def _supports(module: str) -> bool:
    """Return whether an optional format is there; older versions of Pillow know no AVIF."""
    return module in features.modules and features.check_module(module)


DECODED_FORMATS = _decoded_formats()
FORMATS = (*DECODED_FORMATS, "ICO")  # of an icon its image is decoded
REFUSED = f"not a whole image in one of the formats {', '.join(FORMATS)}"
SVG_REFUSED = (
    "SVG is a drawing, not pixels: convert it to PNG, such as with "
    "`rsvg-convert -o captcha.png captcha.svg`"
)
# What the EXIF orientation means, in those formats where browsers follow it.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TURNED_FORMATS = ("JPEG", "MPO", "PNG", "AVIF")  # TIFF: Pillow turns it
MAX_PIXELS = 4_000_000  # a captcha has some 6,000; decoding this many takes 12 MB and 50 ms
# In all threads together: some 20 bytes each, with what conversions take.
MAX_OPEN_PIXELS = 2 * MAX_PIXELS

# Once for the process: warnings.catch_warnings is not safe where other threads run.
warnings.simplefilter("error", Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # EXIF data that are damaged


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

    They are decoded when they are needed (`to_pixels`), and gone after the `with` block. Its size
    as it is shown is `shown_size`. The images that all threads have open at a time have
    MAX_OPEN_PIXELS together; whoever comes then waits, so do not open one within another.
    Raises ImageFormatError where there is no image of an accepted format and ImageTooLargeError
    above MAX_PIXELS.
    """
    with _image_errors():
        image = _open(source)
    try:
        pixels = image.width * image.height
        if pixels > MAX_PIXELS:
            raise ImageTooLargeError(
                f"image of {image.width}x{image.height} has more than {MAX_PIXELS} pixels: "
                "scale it down"
            )
        if is_animation(image):
            pixels = max(pixels, MAX_ANIMATION_PIXELS)
        with _open_pixels.take(pixels):
            yield image
    finally:
        image.close()


def open_image(
    source: bytes | str | os.PathLike[str], spec: CaptchaSpec | None = None
) -> Image.Image:
    """Decode an image, given its bytes or its path, to mode RGB, or L where the spec is gray.

    It is as a browser shows it (`as_shown`). Raises ImageFormatError where there is no whole image
    of an accepted format. ImageTooLargeError above MAX_PIXELS and ImageSizeError, where a spec is
    given that does not allow the size, come before any pixel is decoded.
    """
    with opened(source) as image:
        if spec is not None:
            check_size(image, spec)
        return as_shown(image, spec.image_channels if spec else 3)


def read_pixels(source: bytes | str | os.PathLike[str], spec: CaptchaSpec) -> np.ndarray:
    """Decode an image to pixels; raises what `open_image` and `to_pixels` raise."""
    with opened(source) as image:
        return to_pixels(image, spec)


def to_pixels(image: Image.Image, spec: CaptchaSpec) -> np.ndarray:
    """Return an image's pixels, uint8 [H, W] or [H, W, 3], as the spec says.

    They are those that a browser shows (`as_shown`). Raises ImageSizeError for an image of another
    size where the spec does not resize, before any pixel is decoded, and ImageFormatError where
    the pixels are damaged.
    """
    check_size(image, spec)
    shown = as_shown(image, spec.image_channels)
    if shown.size != (spec.image_width, spec.image_height):
        shown = resize_to_fit(shown, spec)
    return np.array(shown)


def as_shown(image: Image.Image, channels: int = 3) -> Image.Image:
    """Decode an image to mode RGB, or L for one channel, as a browser shows it.

    An image that was opened from a file is turned as its EXIF data say; one that was made from
    it, such as by `convert`, is taken as it is. Transparent parts get a ground
    (`colours.to_gray_or_rgb`), animations are joined where their first frame is not all
    (`animations.join_frames`), colour profiles are ignored. Raises ImageFormatError where the
    pixels are damaged.
    """
    turn = TURNS.get(_orientation(image))
    with _image_errors():
        scale_transparency(image)
        flat = join_frames(image) if is_animation(image) else _decode(image)
        shown = to_gray_or_rgb(flat, channels)
    return shown if turn is None else shown.transpose(turn)


def shown_size(image: Image.Image) -> tuple[int, int]:
    """Return an image's width and height as it is shown: turned, where it is; decodes nothing."""
    width, height = image.size
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        orientation = tags.get(ExifTags.Base.Orientation, 1)
        # Some versions of Pillow give it turned.
        width, height = tags[ExifTags.Base.ImageWidth], tags[ExifTags.Base.ImageLength]
    else:
        orientation = _orientation(image)
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def check_size(image: Image.Image, spec: CaptchaSpec) -> None:
    """Raise ImageSizeError for an image that is shown in another size, unless the spec resizes."""
    width, height = shown_size(image)
    if (width, height) != (spec.image_width, spec.image_height) and not spec.resize:
        raise ImageSizeError(
            f"image of {width}x{height}, expected {spec.image_width}x{spec.image_height}"
        )


def _orientation(image: Image.Image) -> int:
    data = image.info.get("exif") if image.format in TURNED_FORMATS else None
    if not data:
        return 1
    exif = Image.Exif()
    try:
        exif.load(data)
        return int(exif.get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged, or of another type
        return 1


def _open(source: bytes | str | os.PathLike[str]) -> Image.Image:
    file = io.BytesIO(source) if isinstance(source, bytes) else Path(source)
    try:
        return Image.open(file, formats=DECODED_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise
    except Exception:
        with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as opened_file:
            start = opened_file.read(START_BYTES)
            if is_svg(start):
                raise ImageFormatError(SVG_REFUSED) from None
            mended = mended_file(start + opened_file.read()) if is_mendable(start) else None
        if mended is None:
            raise ImageFormatError(f"{REFUSED}, but {what_it_is(start)}") from None
        return Image.open(io.BytesIO(mended), formats=DECODED_FORMATS)


def _decode(image: Image.Image) -> Image.Image:
    """Decode an image; return another one where its file had to be mended."""
    file, tiles = getattr(image, "fp", None), getattr(image, "tile", None)
    try:
        image.load()
    except Exception:
        if file is None or file.closed:
            raise
        file.seek(0)
        mended = mended_image(file.read())
        if mended is None:
            raise
        return mended
    if image.format == "GIF" and tiles:
        return _on_canvas(image, tiles[0][1])
    return image


def _on_canvas(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Return a GIF's first frame with what it does not cover transparent."""
    if box == (0, 0, *image.size):
        return image
    canvas = Image.new("RGBA", image.size)
    canvas.paste(image.crop(box).convert("RGBA"), box)
    return canvas


@contextmanager
def _image_errors() -> Iterator[None]:
    """Make ours of what Pillow raises: its decoders raise nearly anything on damaged data."""
    try:
        yield
    except SampleError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError(
            f"image has more than {MAX_PIXELS} pixels: scale it down"
        ) from error
    except Exception as error:
        # Pillow names the object in memory where it knows no format.
        detail = "" if isinstance(error, UnidentifiedImageError) else f" ({error})"
        raise ImageFormatError(f"{REFUSED}{detail}") from error


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
