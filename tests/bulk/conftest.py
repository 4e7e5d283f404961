"""A folder of images, and the shipped model as its exported file: no TensorFlow to load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.lib.practice import drawn_files
from cnnlib.config import ONNX, SampleConfig, load_sample_config
from cnnlib.paths import PROJECT_ROOT
from cnnlib.runtimes import load_recognizer
from cnnlib.text_reader import TextReader

CONFIG = PROJECT_ROOT / "conf" / "pretrained_config.json"
DRAWN = 60


@pytest.fixture(scope="session")
def config() -> SampleConfig:
    return load_sample_config(CONFIG, runtime=ONNX)


@pytest.fixture(scope="session")
def reader(config: SampleConfig) -> Iterator[TextReader]:
    with load_recognizer(config) as recognizer:
        yield recognizer


@pytest.fixture(scope="session")
def drawn(config: SampleConfig) -> list[bytes]:
    """The content of some image files."""
    return drawn_files(config, DRAWN)[1]


@pytest.fixture
def images(tmp_path: Path, drawn: list[bytes]) -> Path:
    """A folder with the drawn images in folders of it, and in their folders."""
    folder = tmp_path / "my images"
    for i, data in enumerate(drawn):
        path = folder / ("a/b/c" if i % 3 else "z") / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
