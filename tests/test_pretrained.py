"""The model that is shipped: it works at once, and is small."""

from __future__ import annotations

import random

import pytest

from cnnlib.config import load_captcha_config, load_sample_config
from cnnlib.dataset.images import open_image
from cnnlib.networks.model_folder import LOCK_FILE, ModelFolder
from cnnlib.paths import PROJECT_ROOT
from cnnlib.recognizer import Recognizer
from gen_image.generator import CaptchaGenerator

CONFIG = load_sample_config(PROJECT_ROOT / "conf/pretrained_config.json")


def test_it_reads_practice_captchas():
    generator = CaptchaGenerator(load_captcha_config())
    texts = [generator.random_text(random.Random(i)) for i in range(100)]
    images = [open_image(generator.encode(generator.draw(text))) for text in texts]
    with Recognizer.from_config(CONFIG) as recognizer:
        predictions = recognizer.predict(images)
    right = sum(p.text == text for p, text in zip(predictions, texts, strict=True))
    assert right >= 95
    assert sum(p.confidence for p in predictions) / 100 == pytest.approx(right / 100, abs=0.06)


def test_it_is_small_and_says_where_it_comes_from():
    folder = ModelFolder(CONFIG.model_save_dir)
    assert "bench_training.py 100k" in folder.read_required().origin
    files = [path for path in folder.full.iterdir() if path.name != LOCK_FILE]
    assert sum(path.stat().st_size for path in files) < 10_000_000
    assert {path.suffix for path in files} == {".json", ".index", ".data-00000-of-00001", ".onnx"}
