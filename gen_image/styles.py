"""Styles of practice captchas other than that of the `captcha` library, drawn with Pillow.

They imitate what web sites use (Kaptcha, JCaptcha, SimpleCaptcha and others), each with one thing
that makes it hard. Lengths are shares of the height of the image. One more style is that of the
pycapt library.
"""

from __future__ import annotations

import colorsys
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from gen_image import typefaces
from gen_image.typefaces import FONT_DIR, LATIN

MAX_FOUND = 100  # typefaces of a style that takes all that are found: more take long to check
PLAIN = ("DejaVuSans.ttf",)
SEVERAL = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSerif-BoldItalic.ttf",
    "DejaVuSansMono-Oblique.ttf",
    "STIXGeneralBol.ttf",
    "cmr10.ttf",
    "cmtt10.ttf",
)


@dataclass(frozen=True)
class Style:
    """How a captcha is drawn; what is 0 or False is left out."""

    # Of matplotlib, used where the config names none; empty: all that are found.
    fonts: tuple[str, ...] = PLAIN
    one_font: bool = False  # in an image, else each letter has its own
    cases: bool = False  # an image has upper case, lower case, or both
    sizes: tuple[float, float] = (0.55, 0.75)  # of the letters
    rotation: float = 15.0  # degrees, either way
    spacing: tuple[float, float] = (0.95, 1.1)  # of a letter's width, to the next one
    advance: tuple[float, float] = (0.0, 0.0)  # where not 0, from letter to letter; sets the width
    widths: tuple[float, float] = (0.0, 0.0)  # of an image with its text anywhere; not 0: as above
    jitter: float = 0.08  # up and down
    outline: float = 0.0  # letters are hollow, with a line this thick
    dark: float = 0.0  # share of the images that are light on dark
    colours: bool = False  # each letter has its own
    lines: int = 0
    fewer_lines: bool = False  # any number up to `lines`
    line_width: float = 0.03
    black_lines: bool = False  # else of the letters' colours
    dots: int = 0
    wave: float = 0.0  # amplitude
    fisheye: float = 0.0  # 0 to 1: how much larger the middle is

    def default_fonts(self, characters: Iterable[str] = LATIN) -> list[str]:
        """Return the font files to draw with where the config names none."""
        if not self.fonts:
            return typefaces.found_typefaces(characters, MAX_FOUND)
        return [str(FONT_DIR / name) for name in self.fonts]


PYCAPT_FONT = str(FONT_DIR / "DejaVuSans-Bold.ttf")
PYCAPT_SIZE = 0.75  # of its letters
PYCAPT_ADVANCE = 1.4  # of a wide letter and the space after it; of its size
PYCAPT_RISE = 0.25  # of the ends of a text that is turned, likewise
STYLES = {
    "outline": Style(outline=0.03, lines=2, line_width=0.02),
    "dark": Style(dark=0.5, colours=True, dots=40),
    "fonts": Style(SEVERAL, rotation=25.0, lines=1),
    "colours": Style(SEVERAL, colours=True, lines=3, line_width=0.05, black_lines=True),
    "lines": Style(lines=3, line_width=0.08),
    "wave": Style(wave=0.07, lines=1, line_width=0.03),
    "fisheye": Style(fisheye=0.5, lines=4, line_width=0.02),
    "touching": Style(spacing=(0.65, 0.85), rotation=20.0),
    "hard": Style(
        SEVERAL,
        rotation=25.0,
        spacing=(0.75, 1.0),
        dark=0.5,
        colours=True,
        lines=3,
        line_width=0.07,
        wave=0.04,
    ),
    "strip": Style(SEVERAL, advance=(0.375, 1.125), rotation=20.0, outline=0.025, lines=2),
    "scattered": Style(
        fonts=(),
        one_font=True,
        cases=True,
        advance=(0.375, 1.125),
        widths=(1.75, 9.75),
        colours=True,
        lines=6,
        fewer_lines=True,
        line_width=0.02,
        black_lines=True,
    ),
}


def draw(
    style: Style,
    text: str,
    width: int,
    height: int,
    fonts: Sequence[str] = (),
    rng: random.Random | None = None,
) -> Image.Image:
    """Return an RGB image of a text; of this size, but for styles whose text sets the width."""
    rng = rng or random.Random()
    fonts = fonts or style.default_fonts()
    if style.one_font:
        fonts = [rng.choice(fonts)]
    if style.advance[0]:
        advances = [rng.uniform(*style.advance) * height for _ in text]
        needed = sum(advances)
        least, most = (share * height for share in style.widths)
        width = max(1, round(rng.uniform(max(least, needed), max(most, needed))))
    dark = rng.random() < style.dark
    ground = Image.new("RGB", (width, height), _colour(rng, light=not dark))
    colour = _colour(rng, light=dark)
    colours = [_colour(rng, light=dark) if style.colours else colour for _ in text]
    letters = [_letter(style, c, height, fonts, rng) for c in text]
    if style.advance[0]:
        start = rng.uniform(0, width - needed)
        lefts = [
            start + sum(advances[:i]) + (advances[i] - letter.width) / 2
            for i, letter in enumerate(letters)
        ]
    else:
        letters, lefts = _spread(style, letters, width, rng)
    for letter, left, letter_colour in zip(letters, lefts, colours, strict=True):
        top = (height - letter.height) / 2 + rng.uniform(-1, 1) * style.jitter * height
        ground.paste(letter_colour, (round(left), round(top)), letter)
    _scribble(style, ground, colours, rng)
    return _distorted(style, ground, rng)


