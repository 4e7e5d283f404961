"""The library as other programs install it: a wheel, with what it needs from the requirements."""

import shutil
import subprocess
import sys
import zipfile
from email.parser import HeaderParser

import pytest
from packaging.requirements import Requirement

from cnnlib import __version__
from cnnlib.paths import PROJECT_ROOT

SOURCES = ("cnnlib", "gen_image", "pyproject.toml", "README.md", "LICENSE")
USE = """
import sys
from PIL import Image
import cnnlib
from cnnlib import CaptchaSpec, Recognizer, SilentReporter
assert cnnlib.__file__.startswith(sys.argv[1]), cnnlib.__file__
char_set = "0123456789abcdefghijklmnopqrstuvwxyz"
with Recognizer(60, 100, 4, char_set, sys.argv[2]) as recognizer:
    print(len(recognizer.rec_image(Image.new("L", (100, 60), 255))))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build in a copy: a build leaves its files next to the sources."""
    source = tmp_path_factory.mktemp("source")
    for path in (*(PROJECT_ROOT / name for name in SOURCES), *PROJECT_ROOT.glob("requirements*")):
        if path.is_dir():
            shutil.copytree(path, source / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source)
    made = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*command, "--wheel-dir", str(made), str(source)], check=True)
    return next(made.glob("cnn_captcha-*.whl"))


def test_the_wheel_has_the_library_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tops = {name.split("/")[0] for name in names}
    assert tops == {"cnnlib", "gen_image", f"cnn_captcha-{__version__}.dist-info"}
    assert "cnnlib/py.typed" in names
    modules = {
        path.relative_to(PROJECT_ROOT).as_posix() for path in PROJECT_ROOT.glob("cnnlib/**/*.py")
    }
    assert modules <= names


def test_what_it_needs_is_what_the_requirements_say(wheel):
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"cnn_captcha-{__version__}.dist-info/METADATA").decode()
    needed = HeaderParser().parsestr(metadata).get_all("Requires-Dist") or []
    named = {str(Requirement(line)) for line in needed if "extra" not in line}
    lines = (PROJECT_ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert named == {str(Requirement(line)) for line in lines}
    for extra in ("deploy", "practice", "dev"):
        assert any(f'extra == "{extra}"' in line for line in needed)


def test_the_installed_library_recognises(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    model = PROJECT_ROOT / "model" / "pretrained"
    done = subprocess.run(
        [sys.executable, "-c", USE, str(tmp_path / "site"), str(model)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
        capture_output=True,
        encoding="utf-8",
    )
    assert (done.returncode, done.stdout) == (0, "4\n"), done.stderr
