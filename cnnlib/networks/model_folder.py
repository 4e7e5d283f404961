"""The folder of a model: model.json, which says what it is and which files belong to it.

model.json is the single commit point. New checkpoint files are written first, and are on the disk
before model.json is replaced; when that is there too, files that it does not name are removed.
Stopped at any moment, also by a power cut, one whole save remains. TensorFlow's own `checkpoint`
file is neither written nor read: it holds absolute paths.
"""

from __future__ import annotations

import dataclasses
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cnnlib import locks
from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.config import load_sample_config
from cnnlib.config_reader import read_json
from cnnlib.console import CONSOLE, Reporter
from cnnlib.errors import ConfigError, ModelError
from cnnlib.files import make_folder, reason, replacing, write_json
from cnnlib.paths import AnyPath, ProjectPath

FORMAT = 1
MODEL_FILE = "model.json"
ONNX_FILE = "model.onnx"  # the same model, as export_model.py writes it by default
LOCK_FILE = ".training.lock"
HISTORY_FILE, CURVES_FILE = "history.csv", "accuracy.png"  # how a training went
FILES_OF_A_MODEL = (ONNX_FILE, HISTORY_FILE, CURVES_FILE)  # which may be there
CHECKPOINT_NAME = re.compile(r"(best|last)-\d+-[0-9a-f]{8}\b")
VERSION_2_FILES = (".index", ".meta", "checkpoint")
# model.json of format 1 -> CaptchaSpec, where the names differ
SPEC_NAMES = {"channels": "image_channels"}
OPTIONAL_SPEC_NAMES = {"resize", "ignore_case"}  # which came later


@dataclass(frozen=True)
class Run:
    """A training run: steps done of those to do, and whether it came to its end.

    `rate_factor` and `rewarm_from` are what rollbacks have made of its learning rate; `started`
    says that it began with weights that knew something, and has a lower one. From `cooling_from` on
    it falls to nothing, for an early end. `to_last_step`: acc_stop was reached before it, and does
    not end it. `read_at_start` is the share of the characters that the starting weights read.
    """

    step: int
    cycle_stop: int
    seed: int
    done: bool
    rate_factor: float = 1.0
    rewarm_from: int = 0
    started: bool = False
    cooling_from: int = 0
    to_last_step: bool = False
    read_at_start: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the values of model.json; most runs have no rollback, and none is written."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }


