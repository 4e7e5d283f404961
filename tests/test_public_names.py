"""What `import cnnlib` offers, and that TensorFlow is loaded only for what needs it."""

import subprocess
import sys

import pytest

import cnnlib
from cnnlib.paths import PROJECT_ROOT


@pytest.mark.parametrize("name", cnnlib.__all__)
def test_public_name_can_be_imported(name):
    value = getattr(cnnlib, name)
    assert value.__name__ == name
    assert value.__module__.startswith("cnnlib.")
    assert name in dir(cnnlib)


def test_public_names_come_with_a_star():
    names: dict[str, object] = {}
    exec("from cnnlib import *", names)
    assert set(cnnlib.__all__) <= set(names)


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="module 'cnnlib' has no attribute 'Recogniser'"):
        _ = cnnlib.Recogniser
    with pytest.raises(ImportError, match="cannot import name 'Recogniser'"):
        from cnnlib import Recogniser  # noqa: F401


@pytest.mark.parametrize(
    ("statement", "loads"),
    [
        ("import cnnlib", False),
        ("from cnnlib import split, verify, load_sample_config, CaptchaSpec", False),
        ("from cnnlib import CaptchaError, Reporter, SilentReporter, load_captcha_config", False),
        ("from cnnlib import Recognizer", True),
    ],
)
def test_tensorflow_is_loaded_for_what_needs_it(statement, loads):
    code = f"import sys; {statement}; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout == f"{loads}\n"
