"""Captchas of ever new looks: what weights are trained on that are to know letters anywhere.

Each image has its own grounds, typefaces, colours, lines, noise and distortions, all drawn at
random from wide ranges; a share of them is in one of the practice styles.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter

from gen_image import styles, typefaces
from gen_image.distortions import degrade, draw_dots, draw_lines, warp
from gen_image.grounds import Colour, draw_ground, halfway_to_gray, random_inks

PRACTICE_SHARE = 0.25  # of the images: drawn in one of the practice styles
GRAY_SHARE = 0.5
THICKEST, LESS_THICK = 0.09, 0.045  # lines, of the height
BILINEAR = Image.Resampling.BILINEAR


@dataclass(frozen=True)
class _Lettering:
    """How the letters of an image are drawn; `size` in pixels, the others at most."""

    size: float
    spread: float  # of their sizes
    turn: float  # degrees
    shear: float
    outline: bool
    weight: int  # pixels around each stroke
    thin: bool


class VariedCaptcha:
    """Draw texts in ever new looks.

    `left_out` are practice styles that are not drawn, nor what is theirs alone: the thick lines of
    `lines`, the hollow letters of `outline`, the gaps and margins of `scattered`.
    """

    def __init__(self, fonts: Sequence[str] = (), left_out: Collection[str] = ()) -> None:
        self._fonts = list(fonts) or typefaces.found_typefaces()
        self._styles = [style for name, style in styles.STYLES.items() if name not in left_out]
        self._thickest = LESS_THICK if "lines" in left_out else THICKEST
        self._hollow = "outline" not in left_out
        self._scattered = "scattered" not in left_out

    def draw(self, text: str, width: int, height: int, rng: random.Random) -> Image.Image:
        """Return an RGB image of this size; rng decides all of it."""
        if rng.random() < PRACTICE_SHARE:
            image = self._practice(text, width, height, rng)
        else:
            scale = rng.choice((1.0, 1.0, math.exp(rng.uniform(-0.35, 0.6))))
            image = self._varied(text, round(width * scale), round(height * scale), rng)
        image = degrade(image.resize((width, height), BILINEAR), rng)
        return image.convert("L").convert("RGB") if rng.random() < GRAY_SHARE else image

    def _practice(self, text: str, width: int, height: int, rng: random.Random) -> Image.Image:
        style = rng.choice(self._styles)
        fonts = () if rng.random() < 0.3 else rng.sample(self._fonts, min(3, len(self._fonts)))
        return styles.draw(style, text, width, height, fonts, rng)

    def _varied(self, text: str, width: int, height: int, rng: random.Random) -> Image.Image:
        image, colour_at = draw_ground(width, height, rng)
        inks = random_inks(len(text), colour_at, rng)
        if rng.random() < 0.3:
            draw_lines(image, inks, self._thickest, rng)
        self._write(image, text, inks, rng)
        if rng.random() < 0.5:
            also = [colour_at(0.0)] if rng.random() < 0.2 else []
            draw_lines(image, inks + also, self._thickest, rng)
        if rng.random() < 0.25:
            draw_dots(image, inks, rng)
        return warp(image, rng) if rng.random() < 0.45 else image

    def _write(
        self, image: Image.Image, text: str, inks: Sequence[Colour], rng: random.Random
    ) -> None:
        """Draw the letters, each in its ink."""
        width, height = image.size
        letters, lefts = self._arranged(self._letters(text, height, rng), width, rng)
        shadow = max(1, round(0.03 * height)) if rng.random() < 0.08 else 0
        jitter = rng.choice((0.0, 0.05, 0.12)) * height
        middle = height * rng.uniform(0.44, 0.56)
        slope = rng.uniform(-0.1, 0.1) if rng.random() < 0.2 else 0.0
        for letter, left, ink in zip(letters, lefts, inks, strict=True):
            top = middle - letter.height / 2 + rng.uniform(-1, 1) * jitter
            top += slope * (left - width / 2) * min(1, 2 * height / width)
            top = max(-0.1 * letter.height, min(top, height - 0.9 * letter.height))
            x, y = round(left), round(top)
            if shadow:
                image.paste(halfway_to_gray(ink), (x + shadow, y + shadow), letter)
            image.paste(ink, (x, y), letter)

    def _letters(self, text: str, height: int, rng: random.Random) -> list[Image.Image]:
        one = rng.random() < 0.7
        fonts = rng.choices(self._fonts, k=1 if one else len(text)) * (len(text) if one else 1)
        kind = rng.random()
        lettering = _Lettering(
            size=rng.uniform(0.35, 0.85) * height,
            spread=rng.choice((0.0, 0.08, 0.2)),
            turn=rng.choice((0.0, 5.0, 15.0, 30.0, 40.0)),
            shear=rng.choice((0.0, 0.15, 0.35)),
            outline=self._hollow and kind < 0.06,
            weight=rng.choice((1, 2)) if 0.06 <= kind < 0.16 else 0,
            thin=0.16 <= kind < 0.2,
        )
        return [_letter(c, font, lettering, rng) for c, font in zip(text, fonts, strict=True)]

    def _arranged(
        self, letters: list[Image.Image], width: int, rng: random.Random
    ) -> tuple[list[Image.Image], list[float]]:
        """Return the letters, smaller where they need too much room, and their left edges."""
        gaps = self._gaps(letters, rng)
        needed = sum(letter.width for letter in letters) + sum(gaps)
        room = rng.uniform(0.85, 1.0) * width
        if needed > room:
            scale = room / needed
            narrow = rng.random() < 0.3 or scale > 0.8  # only across
            letters = [_scaled(letter, scale, 1.0 if narrow else scale) for letter in letters]
            gaps, needed = [gap * scale for gap in gaps], room
        elif rng.random() < 0.5:  # evenly over the width
            mean = sum(letter.width for letter in letters) / len(letters)
            more = (room - needed) * rng.uniform(0.5, 1.0) / len(letters)
            more = min(more, (1.0 if self._scattered else 0.6) * mean)
            gaps, needed = [gap + more for gap in gaps], needed + more * len(gaps)
        margin = (0.0, 1.0) if self._scattered else (0.1, 0.9)
        left = (width - needed) * rng.uniform(*margin)
        lefts = [left]
        for letter, gap in zip(letters, gaps, strict=False):
            lefts.append(lefts[-1] + letter.width + gap)
        return letters, lefts

    def _gaps(self, letters: Sequence[Image.Image], rng: random.Random) -> list[float]:
        """Return the gaps between letters in pixels, below 0 where they touch."""
        mean = sum(letter.width for letter in letters) / len(letters)
        if self._scattered and rng.random() < 0.12:
            return [mean * rng.uniform(0.2, 1.8) for _ in letters[1:]]
        gap = rng.choice((rng.uniform(-0.25, 0.0), rng.uniform(0.0, 0.15), rng.uniform(0.1, 0.6)))
        uneven = rng.choice((0.0, 0.1, 0.3))
        return [mean * gap * (1 + rng.uniform(-1, 1) * uneven) for _ in letters[1:]]


def _scaled(letter: Image.Image, across: float, down: float) -> Image.Image:
    size = max(1, round(letter.width * across)), max(1, round(letter.height * max(down, 0.5)))
    return letter.resize(size, BILINEAR)


def _letter(character: str, font: str, lettering: _Lettering, rng: random.Random) -> Image.Image:
    """Return one letter, turned and sheared, as a mask of mode L that fits tightly."""
    size = lettering.size * (1 + rng.uniform(-1, 1) * lettering.spread)
    points = max(8, round(size * 1.2 / 4) * 4)  # letters of any size from few sizes of fonts
    mask = _upright(character, font, points, size, lettering)
    angle = math.radians(rng.uniform(-1, 1) * lettering.turn)
    lean, factor = rng.uniform(-1, 1) * lettering.shear, size / points
    wide = factor * math.exp(rng.uniform(-0.15, 0.15))
    # The map from the letter to the image, as matrix [[a, b], [c, d]].
    a, b = wide * math.cos(angle), wide * (lean * math.cos(angle) - math.sin(angle))
    c, d = factor * math.sin(angle), factor * (lean * math.sin(angle) + math.cos(angle))
    width = max(2, round(abs(a) * mask.width + abs(b) * mask.height))
    height = max(2, round(abs(c) * mask.width + abs(d) * mask.height))
    # Pillow wants its inverse; the centre stays the centre.
    scale = a * d - b * c
    a, b, c, d = d / scale, -b / scale, -c / scale, a / scale
    left = mask.width / 2 - a * width / 2 - b * height / 2
    top = mask.height / 2 - c * width / 2 - d * height / 2
    inverse = (a, b, left, c, d, top)
    mask = mask.transform((width, height), Image.Transform.AFFINE, inverse, BILINEAR)
    return mask.crop(mask.getbbox() or (0, 0, 1, 1))


def _upright(
    character: str, font: str, points: int, size: float, lettering: _Lettering
) -> Image.Image:
    """Return a letter as its font has it, in outlines, bolder or thinner."""
    face = typefaces.load(font, points)
    stroke = max(1, round(0.035 * size)) if lettering.outline else lettering.weight
    left, top, right, bottom = face.getbbox(character, stroke_width=stroke)
    pad = stroke + 2
    shape = max(3, round(right - left + 2 * pad)), max(3, round(bottom - top + 2 * pad))
    mask = Image.new("L", shape)
    pen, place = ImageDraw.Draw(mask), (pad - left, pad - top)
    pen.text(place, character, 255, face, stroke_width=stroke)
    if lettering.outline:
        pen.text(place, character, 0, face)
    if lettering.thin and points > 20:
        mask = mask.filter(ImageFilter.MinFilter(3))
    return mask