@dataclass(frozen=True)
class ModelInfo:
    """What model.json says. `best` and `last` are checkpoints: the best weights, the run's state.

    `total_step` counts the steps of all runs up to `last`, and `step` those up to `best`; `scores`
    are of `best` on the whole test set; `temperature` divides its logits before the softmax. Where
    test-time augmentation helps, `augmented` has its `image_accuracy` and `temperature`.
    """

    spec: CaptchaSpec
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
    origin: str = ""  # of a model that was not trained here
    augmented: Mapping[str, float] = field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """Return the values of model.json: those of the spec are keys like the others."""
        values = dataclasses.asdict(self)
        spec = values.pop("spec")
        values["run"] = self.run.to_json()
        if not self.augmented:
            del values["augmented"]
        return {**{old: spec.pop(new) for old, new in SPEC_NAMES.items()}, **spec, **values}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ModelInfo:
        """Raises TypeError, KeyError and ConfigError for other values than `to_json` gives."""
        known = {SPEC_NAMES.get(name, name): value for name, value in values.items()}
        names = {field.name for field in dataclasses.fields(CaptchaSpec)}
        given = names & known.keys() | names - OPTIONAL_SPEC_NAMES
        spec = CaptchaSpec(**{name: known.pop(name) for name in given})
        return cls(**{**known, "spec": spec, "run": Run(**known["run"])})


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

        Raises ModelError where it is damaged, newer than this code, or of version 2.
        """
        file = self.full / MODEL_FILE
        if not file.exists():
            self._refuse_version_2()
            return None
        try:
            values = read_json(file)
            if values["format"] != FORMAT:
                raise ModelError(
                    f"{file} has format {values['format']}, this code knows {FORMAT}: "
                    "use the version that trained it, or train with --fresh"
                )
            return ModelInfo.from_json(values)
        except (ConfigError, TypeError, KeyError) as error:
            raise ModelError(
                f"{file} is damaged ({error}): restore it, or train into another model_save_dir"
            ) from error

    def has_export(self) -> bool:
        """Return whether export_model.py has written its usual file."""
        return (self.full / ONNX_FILE).exists()

    def read_required(self) -> ModelInfo:
        """Return what model.json says; raises ModelError where there is no model."""
        info = self.read()
        if info is None:
            raise ModelError(
                f"no model in {self}: run train_model.py first, or correct model_save_dir in conf/"
            )
        return info

    def _refuse_version_2(self) -> None:
        for name in VERSION_2_FILES:
            if (self.full / name).exists():
                raise ModelError(
                    f"{self} holds {name}, saved by cnn_captcha 2: this version "
                    "cannot read it. Name another model_save_dir in conf/ and train"
                )

    def new_checkpoint(self, kind: str, step: int) -> str:
        """Return a name that begins with `kind`, "best" or "last", and that no file has."""
        return f"{kind}-{step}-{secrets.token_hex(4)}"

    def commit(self, info: ModelInfo) -> None:
        """Make `info` what the folder holds, then remove checkpoint files that it does not name."""
        write_json(self.full / MODEL_FILE, info.to_json(), indent=1)
        names = {
            name[0] for file in self.full.iterdir() if (name := CHECKPOINT_NAME.match(file.name))
        }
        self.remove(*names - {info.best, info.last})

    def adopt(self, other: ModelFolder) -> None:
        """Hold the model of another folder from now on; that folder keeps it.

        The checkpoint files are copied first, so that this folder has one whole model at any
        moment. Raises ModelError where there is no model, or where it cannot be copied.
        """
        info = other.read_required()
        names = {info.best, info.last}

        def copy(name: str) -> None:
            with replacing(self.full / name) as temporary:
                shutil.copyfile(other.full / name, temporary)

        try:
            for file in sorted(other.full.iterdir()):
                checkpoint = CHECKPOINT_NAME.match(file.name)
                if checkpoint and checkpoint[0] in names and not (self.full / file.name).exists():
                    copy(file.name)
            self.commit(info)
            for name in FILES_OF_A_MODEL:
                if (other.full / name).exists():
                    copy(name)
        except OSError as error:
            raise ModelError(
                f"cannot copy the model of {other} to {self}: {reason(error)}; free some space, or "
                "make the folder writable"
            ) from error

    def discard(self, *checkpoints: str) -> None:
        """Remove what a save that failed has written, unless model.json names it all the same."""
        with suppress(ModelError):  # damaged: a save that succeeds removes them
            info = self.read()
            self.remove(*set(checkpoints) - ({info.best, info.last} if info else set()))

    def remove(self, *checkpoints: str) -> None:
        """Remove the files of checkpoints, also partly written ones."""
        for file in self.full.iterdir():
            name = CHECKPOINT_NAME.match(file.name)
            if name and name[0] in checkpoints:
                with suppress(OSError):  # open on Windows, say: the next save removes it
                    file.unlink()

    @contextmanager
    def locked(self, reporter: Reporter = CONSOLE) -> Iterator[None]:
        """Keep a second training off; one that is killed leaves no lock behind."""
        with ExitStack() as resources:
            try:
                make_folder(self.full)
                resources.enter_context(locks.locked_file(self.full / LOCK_FILE))
            except locks.NoLocksError as error:
                reporter.warn(f"{error}: make sure that no second training uses the folder")
            except BlockingIOError as error:
                raise ModelError(
                    f"another training is using {self}: wait until it has ended, or give "
                    "each its own model_save_dir"
                ) from error
            except OSError as error:
                raise ModelError(
                    f"cannot write to {self}: {reason(error)}; free some space, make it writable "
                    "or name another model_save_dir in conf/"
                ) from error
            yield

    def check_fits(
        self,
        info: ModelInfo,
        wanted: CaptchaSpec,
        network: str,
        remedy: str,
        *,
        with_case: bool = False,
    ) -> None:
        """Raise ModelError with both values of everything in which the model is not as wanted.

        `with_case` says that labels must be read in the same way, too.
        """
        differences = list(info.spec.differences(wanted, with_case=with_case))
        if info.network != network:
            differences.append(f"network {info.network}, not {network}")
        if differences:
            raise ModelError(
                f"the model in {self} does not fit: it was trained for "
                f"{'; '.join(differences)}. {remedy}"
            )


def fill_missing(
    spec: CaptchaSpec | None, model_save_dir: AnyPath, *, ignore_model: bool = False
) -> CaptchaSpec:
    """Return the spec with size and lengths of the model, or of the sample config, where none are.

    Without a spec all of it is theirs.
    """
    if spec and spec.image_height and spec.image_width and spec.max_captcha:
        return spec
    info = None if ignore_model else ModelFolder(model_save_dir).read()
    known = info.spec if info else load_sample_config().spec
    if spec is None:
        return known
    return dataclasses.replace(
        spec,
        image_height=spec.image_height or known.image_height,
        image_width=spec.image_width or known.image_width,
        max_captcha=spec.max_captcha or known.max_captcha,
        min_captcha=spec.min_captcha or known.min_captcha,
    )
