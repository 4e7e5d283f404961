"""Colours of any mode and transparency to gray or RGB."""

from __future__ import annotations

import numpy as np
from PIL import Image

GRAY_WEIGHTS = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow's conversion
# Darker than white by as many levels, of 255, pixels can be seen on white; yellow cannot.
LEAST_CONTRAST = 32
LEAST_SHOWN = 0.01  # a text is more than that of the pixels that are not transparent
# A text covers less of an image, a plate behind it more; and dark noise less than the text.
LARGEST_TEXT, MOST_NOISE = 0.5, 0.5


def to_gray_or_rgb(image: Image.Image, channels: int = 1) -> Image.Image:
    """Return an image of mode L (one channel) or RGB, with transparent parts on a ground.

    The ground is white, as browsers show it; black where most of what is drawn, or all of it, could
    not be seen on white.
    Gray is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), as Pillow computes it.
    """
    mode = "RGB" if channels == 3 else "L"
    if image.mode.startswith("I"):  # 16 bits a pixel, in modes I;16 and (older Pillow) I
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = on_ground(image.convert("RGBA"))
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return image.convert(mode)


def on_ground(layer: Image.Image) -> Image.Image:
    """Lay an image of mode RGBA over white, or over black where a text would vanish on white."""
    alpha = layer.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return layer.convert("RGB")
    on_white = _composite(layer, "white")
    drawn = np.asarray(alpha) > 0
    if not drawn.any():
        return on_white
    white = (np.asarray(on_white.convert("L"))[drawn] <= 255 - LEAST_CONTRAST).mean()
    if white >= MOST_NOISE or (white >= LEAST_SHOWN and drawn.mean() >= LARGEST_TEXT):
        return on_white
    on_black = _composite(layer, "black")
    black = (np.asarray(on_black.convert("L"))[drawn] >= LEAST_CONTRAST).mean()
    return on_black if black > white else on_white


def _composite(layer: Image.Image, ground: str) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", layer.size, ground), layer).convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return an image of mode L or LA."""
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    gray = Image.fromarray((values // 257).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is not None:
        gray.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return gray