def draw_pycapt(text: str, width: int, height: int, fonts: Sequence[str]) -> Image.Image:
    """Return an RGB image as the pycapt library draws it: black, frayed, turned and shifted.

    The library chooses its text by itself, from a list: here from one of a single text. It turns
    the whole image by degrees that keep the letters inside. Its own font is missing in its package.
    """
    import pycapt

    spaced = " " + " ".join(text)
    size = max(6, round(min(PYCAPT_SIZE * height, width / (PYCAPT_ADVANCE * (len(text) + 0.5)))))
    rotation = max(1, round(math.degrees(PYCAPT_RISE * size / (width / 2))))
    return pycapt.easy_train_img(
        [spaced], width, height, font=size, rotate=rotation, font_family=random.choice(fonts)
    )[1]


def _colour(rng: random.Random, light: bool) -> tuple[int, int, int]:
    value = rng.uniform(0.8, 1.0) if light else rng.uniform(0.15, 0.5)
    saturation = rng.uniform(0.0, 0.25) if light else rng.uniform(0.3, 1.0)
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _letter(
    style: Style, character: str, height: int, fonts: Sequence[str], rng: random.Random
) -> Image.Image:
    """Return one letter, turned, as a mask of mode L that fits tightly."""
    name = rng.choice(fonts)
    size = max(6, round(rng.uniform(*style.sizes) * height))
    line = max(1, round(style.outline * height)) if style.outline else 0
    mask = Image.new("L", (3 * size, 3 * size))
    pen = ImageDraw.Draw(mask)
    font = typefaces.load(name, size)
    place = (1.5 * size, 1.5 * size)
    pen.text(place, character, 255, font, anchor="mm", stroke_width=line)
    if line:
        pen.text(place, character, 0, font, anchor="mm")
    mask = mask.rotate(rng.uniform(-1, 1) * style.rotation, Image.Resampling.BILINEAR)
    return mask.crop(mask.getbbox() or (0, 0, 1, 1))


def _spread(
    style: Style, letters: list[Image.Image], width: int, rng: random.Random
) -> tuple[list[Image.Image], list[float]]:
    """Return letters, narrower where the width is too small for them, and their left edges."""
    steps = [letter.width * rng.uniform(*style.spacing) for letter in letters]
    needed = sum(steps[:-1]) + letters[-1].width
    scale = min(1.0, 0.96 * width / needed)
    if scale < 1:
        letters = [
            letter.resize((max(1, round(letter.width * scale)), letter.height))
            for letter in letters
        ]
    left = rng.uniform(0.2, 0.8) * (width - needed * scale)
    return letters, [left + scale * sum(steps[:i]) for i in range(len(letters))]


def _scribble(
    style: Style, image: Image.Image, colours: Sequence[tuple[int, int, int]], rng: random.Random
) -> None:
    """Draw crossing lines, and dots."""
    pen = ImageDraw.Draw(image)
    width, height = image.size
    for _ in range(rng.randint(0, style.lines) if style.fewer_lines else style.lines):
        points = [(width * i / 3, height * rng.uniform(0.15, 0.85)) for i in range(4)]
        colour = (0, 0, 0) if style.black_lines else rng.choice(colours)
        pen.line(points, colour, max(1, round(style.line_width * height)), joint="curve")
    for _ in range(style.dots):
        x, y = rng.randrange(width), rng.randrange(height)
        pen.ellipse((x, y, x + 1, y + 1), fill=rng.choice(colours))


def _distorted(style: Style, image: Image.Image, rng: random.Random) -> Image.Image:
    """Return the image as waves and a lens show it."""
    if not (style.wave or style.fisheye):
        return image
    width, height = image.size
    y, x = np.mgrid[:height, :width].astype(float)
    if style.wave:
        amplitude = style.wave * height
        length = height * rng.uniform(0.8, 1.4)
        x_wave = amplitude * np.sin(2 * math.pi * y / length + rng.uniform(0, 2 * math.pi))
        y = y + amplitude * np.sin(2 * math.pi * x / length + rng.uniform(0, 2 * math.pi))
        x = x + x_wave
    if style.fisheye:
        from_middle = (x - width / 2) / (width / 2), (y - height / 2) / (height / 2)
        radius = np.hypot(*from_middle).clip(max=1)  # the lens ends where the image does
        shrunk = (radius**style.fisheye + style.fisheye) / (1 + style.fisheye)
        x, y = width / 2 * (1 + from_middle[0] * shrunk), height / 2 * (1 + from_middle[1] * shrunk)
    return Image.fromarray(_sampled(np.asarray(image), x, y))


def _sampled(pixels: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return what pixels, uint8 [H, W, 3], show at these places, float [H, W], linearly."""
    x, y = x.clip(0, pixels.shape[1] - 1), y.clip(0, pixels.shape[0] - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, bottom = (
        np.minimum(left + 1, pixels.shape[1] - 1),
        np.minimum(top + 1, pixels.shape[0] - 1),
    )
    across, down = (x - left)[..., np.newaxis], (y - top)[..., np.newaxis]
    above = pixels[top, left] * (1 - across) + pixels[top, right] * across
    below = pixels[bottom, left] * (1 - across) + pixels[bottom, right] * across
    return np.rint(above * (1 - down) + below * down).astype(np.uint8)
