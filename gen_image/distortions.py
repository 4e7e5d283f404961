"""What lies over the text of a captcha, and what is done to the whole image."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from gen_image.grounds import Colour, random_colour

MESH = 8  # places of a distortion along the height
BILINEAR = Image.Resampling.BILINEAR


def draw_lines(
    image: Image.Image, inks: Sequence[Colour], thickest: float, rng: random.Random
) -> None:
    """Draw lines, bends and arcs; `thickest` is a share of the height."""
    pen = ImageDraw.Draw(image)
    width, height = image.size
    share = rng.choice((rng.uniform(0.01, 0.03), rng.uniform(0.02, thickest)))
    thick = max(1, round(share * height))
    kind = rng.random()
    own = random_colour(rng, rng.uniform(0, 1))
    for _ in range(rng.choice((1, 1, 2, 3, 5, 8))):
        colour = rng.choice(inks) if kind < 0.6 else (0, 0, 0) if kind < 0.75 else own
        form = rng.random()
        if form < 0.4:
            pen.line(_straight(width, height, rng), colour, thick)
        elif form < 0.8:
            pen.line(_bent(width, height, rng), colour, thick, joint="curve")
        else:
            x, y = rng.uniform(-0.3, 0.9) * width, rng.uniform(-0.5, 0.8) * height
            box = (x, y, x + rng.uniform(0.2, 1) * width, y + rng.uniform(0.2, 1) * height)
            start = rng.uniform(0, 360)
            pen.arc(box, start, start + rng.uniform(60, 300), colour, thick)


def _straight(width: int, height: int, rng: random.Random) -> list[tuple[float, float]]:
    """Return the ends of a line anywhere, or from one side to the other."""
    left, right = rng.choice((((-0.1, 1.1), (-0.1, 1.1)), ((-0.05, 0.3), (0.7, 1.05))))
    return [(rng.uniform(*part) * width, rng.uniform(0, 1) * height) for part in (left, right)]


def _bent(width: int, height: int, rng: random.Random) -> list[tuple[float, float]]:
    """Return points of a wave or of a bow (a quadratic Bezier curve) across the image."""
    if rng.random() < 0.5:
        amplitude, waves = rng.uniform(0.05, 0.35) * height, rng.uniform(0.3, 3)
        phase, middle = rng.uniform(0, 2 * math.pi), rng.uniform(0.2, 0.8) * height
        return [
            (x, middle + amplitude * math.sin(phase + 2 * math.pi * waves * x / width))
            for x in np.linspace(0, width, 24)
        ]
    across = rng.uniform(-0.1, 0.3), rng.uniform(0, 1), rng.uniform(0.7, 1.1)
    down = rng.uniform(0, 1), rng.uniform(-0.3, 1.3), rng.uniform(0, 1)
    t = np.linspace(0, 1, 16)[:, np.newaxis]
    shares = np.concatenate([(1 - t) ** 2, 2 * t * (1 - t), t**2], axis=1)  # [16, 3]
    return list(zip(shares @ across * width, shares @ down * height, strict=True))


def draw_dots(image: Image.Image, inks: Sequence[Colour], rng: random.Random) -> None:
    pen = ImageDraw.Draw(image)
    width, height = image.size
    count = rng.choice((20, 60, 150)) * width * height // 6000
    radius = rng.choice((0.5, 0.5, 1, max(1, 0.03 * height)))
    own = rng.random() < 0.5
    for _ in range(count):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        colour = rng.choice(inks) if own else random_colour(rng, rng.random())
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def warp(image: Image.Image, rng: random.Random) -> Image.Image:
    """Return the image as waves, a lens, or a rubber sheet show it."""
    width, height = image.size
    rows, columns = MESH, max(2, round(MESH * width / height))
    y, x = np.mgrid[: rows + 1, : columns + 1].astype(float)
    x, y = x * width / columns, y * height / rows  # [rows + 1, columns + 1]
    dx, dy = rng.choices((_waves, _sheet, _lens), (0.5, 0.25, 0.25))[0](x, y, rng)
    pad = round(0.1 * height)
    padded = Image.new("RGB", (width + 2 * pad, height + 2 * pad), image.getpixel((0, 0)))
    padded.paste(image, (pad, pad))
    x = (x + dx + pad).clip(0, padded.width - 1)
    y = (y + dy + pad).clip(0, padded.height - 1)
    lefts = [round(i * width / columns) for i in range(columns + 1)]
    tops = [round(i * height / rows) for i in range(rows + 1)]
    mesh = []
    for j in range(rows):
        for i in range(columns):
            corners = (j, i), (j + 1, i), (j + 1, i + 1), (j, i + 1)
            quad = [value for place in corners for value in (x[place], y[place])]
            mesh.append(((lefts[i], tops[j], lefts[i + 1], tops[j + 1]), quad))
    return padded.transform((width, height), Image.Transform.MESH, mesh, BILINEAR)


def _waves(x: np.ndarray, y: np.ndarray, rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """Return by how much places are moved across and down; all are [h, w]."""
    height = y.max()

    def wave(along: np.ndarray) -> np.ndarray:
        if rng.random() < 0.2:
            return np.zeros_like(along)
        length, phase = rng.uniform(0.7, 3) * height, rng.uniform(0, 2 * math.pi)
        amplitude = rng.uniform(0.02, 0.09) * height
        return amplitude * np.sin(2 * math.pi * along / length + phase)

    return wave(y), wave(x)


def _sheet(x: np.ndarray, y: np.ndarray, rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """Move places as a rubber sheet would (elastic distortions: Simard et al. 2003)."""
    rows, columns = x.shape
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal((2, rows + 2, columns + 2))
    parts = [noise[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    across, down = rng.uniform(0.01, 0.05) * y.max() / 3 * np.sum(parts, axis=0)
    return across, down


def _lens(x: np.ndarray, y: np.ndarray, rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """Move places as a lens would, which enlarges the middle, or makes it smaller."""
    power = rng.uniform(0.1, 0.25) * rng.choice((1, -0.6))
    across, down = 2 * x / x.max() - 1, 2 * y / y.max() - 1
    factor = (np.hypot(across, down).clip(max=1) ** 2 - 1) * power
    return across * factor * x.max() / 2, down * factor * y.max() / 2


def degrade(image: Image.Image, rng: random.Random) -> Image.Image:
    """Return the image with noise, blur, or the marks of a file format; most often as it is."""
    change = rng.choices(CHANGES, CHANGE_SHARES)[0]
    if change:
        image = change(image, rng)
    if rng.random() < 0.3:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=rng.randint(25, 90))
        image = Image.open(file).convert("RGB")
    return image


def _noisy(image: Image.Image, rng: random.Random) -> Image.Image:
    deviation = rng.choice((10, 25, 60, 110))
    normal = np.random.default_rng(rng.getrandbits(32)).standard_normal
    noise = deviation * normal((image.height, image.width, 1), np.float32)
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def _specked(image: Image.Image, rng: random.Random) -> Image.Image:
    share = rng.choice((0.01, 0.04, 0.1))  # of the pixels, half of them black, half white
    values = np.random.default_rng(rng.getrandbits(32)).random((image.height, image.width))
    pixels = np.array(image)
    pixels[values < share / 2] = 0
    pixels[values > 1 - share / 2] = 255
    return Image.fromarray(pixels)


def _blurred(image: Image.Image, rng: random.Random) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.2)))


def _black_and_white(image: Image.Image, rng: random.Random) -> Image.Image:
    gray = np.asarray(image.convert("L"))
    middle = (int(gray.min()) + int(gray.max())) / 2
    return Image.fromarray(np.where(gray > middle, 255, 0).astype(np.uint8)).convert("RGB")


def _of_few_colours(image: Image.Image, rng: random.Random) -> Image.Image:
    return image.quantize(rng.choice((4, 8, 16, 32))).convert("RGB")


CHANGES = (_noisy, _specked, _blurred, _black_and_white, _of_few_colours, None)
CHANGE_SHARES = (0.15, 0.05, 0.07, 0.04, 0.04, 0.65)
