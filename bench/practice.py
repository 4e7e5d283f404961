"""Practice captchas in memory, for the benches."""

import dataclasses
import random
import tempfile
from collections.abc import Sequence

import numpy as np

from cnnlib import dataset, image_set
from cnnlib.config import (
    PROJECT_ROOT,
    CaptchaConfig,
    ProjectPath,
    SampleConfig,
    load_captcha_config,
)
from cnnlib.image_set import ImageSet
from gen_image.generator import CaptchaGenerator, draw_samples


def drawn_images(config: SampleConfig, count: int, fonts: Sequence[str] = ()) -> ImageSet:
    """Draw so many captchas that a model of this config reads; return them in a random order."""
    with tempfile.TemporaryDirectory() as folder:
        draw_samples(dataclasses.replace(_drawing(config, fonts), root_dir=ProjectPath(folder),
                                         count=count))
        images = image_set.load_images(folder, dataset.rules_of(config))
    return images.take(np.random.default_rng(0).permutation(count))


def drawn_files(config: SampleConfig, count: int) -> tuple[list[str], list[bytes]]:
    """Draw so many captchas that a model of this config reads; return labels and files."""
    generator = CaptchaGenerator(_drawing(config))
    rng = random.Random(0)
    labels = [generator.random_text(rng) for _ in range(count)]
    return labels, [generator.encode(generator.draw(label)) for label in labels]


def _drawing(config: SampleConfig, fonts: Sequence[str] = ()) -> CaptchaConfig:
    return load_captcha_config(
        PROJECT_ROOT / "conf/captcha_config.json", characters="".join(config.char_set),
        min_char_count=config.min_captcha, char_count=config.max_captcha,
        width=config.image_width, height=config.image_height, fonts=list(fonts))
