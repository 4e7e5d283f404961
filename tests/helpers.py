"""What several tests use: a small project in a folder of its own, and images to draw in it."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import captcha.image
from PIL import Image

from cnnlib import dataset
from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.config import CaptchaConfig, SampleConfig, load_captcha_config, load_sample_config
from cnnlib.console import CONSOLE
from cnnlib.dataset.labels import SEPARATOR, FolderLabels, file_name, read_label_list
from cnnlib.dataset.move_recovery import recover
from cnnlib.paths import ProjectPath
from gen_image.generator import CaptchaGenerator

DrawImages = Callable[..., list[Path]]

SAMPLE = {
    "origin_image_dir": "sample/origin/",
    "new_image_dir": "sample/new_train/",
    "train_image_dir": "sample/train/",
    "test_image_dir": "sample/test/",
    "api_image_dir": "sample/api/",
    "online_image_dir": "sample/online/",
    "local_image_dir": "sample/local/",
    "model_save_dir": "model/",
    "image_width": 40,
    "image_height": 24,
    "max_captcha": 2,
    "image_suffix": "png",
    "char_set": "0123",
    "use_labels_json_file": False,
    "remote_url": "http://127.0.0.1:6100/captcha/",
    "cycle_stop": 20,
    "acc_stop": 1.0,
    "cycle_save": 10,
    "enable_gpu": 0,
    "train_batch_size": 16,
    "test_batch_size": 16,
}
CAPTCHA = {
    "root_dir": "sample/origin/",
    "image_suffix": "png",
    "characters": "0123",
    "count": 20,
    "char_count": 2,
    "width": 40,
    "height": 24,
}
SPEC = CaptchaSpec(24, 40, 2, tuple("0123"))  # of the captchas in both


@dataclass
class Project:
    """A project root of its own, with a config for images of 40x24 with two of the digits 0-3."""

    root: Path

    @property
    def config_path(self) -> Path:
        return self.root / "conf" / "sample_config.json"

    @property
    def captcha_config_path(self) -> Path:
        return self.root / "conf" / "captcha_config.json"

    @property
    def sample(self) -> SampleConfig:
        return load_sample_config(self.config_path)

    @property
    def captcha(self) -> CaptchaConfig:
        return load_captcha_config(self.captcha_config_path)

    def change(self, **values: object) -> None:
        """Rewrite keys of conf/sample_config.json."""
        _change(self.config_path, values)

    def resize(self, width: int, height: int) -> None:
        """Change the size of images in both configs."""
        self.change(image_width=width, image_height=height)
        _change(self.captcha_config_path, {"width": width, "height": height})

    def copy(self, root: Path) -> Project:
        """Return a copy in another folder, to be changed."""
        return Project(shutil.copytree(self.root, root))


def _change(path: Path, values: dict[str, Any]) -> None:
    known = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(known | values), encoding="utf-8")


class CountedCharacter(str):
    """A character that counts how often one is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        CountedCharacter.compared += 1
        return str.__eq__(self, other)


def counted_characters(count: int = 7000) -> list[CountedCharacter]:
    """Return that many characters; work on them should not grow with the square of their number."""
    CountedCharacter.compared = 0
    return [CountedCharacter(chr(0x4E00 + i)) for i in range(count)]


class Folders:
    """An origin folder of files whose content is their own first name, and where they go."""

    def __init__(self, root: Path) -> None:
        self.origin, self.train, self.test = (root / name for name in ("origin", "train", "test"))

    def fill(self, count: int, start: int = 0) -> Folders:
        self.origin.mkdir(parents=True, exist_ok=True)
        for i in range(start, start + count):
            (self.origin / f"{i:04d}_x.png").write_text(f"{i:04d}_x.png")
        return self

    def split(self, *bad: str, seed: int = 0) -> None:
        dataset.split(self.origin, self.train, self.test, bad, seed=seed)

    def recover(self) -> None:
        """End the moves that were interrupted, and begin none."""
        labels = FolderLabels(read_label_list(ProjectPath(self.origin)), SEPARATOR)
        recover({self.origin: labels.name_with_label}, [self.train, self.test], CONSOLE)

    def names(self) -> tuple[list[str], list[str], list[str]]:
        origin, train, test = (
            names_in(folder) if folder.exists() else []
            for folder in (self.origin, self.train, self.test)
        )
        return origin, train, test

    def contents(self) -> Counter[str]:
        return Counter(
            path.read_text()
            for folder in (self.origin, self.train, self.test)
            if folder.exists()
            for path in folder.iterdir()
        )


def new_project(root: Path) -> Project:
    made = Project(root)
    made.config_path.parent.mkdir(parents=True)
    made.config_path.write_text(json.dumps(SAMPLE), encoding="utf-8")
    made.captcha_config_path.write_text(json.dumps(CAPTCHA), encoding="utf-8")
    return made


class FixedRandom(random.Random):
    """A generator by seed, with the names of `secrets`, by which the captcha library draws."""

    def randbelow(self, exclusive: int) -> int:
        return self.randrange(exclusive)

    def randbits(self, bits: int) -> int:
        return self.getrandbits(bits)


@contextmanager
def fixed_pixels(seed: int) -> Iterator[None]:
    """Let the captcha library draw the same pixels each time: a trained model depends on them."""
    source = "secrets" if hasattr(captcha.image, "secrets") else "random"  # below version 0.7
    with patch.object(captcha.image, source, FixedRandom(seed)):
        yield


def drawing(project: Project) -> DrawImages:
    """Return draw(folder, count=20, *, texts=None, seed=0, **config) -> paths of the new images.

    The folder is made. `texts` instead of `count` names the texts; `config` replaces keys of the
    captcha config: characters, char_count, width, height, image_suffix.
    """

    def draw(
        folder: str | Path,
        count: int = 20,
        *,
        texts: list[str] | None = None,
        seed: int = 0,
        **config: Any,
    ) -> list[Path]:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        generator = CaptchaGenerator(
            replace(project.captcha, root_dir=ProjectPath(folder), **config)
        )
        rng = random.Random(seed)
        drawn = []
        with fixed_pixels(seed):
            for text in texts or [generator.random_text(rng) for _ in range(count)]:
                path = folder / file_name(text, generator.config.image_suffix)
                path.write_bytes(generator.encode(generator.draw(text)))
                drawn.append(path)
        return drawn

    return draw


def names_in(folder: str | os.PathLike[str]) -> list[str]:
    return sorted(os.listdir(folder))


def is_png(path: Path) -> bool:
    with Image.open(path) as image:
        return image.format == "PNG"
