"""Typefaces to draw with: matplotlib's own, and those that the system has."""

from __future__ import annotations

import functools
import string
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cnnlib.packages import importing

with importing("matplotlib"):
    import matplotlib
    from matplotlib import font_manager

FONT_DIR = Path(matplotlib.get_data_path(), "fonts", "ttf")
LATIN = string.digits + string.ascii_lowercase + string.ascii_uppercase
TRIED_SIZE = 24  # pixels
NO_CHARACTER = "\uffff"  # shows what a font draws for characters that it lacks
MIN_SHAPES = 0.85  # of the characters have a shape of their own; fonts of capitals alone have fewer
REFERENCE = "DejaVuSans.ttf"
COMPARED = "AEFHLTXZ247"  # letters that look alike in all typefaces
MIN_ALIKE = 0.4  # of them are most like themselves in the reference; symbols are not


@functools.lru_cache(maxsize=4000)
def load(font: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a font of a size in pixels; loading takes longer than drawing. Raises OSError."""
    return ImageFont.truetype(font, size)


def found_typefaces(characters: Iterable[str] = LATIN, at_most: int | None = None) -> list[str]:
    """Return font files in the order of their names that have all characters.

    Which they are depends on the machine: matplotlib's at least. Of more than `at_most` they are
    spread over all.
    """
    return list(_found(tuple(dict.fromkeys(characters)), at_most))


@functools.cache
def _found(characters: tuple[str, ...], at_most: int | None) -> tuple[str, ...]:
    paths = {*map(str, FONT_DIR.glob("*.ttf")), *font_manager.findSystemFonts()}
    by_name = {Path(path).name: path for path in sorted(paths)}  # the same one in two folders: once
    files = [by_name[name] for name in sorted(by_name)]
    step = max(1, len(files) // at_most) if at_most else 1
    order = [file for start in range(step) for file in files[start::step]]
    fitting = (file for file in order if has_all(file, characters))
    return tuple(file for file, _ in zip(fitting, range(at_most or len(order)), strict=False))


def has_all(file: str, characters: Iterable[str]) -> bool:
    """Return whether a font has all characters, and most in a shape of their own."""
    try:
        face = load(file, TRIED_SIZE)
        shapes = _glyphs(face, characters)
        own, reference = _shapes(face), _shapes(load(str(FONT_DIR / REFERENCE), TRIED_SIZE))
    except (OSError, ValueError):
        return False
    alike = (own @ reference.T).argmax(axis=1) == np.arange(len(COMPARED))
    if alike.mean() < MIN_ALIKE:
        return False
    distinct = set(shapes.values())
    return None not in distinct and len(distinct) >= MIN_SHAPES * len(shapes)


def lacking(file: str, characters: Iterable[str]) -> list[str]:
    """Return the characters that a font cannot draw. Raises OSError where it cannot be read."""
    glyphs = _glyphs(load(file, TRIED_SIZE), characters)
    return [character for character, glyph in glyphs.items() if glyph is None]


def _glyphs(face: ImageFont.FreeTypeFont, characters: Iterable[str]) -> dict[str, bytes | None]:
    """Return what a font draws for each character but spaces; None where it has no glyph."""
    none = b"", bytes(face.getmask(NO_CHARACTER))
    drawn = {c: bytes(face.getmask(c)) for c in characters if not c.isspace()}
    return {c: None if glyph in none else glyph for c, glyph in drawn.items()}


def _shapes(face: ImageFont.FreeTypeFont) -> np.ndarray:
    """Return the letters of COMPARED, each stretched to 16x16, as rows of length 1 without mean."""
    rows = []
    for character in COMPARED:
        mask = Image.new("L", (3 * TRIED_SIZE, 3 * TRIED_SIZE))
        ImageDraw.Draw(mask).text((TRIED_SIZE, TRIED_SIZE), character, 255, face)
        shape = np.asarray(mask.crop(mask.getbbox()).resize((16, 16)), float).reshape(-1)
        shape -= shape.mean()
        rows.append(shape / max(float(np.linalg.norm(shape)), 1e-9))
    return np.stack(rows)
