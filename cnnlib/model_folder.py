"""The folder of a model: model.json, which says what it is and which files belong to it.

model.json is the single commit point. New checkpoint files are written first, then model.json is
replaced, then files that it does not name go; stopped at any moment, one whole save remains.
TensorFlow's own `checkpoint` file is neither written nor read: it holds absolute paths.
"""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cnnlib import config
from cnnlib.config import AnyPath, ProjectPath
from cnnlib.errors import ConfigError, ModelError
from cnnlib.files import replacing

FORMAT = 1
FILE = "model.json"
LOCK = ".training.lock"
OURS = re.compile(r"(best|last)-\d+-[0-9a-f]{8}\b")
REPLACED_SYSTEM = (".index", ".meta", "checkpoint")  # its files, in the folder it saved to


@dataclass(frozen=True)
class Run:
    """A training run: steps done of those to do, and whether it came to its end."""

    step: int
    cycle_stop: int
    seed: int
    done: bool


@dataclass(frozen=True)
class ModelInfo:
    """What model.json says. `best` and `last` are checkpoints: the best weights, the run's state.

    `total_step` counts the steps of all runs up to `last`, and `step` those up to `best`; `scores`
    are of `best` on the whole test set; `temperature` divides its logits before the softmax.
    """

    char_set: tuple[str, ...]
    image_height: int
    image_width: int
    channels: int
    min_captcha: int
    max_captcha: int
    network: str
    recipe: str
    step: int
    scores: Mapping[str, float]
    temperature: float
    best: str
    last: str
    total_step: int
    run: Run
    libraries: Mapping[str, str] = field(default_factory=dict)
    resize: str = ""
    ignore_case: bool = False  # of the labels: upper case was learned as lower case
    origin: str = ""  # of a model that was not trained here
    format: int = FORMAT


class ModelFolder:
    """A model_save_dir; every error names it and says what to do."""

    def __init__(self, path: AnyPath) -> None:
        self.path = ProjectPath(path)

    def __str__(self) -> str:
        return f"{self.path} ({self.path.full})"

    @property
    def full(self) -> Path:
        return self.path.full

    def read(self) -> ModelInfo | None:
        """Return what model.json says; None where there is no model.

        Raises ModelError where it is damaged, newer than this code, or of the replaced system.
        """
        file = self.full / FILE
        if not file.exists():
            self._refuse_replaced_system()
            return None
        try:
            values = config.read_json(file)
            if values["format"] != FORMAT:
                raise ModelError(f"{file} has format {values['format']}, this code knows {FORMAT}: "
                                 "use the version that trained it, or train with --fresh")
            values |= {"run": Run(**values["run"]), "char_set": tuple(values["char_set"])}
            return ModelInfo(**values)
        except (ConfigError, TypeError, KeyError) as error:
            raise ModelError(f"{file} is damaged ({error}): restore it, or train into another "
                             "model_save_dir") from error

    def required(self) -> ModelInfo:
        """Return what model.json says; raises ModelError where there is no model."""
        info = self.read()
        if info is None:
            raise ModelError(f"no model in {self}: run train_model.py first, or correct "
                             "model_save_dir in conf/")
        return info

    def _refuse_replaced_system(self) -> None:
        for name in REPLACED_SYSTEM:
            if (self.full / name).exists():
                raise ModelError(f"{self} holds {name}, saved by cnn_captcha 2: this version "
                                 "cannot read it. Name another model_save_dir in conf/ and train")

    def new_checkpoint(self, kind: str, step: int) -> str:
        """Return a name, "best" or "last" at its beginning, that no file of the folder has."""
        return f"{kind}-{step}-{secrets.token_hex(4)}"

    def commit(self, info: ModelInfo) -> None:
        """Make `info` what the folder holds, then remove checkpoint files that it does not name."""
        with replacing(self.full / FILE) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(info), ensure_ascii=False, indent=1)
                                 + "\n", encoding="utf-8")
        names = {name[0] for file in self.full.iterdir() if (name := OURS.match(file.name))}
        self.remove(*names - {info.best, info.last})

    def remove(self, *checkpoints: str) -> None:
        """Remove the files of checkpoints, also cut-off ones."""
        for file in self.full.iterdir():
            name = OURS.match(file.name)
            if name and name[0] in checkpoints:
                with suppress(OSError):  # open on Windows, say: it goes at the next save
                    file.unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second training off; one that is killed leaves no lock behind."""
        try:
            self.full.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.full / LOCK)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ModelError(f"another training is using {self}: wait until it has ended, or give "
                             "each its own model_save_dir") from error
        except OSError as error:
            raise ModelError(f"cannot write to {self}: {error.strerror}; make it writable or name "
                             "another model_save_dir in conf/") from error
        try:
            yield
        finally:
            lock.release()

    def check_fits(self, info: ModelInfo, remedy: str, **wanted: Any) -> None:
        """Raise ModelError with both values of everything in which the model is not as wanted."""
        differences = [
            f"{name} {_shown(getattr(info, name))}, not {_shown(value)}"
            for name, value in wanted.items() if getattr(info, name) != value]
        if differences:
            raise ModelError(f"the model in {self} does not fit: it was trained for "
                             f"{'; '.join(differences)}. {remedy}")


def _shown(value: Any) -> str:
    return "".join(value) if isinstance(value, tuple) else str(value) or "false"


def completed(model_save_dir: AnyPath, *, ignore_model: bool = False,
              **given: Any) -> dict[str, Any]:
    """Return sizes, lengths, channels and resize; those that are None are the model's.

    Where there is no model they are those of the sample config, unless sizes and length are given:
    then labels all have that length, and images are gray and of that size.
    """
    if None not in given.values():
        return given
    info = None if ignore_model else ModelFolder(model_save_dir).read()
    if info is not None:
        known = {"image_channels": info.channels} | dataclasses.asdict(info)
    elif None in (given["image_height"], given["image_width"], given["max_captcha"]):
        known = vars(config.load_sample_config())
    else:
        known = {"min_captcha": given["max_captcha"], "image_channels": 1, "resize": ""}
    return {name: known[name] if value is None else value for name, value in given.items()}
