"""The library below the scripts: data contract, networks, training, inference, serving.

The names of `__all__` can be imported from here; what needs TensorFlow is loaded when it is used.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from cnnlib.version import __version__ as __version__

# TensorFlow reads these once, when it is first imported.
# 2 keeps warnings about hardware it could use off the user's screen and still shows errors.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# By itself TensorFlow uses oneDNN only where the processor has AVX-512; on one with AVX2 alone a
# training step takes 1.6 times as long without it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# onnxruntime reports to its makers since 1.29, over the network, unless this is set before it is
# imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from cnnlib.captcha_spec import CaptchaSpec
    from cnnlib.config import load_captcha_config, load_sample_config
    from cnnlib.console import Reporter, SilentReporter
    from cnnlib.dataset import split, verify
    from cnnlib.errors import CaptchaError
    from cnnlib.evaluation import TestBatch
    from cnnlib.explanation import CharExplanation, Explanation
    from cnnlib.network import CNN
    from cnnlib.recognizer import Prediction, Recognizer
    from cnnlib.training import TrainModel

__all__ = [
    "CNN",
    "CaptchaError",
    "CaptchaSpec",
    "CharExplanation",
    "Explanation",
    "Prediction",
    "Recognizer",
    "Reporter",
    "SilentReporter",
    "TestBatch",
    "TrainModel",
    "load_captcha_config",
    "load_sample_config",
    "split",
    "verify",
]

_MODULES = {
    "CNN": "network",
    "CaptchaError": "errors",
    "CaptchaSpec": "captcha_spec",
    "CharExplanation": "explanation",
    "Explanation": "explanation",
    "Prediction": "recognizer",
    "Recognizer": "recognizer",
    "Reporter": "console",
    "SilentReporter": "console",
    "TestBatch": "evaluation",
    "TrainModel": "training",
    "load_captcha_config": "config",
    "load_sample_config": "config",
    "split": "dataset",
    "verify": "dataset",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
