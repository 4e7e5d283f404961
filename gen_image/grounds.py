"""Grounds of captchas, and colours that stand out from them."""

from __future__ import annotations

import colorsys
import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from cnnlib.dataset.images import GRAY_WEIGHTS
from gen_image import typefaces

Colour = tuple[int, int, int]
ColourAt = Callable[[float], Colour]  # at a distance in brightness from a ground, 0 to 1


def random_colour(rng: random.Random, level: float, most_saturation: float = 1.0) -> Colour:
    """Return a colour whose brightness is `level`, 0 to 1."""
    saturation = rng.uniform(0, most_saturation) if rng.random() < 0.75 else 0.0
    channels = np.array(colorsys.hsv_to_rgb(rng.random(), saturation, 1.0))
    brightness = float(channels @ GRAY_WEIGHTS)
    if level <= brightness:
        channels *= level / brightness
    else:  # towards white
        channels += (1 - channels) * (level - brightness) / (1 - brightness)
    red, green, blue = (round(255 * max(0.0, min(1.0, c))) for c in channels.tolist())
    return red, green, blue


def draw_ground(width: int, height: int, rng: random.Random) -> tuple[Image.Image, ColourAt]:
    """Return a light or a dark ground, mode RGB, and what gives colours that stand out from it."""
    light = rng.random() < 0.72
    level = rng.choice((1.0, rng.uniform(0.75, 1.0), rng.uniform(0.55, 0.95)))
    level = level if light else rng.choice((0.0, rng.uniform(0, 0.25), rng.uniform(0.05, 0.45)))

    def colour_at(distance: float) -> Colour:
        return random_colour(rng, level + distance * ((0 if light else 1) - level))

    image = Image.new("RGB", (width, height), random_colour(rng, level, 0.6))
    pattern = rng.choices(PATTERNS, PATTERN_SHARES)[0]
    if pattern:
        pattern(image, colour_at, rng)
    return image, colour_at


def _shade(image: Image.Image, colour_at: ColourAt, rng: random.Random) -> None:
    """Let the ground go from one colour to another."""
    other = Image.new("RGB", image.size, colour_at(rng.uniform(0, 0.25)))
    ramp = Image.linear_gradient("L").rotate(rng.choice((0, 90, 180, 270)))
    image.paste(other, (0, 0), ramp.resize(image.size))


def _clouds(image: Image.Image, colour_at: ColourAt, rng: random.Random) -> None:
    other = Image.new("RGB", image.size, colour_at(rng.uniform(0.05, 0.4)))
    places = rng.randint(2, 12), rng.randint(2, 8)
    cloud = Image.frombytes("L", places, rng.randbytes(places[0] * places[1]))
    image.paste(other, (0, 0), cloud.resize(image.size, Image.Resampling.BICUBIC))


def _hatching(image: Image.Image, colour_at: ColourAt, rng: random.Random) -> None:
    width, height = image.size
    pen, step = ImageDraw.Draw(image), rng.randint(4, max(5, height // 3))
    colour, lean = colour_at(rng.uniform(0.05, 0.35)), rng.choice((0, 0, step, -step))
    if rng.random() < 0.8:
        for x in range(-step, width + step, step):
            pen.line((x, 0, x + lean, height), colour)
    for y in range(rng.randint(0, step), height, step):
        pen.line((0, y, width, y + lean), colour)


def _blots(image: Image.Image, colour_at: ColourAt, rng: random.Random) -> None:
    width, height = image.size
    pen = ImageDraw.Draw(image)
    for _ in range(rng.randint(2, 25)):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.02, 0.3) * height
        pen.ellipse((x - r, y - r, x + r, y + r), colour_at(rng.uniform(0.03, 0.3)))


def _faint_letters(image: Image.Image, colour_at: ColourAt, rng: random.Random) -> None:
    width, height = image.size
    pen = ImageDraw.Draw(image)
    for _ in range(rng.randint(4, 25)):
        size = max(6, round(rng.uniform(0.15, 0.35) * height))
        font = typefaces.load(str(typefaces.FONT_DIR / typefaces.REFERENCE), size)
        place = rng.uniform(-5, width), rng.uniform(-5, height)
        pen.text(place, rng.choice(typefaces.LATIN), colour_at(rng.uniform(0.1, 0.3)), font)


PATTERNS = (_shade, _clouds, _hatching, _blots, _faint_letters, None)
PATTERN_SHARES = (0.12, 0.14, 0.10, 0.10, 0.08, 0.46)


def random_inks(count: int, colour_at: ColourAt, rng: random.Random) -> list[Colour]:
    """Return a colour for each letter."""
    least = rng.choice((0.35, 0.5, 0.7))

    def ink() -> Colour:
        return colour_at(1.0 if rng.random() < 0.2 else rng.uniform(least, 1.0))

    return [ink() for _ in range(count)] if rng.random() < 0.35 else [ink()] * count


def halfway_to_gray(colour: Colour) -> Colour:
    red, green, blue = ((c + 128) // 2 for c in colour)
    return red, green, blue
