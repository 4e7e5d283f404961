"""Packages that not every installation has, and what is said where one is missing."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from cnnlib.errors import MissingPackageError

REQUIREMENTS = {  # what installs a package
    "tensorflow": "requirements.txt",
    "captcha": "requirements.txt",
    "matplotlib": "requirements.txt",
    "onnx": "requirements-export.txt",
    "onnxruntime": "requirements-serve.txt",
    "pyarrow": "requirements-parquet.txt",
    "pycapt": "requirements-practice.txt",
    "ray": "requirements-ray.txt",
}
USES = {
    "tensorflow": "Recognising does without it, with a model that export_model.py wrote "
    "(--runtime onnx)",
    "captcha": "Practice captchas are drawn with it",
    "matplotlib": "Pictures are drawn with it",
    "pyarrow": "Parquet is written with it; .csv and .jsonl do without",
    "pycapt": "The style of this name is drawn with it",
    "ray": "--ray recognises with it; without that option one process does",
}
NAMES = {"tensorflow": "TensorFlow", "ray": "Ray"}


def is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def require(*packages: str) -> None:
    """Raise MissingPackageError for the first of these that is not installed; imports none."""
    for package in packages:
        if not is_installed(package):
            raise _missing(package)


@contextmanager
def importing(package: str) -> Iterator[None]:
    """Raise MissingPackageError where an import fails since this package is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        raise _missing(package) from error


def _missing(package: str) -> MissingPackageError:
    sentences = [
        f"{NAMES.get(package, package)} is not installed: pip install -r {REQUIREMENTS[package]}",
        *filter(None, [USES.get(package)]),
    ]
    return MissingPackageError(". ".join(sentences), name=package)
