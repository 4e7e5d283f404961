"""What is said where a package is missing, as in an environment of requirements-serve.txt."""

import re
import subprocess
import sys

import pytest

from cnnlib.errors import MissingPackageError
from cnnlib.packages import REQUIREMENTS, importing, require
from cnnlib.paths import PROJECT_ROOT
from tests.test_architecture import SCRIPTS

# Shows a script what an environment has that requirements-serve.txt made.
SERVING = """
import importlib, sys
sys.modules.update(dict.fromkeys(["tensorflow", "tensorboard", "captcha", "matplotlib", "onnx"]))
name, *arguments = sys.argv[1:]
sys.exit(importlib.import_module(name).main(arguments))
"""

CONFIG = ["--config", "conf/pretrained_config.json"]


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, "-c", SERVING, script, *arguments],
        cwd=PROJECT_ROOT,
        capture_output=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize("package", REQUIREMENTS)
def test_the_command_installs_what_is_missing(package):
    text = (PROJECT_ROOT / REQUIREMENTS[package]).read_text(encoding="utf-8")
    assert re.search(rf"^{package}\b", text, re.M)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_has_a_manual_where_packages_are_missing(script):
    done = run(script, "--help")
    assert (done.returncode, done.stderr) == (0, "") and "usage: " in done.stdout


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        (["train_model"], "TensorFlow"),
        (["export_model"], "TensorFlow"),
        (["test_batch", "--runtime", "tensorflow", *CONFIG], "TensorFlow"),
        (["webserver_recognize_api", "--runtime", "tensorflow", *CONFIG], "TensorFlow"),
        (["doctor", "--forecast"], "TensorFlow"),
        (["doctor", "--cross-validate"], "TensorFlow"),
        (["new_project", "conf", "--go"], "TensorFlow"),
        (["gen_image.gen_sample_by_captcha"], "(captcha|matplotlib)"),
        (["webserver_captcha_image"], "(captcha|matplotlib)"),
    ],
)
def test_what_is_missing_is_one_line_and_exit_2(command, missing):
    done = run(*command)
    assert (done.returncode, done.stdout) == (2, "")
    expected = rf"error: {missing} is not installed: pip install -r requirements\.txt\. .+\n"
    assert re.fullmatch(expected, done.stderr)


def test_it_is_an_import_error_too_and_says_of_no_other_that_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingPackageError, match="^onnx is not installed: ") as missing:
        require("captcha", "onnx")
    assert isinstance(missing.value, ImportError) and missing.value.name == "onnx"
    with pytest.raises(MissingPackageError), importing("onnx"):
        import onnx.helper  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match="no_such_package"), importing("onnx"):
        import no_such_package  # type: ignore[import-not-found]  # noqa: F401
