"""The virtual environment in .venv: made, repaired, filled from the requirements files."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bootstrap.processes import ROOT, Failed, environment, run, say, shown
from bootstrap.state import read_json, write_json
from bootstrap.versions import NEWEST, OLDEST, wrong_python

VENV = ROOT / ".venv"
STATE = VENV / "quickstart.json"  # requirements file -> SHA-256 of what was installed
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")


def prepare(files: tuple[str, ...]) -> None:
    """Make .venv and install the requirements files, as far as that is still to be done."""
    if not venv_works():
        make_venv()
    wanted = {name: sha256(ROOT / name) for name in files}
    installed = read_json(STATE)
    if all(installed.get(name) == wanted[name] for name in wanted):
        return
    say(f"Installing {' and '.join(files)} into .venv (the first time 2 to 10 minutes)")
    arguments = [part for name in files for part in ("-r", str(ROOT / name))]
    command = [venv_python(), "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    if run(command):
        raise Failed(
            "pip could not install the requirements; its own message is above.\n"
            f"To repeat only this step: {shown(command)}"
        )
    write_json(STATE, {**installed, **wanted})


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def venv_python(venv: Path = VENV) -> str:
    return str(venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def venv_works() -> bool:
    """Return whether .venv is whole and of a supported version."""
    if read_json(STATE).get("making"):
        return False
    try:
        answer = subprocess.run(
            [venv_python(), "-c", "import sys, pip; print(*sys.version_info[:2])"],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    version = tuple(map(int, answer.stdout.split()))
    if wrong_python(version):
        raise Failed(
            f"{VENV} holds Python {version[0]}.{version[1]}, but "
            f"3.{OLDEST[1]} to 3.{NEWEST[1]} is needed: remove that folder, start again"
        )
    return True


def make_venv() -> None:
    if VENV.exists():
        if any(VENV.iterdir()) and not (VENV / "pyvenv.cfg").exists() and not STATE.exists():
            raise Failed(
                f"{VENV} exists, but is not a virtual environment: rename or remove it, start again"
            )
        say("The virtual environment in .venv is incomplete and is rebuilt")
        shutil.rmtree(VENV)
    say("Making a virtual environment in .venv (a few seconds)")
    VENV.mkdir()
    write_json(STATE, {"making": True})  # until it is whole; it also marks the folder as ours
    command = [sys.executable, "-m", "venv", str(VENV)]
    if importlib.util.find_spec("ensurepip") is None or run(command):
        shutil.rmtree(VENV, ignore_errors=True)
        minor = sys.version_info[1]
        raise Failed(
            "The virtual environment could not be made. On Debian and Ubuntu the part of "
            f"Python that makes it is a package: sudo apt install python3.{minor}-venv\n"
            f"Elsewhere, this command shows what is wrong: {shown(command)}"
        )
    write_json(STATE, {})
