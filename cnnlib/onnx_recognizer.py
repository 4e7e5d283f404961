"""Recognise images with an exported file, without TensorFlow."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.errors import ModelError
from cnnlib.networks.metadata import RGB, ModelMetadata
from cnnlib.networks.model_folder import MODEL_FILE, ONNX_FILE, ModelFolder, ModelInfo
from cnnlib.packages import importing, is_installed
from cnnlib.paths import AnyPath, ProjectPath
from cnnlib.reloads import Reloads
from cnnlib.text_reader import TextReader

EXPORTED_WITHIN_S = 120.0  # by a training, after it has saved the same weights


class OnnxRecognizer(TextReader):
    """The model of an exported ONNX file, with the interface of `Recognizer`.

    Safe to call from many threads. `close` frees its memory; so does leaving a `with` block. Where
    `spec` is given, ModelError is raised for a file of another captcha in anything but case; also
    where the file is missing or damaged. MissingPackageError: onnxruntime is not installed.
    """

    def __init__(self, file: AnyPath, *, spec: CaptchaSpec | None = None) -> None:
        self._file, self._wanted = ProjectPath(file).full, spec
        self._reloads = Reloads(self._state())
        self._session = _open_session(self._file)
        properties = self._session.get_modelmeta().custom_metadata_map
        self.metadata = ModelMetadata.from_properties(properties, str(self._file))
        self.spec = self.metadata.spec
        self.char_set = self.spec.char_set
        self.image_height, self.image_width = self.spec.image_height, self.spec.image_width
        self.min_captcha, self.max_captcha = self.spec.min_captcha, self.spec.max_captcha
        differences = list(self.spec.differences(spec)) if spec else []
        if differences:
            raise ModelError(
                f"the model in {self._file} does not fit: it was exported for "
                f"{'; '.join(differences)}. Export the model again, or correct conf/"
            )
        self.predict_pixels(np.zeros((2, *self.spec.shape), np.uint8))

    @classmethod
    def in_folder(cls, folder: ModelFolder, spec: CaptchaSpec) -> OnnxRecognizer:
        """Load the file that export_model.py writes by default, in a model folder."""
        return cls(folder.full / ONNX_FILE, spec=spec)

    def close(self) -> None:
        """Free the model; to be called when no thread is recognising."""
        self._session = None

    def load_newer(self) -> OnnxRecognizer | None:
        """Load the file where it is another one than when it was loaded; else return None.

        Raises ModelError where it cannot be used, or a training has saved better weights next to it
        and did not export them; it is tried again after a pause (`Reloads`).
        """
        state = self._state()
        newer = self._reloads.load(state, lambda: OnnxRecognizer(self._file, spec=self._wanted))
        if newer is None and self.is_outdated(EXPORTED_WITHIN_S):
            raise ModelError(
                f"{self._file} is served, and its folder has newer weights: {how_to_export()}, "
                'or set "export_onnx": true in conf/ for trainings'
            )
        return newer

    def is_outdated(self, within_s: float = 0.0) -> bool:
        """Return whether the file's folder has better weights, saved longer ago than `within_s`."""
        try:
            age_s = time.time() - (self._file.parent / MODEL_FILE).stat().st_mtime
        except OSError:
            return False
        info = self._trained()
        return info is not None and info.best != self.metadata.checkpoint and age_s >= within_s

    def augments_otherwise(self, test_time_augmentation: bool) -> bool:
        """Return whether it was exported with another `test_time_augmentation` than this."""
        info = self._trained()
        if info is None:
            return False
        wanted = ModelMetadata.of(info, test_time_augmentation=test_time_augmentation)
        return self.metadata.test_time_augmentation != wanted.test_time_augmentation

    def _trained(self) -> ModelInfo | None:
        """Return what the file's folder says of its model; None where it cannot be read."""
        try:
            return ModelFolder(self._file.parent).read()
        except (ModelError, OSError):
            return None

    def describe(self) -> dict[str, Any]:
        """Return what the model is, as JSON values."""
        return {**self.metadata.describe("onnx"), "outdated": self.is_outdated()}

    def _run(self, pixels: np.ndarray) -> np.ndarray:
        if self._session is None:
            raise RuntimeError("this recogniser is closed")
        if self.metadata.input == RGB and pixels.ndim == 3:  # gray, which stays the same in RGB
            pixels = np.repeat(pixels[..., np.newaxis], 3, axis=-1)  # [n, H, W, 3]
        [probabilities] = self._session.run(["probabilities"], {"image": pixels})
        result: np.ndarray = probabilities
        return result

    def _state(self) -> str:
        """Return what changes with the file; raises ModelError where there is none."""
        state = state_of(self._file)
        if not state:
            raise ModelError(f"no exported model in {self._file}: {how_to_export()}")
        return state


def state_of(file: Path) -> str:
    """Return what changes with a file; "" where there is none."""
    try:
        status = os.stat(file)
    except OSError:
        return ""
    return f"{status.st_mtime_ns} {status.st_size} {status.st_ino}"


def how_to_export() -> str:
    if is_installed("tensorflow"):
        return "run export_model.py"
    return "run export_model.py where TensorFlow is installed, and copy the file here"


def _open_session(file: Path) -> Any:
    """Return an onnxruntime.InferenceSession."""
    with importing("onnxruntime"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    # Each run in its caller's thread, as in `Recognizer`.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            file.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own kinds have no common base
        detail = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{file} is damaged ({detail}): export the model again") from error
