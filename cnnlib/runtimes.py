"""Which library recognises: TensorFlow with a model folder, or onnxruntime with an exported file.

Neither is imported here before it is chosen: serving an exported file needs no TensorFlow.
"""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from typing import TYPE_CHECKING

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.config import AUTO, ONNX, TENSORFLOW, SampleConfig
from cnnlib.errors import ConfigError, ModelError
from cnnlib.networks.model_folder import ModelFolder
from cnnlib.onnx_recognizer import OnnxRecognizer
from cnnlib.paths import AnyPath

if TYPE_CHECKING:
    from cnnlib.recognizer import Recognizer


def load_recognizer(config: SampleConfig) -> Recognizer | OnnxRecognizer:
    """Load the model of a config by its `runtime`; raises what `recognizer_of` raises."""
    return recognizer_of(config.spec, config.model_save_dir, config.runtime)


def recognizer_of(
    spec: CaptchaSpec, model_save_dir: AnyPath, runtime: str = AUTO
) -> Recognizer | OnnxRecognizer:
    """Load a model folder; AUTO takes the exported file where it has the folder's weights.

    So it does where TensorFlow is not installed. Raises ModelError where there is no model or it
    does not fit, and ConfigError where the runtime is not installed.
    """
    folder = ModelFolder(model_save_dir)
    if runtime == ONNX:
        return OnnxRecognizer.in_folder(folder, spec)
    if not is_installed("tensorflow"):
        if runtime == TENSORFLOW:
            raise ConfigError(
                "TensorFlow is not installed: pip install -r requirements.txt, or take --runtime "
                "onnx with a model that export_model.py wrote"
            )
        return OnnxRecognizer.in_folder(folder, spec)
    if runtime == AUTO and is_installed("onnxruntime"):
        with suppress(ModelError):  # none, or one of earlier labels: the weights count
            exported = OnnxRecognizer.in_folder(folder, spec)
            if not exported.is_outdated():
                return exported
            exported.close()
    from cnnlib.recognizer import Recognizer

    return Recognizer.from_spec(spec, folder.path)


def is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
