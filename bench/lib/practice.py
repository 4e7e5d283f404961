"""Practice captchas in memory, for the benches."""

from __future__ import annotations

import dataclasses
import random
import tempfile
from collections.abc import Sequence

import numpy as np

from cnnlib.config import CAPTCHA_CONFIG, CaptchaConfig, SampleConfig, load_captcha_config
from cnnlib.dataset.image_set import ImageSet, load_images
from cnnlib.dataset.verification import Rules
from cnnlib.paths import PROJECT_ROOT, ProjectPath
from gen_image.generator import CaptchaGenerator, draw_samples


def drawn_images(config: SampleConfig, count: int, fonts: Sequence[str] = ()) -> ImageSet:
    """Draw `count` captchas that a model of this config reads; return them in a random order."""
    with tempfile.TemporaryDirectory() as folder:
        drawing = dataclasses.replace(
            _drawing(config, fonts), root_dir=ProjectPath(folder), count=count
        )
        draw_samples(drawing)
        images = load_images(folder, Rules.from_config(config))
    return images.take(np.random.default_rng(0).permutation(count))


def drawn_files(config: SampleConfig, count: int) -> tuple[list[str], list[bytes]]:
    """Draw `count` captchas that a model of this config reads; return labels and files."""
    generator = CaptchaGenerator(_drawing(config))
    rng = random.Random(0)
    labels = [generator.random_text(rng) for _ in range(count)]
    return labels, [generator.encode(generator.draw(label)) for label in labels]


def mislabel(images: ImageSet, share: float, classes: int = 0) -> set[str]:
    """Give the first images, of a random order, wrong labels; return their names.

    Each gets that of another one. Where a number of classes is given, half of them get one wrong
    character instead.
    """
    wrong = np.arange(max(2, round(share * len(images))) if share else 0)
    others, typed = np.array_split(wrong, 2) if classes else (wrong, wrong[:0])
    images.char_ids[others] = images.char_ids[np.roll(others, 1)]
    if classes:
        rng = np.random.default_rng(0)
        places = rng.integers(images.char_ids.shape[1], size=len(typed))
        images.char_ids[typed, places] += rng.integers(1, classes, size=len(typed))
        images.char_ids[typed, places] %= classes
    return {images.names[i] for i in wrong}


def _drawing(config: SampleConfig, fonts: Sequence[str] = ()) -> CaptchaConfig:
    return load_captcha_config(
        PROJECT_ROOT / CAPTCHA_CONFIG,
        characters="".join(config.char_set),
        min_char_count=config.min_captcha,
        char_count=config.max_captcha,
        width=config.image_width,
        height=config.image_height,
        fonts=list(fonts),
    )
