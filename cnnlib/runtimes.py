"""Which library recognises: TensorFlow with a model folder, or onnxruntime with an exported file.

Neither is imported here before it is chosen: serving an exported file needs no TensorFlow.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.config import AUTO, ONNX, SampleConfig
from cnnlib.errors import ModelError
from cnnlib.networks.model_folder import ONNX_FILE, ModelFolder
from cnnlib.onnx_recognizer import EXPORTED_WITHIN_S, OnnxRecognizer, how_to_export, state_of
from cnnlib.packages import is_installed
from cnnlib.paths import AnyPath
from cnnlib.reloads import Reloads
from cnnlib.text_reader import TextReader

if TYPE_CHECKING:
    from cnnlib.recognizer import Recognizer

log = logging.getLogger(__name__)


def load_recognizer(config: SampleConfig) -> Recognizer | OnnxRecognizer | AutoRecognizer:
    """Load the model of a config by its `runtime`; raises what `recognizer_of` raises."""
    return recognizer_of(
        config.spec,
        config.model_save_dir,
        config.runtime,
        test_time_augmentation=config.test_time_augmentation,
    )


def recognizer_of(
    spec: CaptchaSpec,
    model_save_dir: AnyPath,
    runtime: str = AUTO,
    *,
    test_time_augmentation: bool = True,
) -> Recognizer | OnnxRecognizer | AutoRecognizer:
    """Load a model folder; AUTO takes the exported file where it has the folder's weights.

    So it does where TensorFlow is not installed. Without `test_time_augmentation` images are read
    once, but by ONNX as the file was exported. Raises ModelError where there is no model or it
    does not fit, and MissingPackageError where the runtime is not installed.
    """
    folder = ModelFolder(model_save_dir)
    if runtime == ONNX or (runtime == AUTO and not is_installed("tensorflow")):
        return OnnxRecognizer.in_folder(folder, spec)
    if runtime == AUTO and is_installed("onnxruntime"):
        return AutoRecognizer(folder, spec, test_time_augmentation)
    from cnnlib.recognizer import Recognizer

    return Recognizer.from_spec(spec, folder.path, test_time_augmentation=test_time_augmentation)


class AutoRecognizer(TextReader):
    """The exported file where it has the newest weights of its folder, else TensorFlow with these.

    `load_newer` chooses again, by the same rule. Raises ModelError where neither can be used.
    """

    def __init__(self, folder: ModelFolder, spec: CaptchaSpec, augments: bool = True) -> None:
        self._folder, self._wanted, self._augments = folder, spec, augments
        self._file_state = state_of(folder.full / ONNX_FILE)
        self._reloads = Reloads(self._state())
        self._chosen = _newest(folder, spec, augments)
        self.spec, self.char_set = self._chosen.spec, self._chosen.char_set
        self.image_height, self.image_width = self.spec.image_height, self.spec.image_width

    def close(self) -> None:
        """Free the model; to be called when no thread is recognising."""
        self._chosen.close()

    def load_newer(self) -> AutoRecognizer | None:
        """Load what the folder has now, where the choice may be another one; else return None.

        A training may still be exporting the weights that it has just saved: it has
        EXPORTED_WITHIN_S. Raises ModelError where nothing can be used, and tries again after a
        pause (`Reloads`).
        """
        if (
            isinstance(self._chosen, OnnxRecognizer)
            and state_of(self._folder.full / ONNX_FILE) == self._file_state
            and not self._chosen.is_outdated(EXPORTED_WITHIN_S)
        ):
            return None
        return self._reloads.load(
            self._state(), lambda: AutoRecognizer(self._folder, self._wanted, self._augments)
        )

    @property
    def chosen(self) -> OnnxRecognizer | Recognizer:
        """The one of both that recognises."""
        return self._chosen

    def describe(self) -> dict[str, Any]:
        """Return what the model is, as JSON values."""
        return self._chosen.describe()

    def _run(self, pixels: np.ndarray) -> np.ndarray:
        return self._chosen._run(pixels)

    def _state(self) -> str:
        """Return what changes with the exported file or with the weights."""
        try:
            info = self._folder.read()
            weights = info.best if info else ""
        except ModelError as error:
            weights = str(error)
        return f"{state_of(self._folder.full / ONNX_FILE)} {weights}"


def _newest(folder: ModelFolder, spec: CaptchaSpec, augments: bool) -> OnnxRecognizer | Recognizer:
    """Load the exported file; where it is left aside, the weights, and log the reason."""
    left_aside = ""
    if folder.has_export():
        try:
            exported = OnnxRecognizer.in_folder(folder, spec)
            left_aside = _why_left_aside(exported, augments, folder.full / ONNX_FILE)
            if not left_aside:
                return exported
            exported.close()
        except ModelError as error:
            left_aside = str(error)
    from cnnlib.recognizer import Recognizer

    try:
        recognizer = Recognizer.from_spec(spec, folder.path, test_time_augmentation=augments)
    except ModelError as error:
        if not left_aside:
            raise
        raise ModelError(f"{error}. Nor can the exported file be used: {left_aside}") from error
    if left_aside:
        log.warning("TensorFlow recognises, the exported file is left aside: %s", left_aside)
    return recognizer


def _why_left_aside(exported: OnnxRecognizer, augments: bool, file: Path) -> str:
    """Return why a file is not what its folder and conf/ ask for; "" where it is."""
    if exported.is_outdated():
        wrong = "has other weights than the newest of its folder"
    elif exported.augments_otherwise(augments):
        wrong = "was exported with another test_time_augmentation than conf/ has"
    else:
        return ""
    return f"{file} {wrong}: {how_to_export()}"
