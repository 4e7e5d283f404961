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
