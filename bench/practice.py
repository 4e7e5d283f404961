"""Practice captchas of the shipped configuration in memory, for the benches."""

import tempfile

import numpy as np

from cnnlib import dataset, image_set
from cnnlib.config import PROJECT_ROOT, SampleConfig, load_captcha_config
from cnnlib.image_set import ImageSet
from gen_image.generator import draw_samples


def drawn_images(config: SampleConfig, count: int) -> ImageSet:
    """Draw so many captchas, and return them in a random order."""
    with tempfile.TemporaryDirectory() as folder:
        draw_samples(load_captcha_config(PROJECT_ROOT / "conf/captcha_config.json",
                                         root_dir=folder, count=count))
        images = image_set.load_images(folder, dataset.rules_of(config))
    return images.take(np.random.default_rng(0).permutation(count))
