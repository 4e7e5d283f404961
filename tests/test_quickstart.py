"""The two commands for a fresh machine, in small projects of their own; nothing is downloaded."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from bootstrap import processes, versions, virtual_environment
from bootstrap.demo import batch_scores
from cnnlib import console

ROOT = Path(__file__).resolve().parents[1]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with quickstart.py, in a path with a space, whose requirements are empty files."""
    folder = tmp_path / "my captchas"
    folder.mkdir()
    shutil.copy(ROOT / "quickstart.py", folder)
    shutil.copytree(ROOT / "bootstrap", folder / "bootstrap")
    (folder / "cnnlib").mkdir()
    for name in ("__init__.py", "cores.py", "version.py"):
        shutil.copy(ROOT / "cnnlib" / name, folder / "cnnlib")
    for name in virtual_environment.REQUIREMENTS:
        (folder / name).write_text("", encoding="utf-8")
    return folder


@pytest.fixture
def run(tmp_path: Path, clone: Path) -> Run:
    """Run the clone's quickstart.py from another folder, with settings that lead out of .venv."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "pip.py").write_text("raise SystemExit('the wrong pip')", encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(elsewhere), "PIP_USER": "1"}

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(clone / "quickstart.py"), *arguments],
            cwd=elsewhere,
            env=env,
            capture_output=True,
            encoding="utf-8",
        )

    return call


def borrow_packages(folder: Path, *installed: str) -> None:
    """Make a .venv that sees the packages of this test run, with these files as installed."""
    venv.create(folder / ".venv")
    site = next((folder / ".venv").glob("[Ll]ib/**/site-packages"))
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    hashes = {name: virtual_environment.sha256(folder / name) for name in installed}
    (folder / ".venv" / "quickstart.json").write_text(json.dumps(hashes), encoding="utf-8")


def make_demo(folder: Path, **scripts: str) -> None:
    """Lay out a demo: config, and scripts that do what is given here instead of the real work."""
    shutil.copytree(ROOT / "conf", folder / "conf")
    (folder / "gen_image").mkdir()
    everything = {
        "gen_image/gen_sample_by_captcha": DRAW,
        "verify_and_split_data": "",
        "train_model": TRAIN,
        "test_batch": "print('50个样本识别耗时1.5秒，准确率98.0%')",
        "webserver_captcha_image": SERVER,
        "webserver_recognize_api": SERVER,
        "recognize_online": "print('9 of 10 right')",
        **scripts,
    }
    for name, code in everything.items():
        (folder / f"{name}.py").write_text(code, encoding="utf-8")


DRAW = """
import os, sys
os.makedirs("sample/demo/origin", exist_ok=True)
for i in range(int(sys.argv[sys.argv.index("--count") + 1])):
    open(f"sample/demo/origin/abcd_{os.getpid()}{i}.png", "x").close()
print("drawn", sys.argv[-1])
"""
TRAIN = """
import json, os
os.makedirs("model/demo", exist_ok=True)
json.dump({"step": 5, "run": {"done": True}}, open("model/demo/model.json", "w"))
print("trained")
"""
SERVER = """
import os, sys, time
open(f"pid_{os.path.basename(sys.argv[0])}", "w").write(str(os.getpid()))
print("listening on http://127.0.0.1:1/b", flush=True)
time.sleep(600)
"""


def test_a_half_made_environment_is_redone_and_then_used_at_once(clone: Path, run: Run) -> None:
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "quickstart.json").write_text('{"making": true}', encoding="utf-8")
    (clone / ".venv" / "left over").touch()

    first = run("test")
    again = run("test")

    assert "incomplete" in first.stdout and "Installing" in first.stdout
    assert not (clone / ".venv" / "left over").exists()
    assert "Installing" not in again.stdout
    assert "No module named pytest" in again.stderr  # of the new environment, where nothing is


def test_a_folder_that_is_no_environment_is_left_alone(clone: Path, run: Run) -> None:
    (clone / ".venv").mkdir()
    (clone / ".venv" / "my notes").touch()
    done = run("test")
    assert done.returncode == 1
    assert "rename or remove it" in done.stderr
    assert (clone / ".venv" / "my notes").exists()


def test_changed_requirements_that_cannot_be_installed(clone: Path, run: Run) -> None:
    borrow_packages(clone, *virtual_environment.REQUIREMENTS)
    (clone / "requirements.txt").write_text("./missing.whl\n", encoding="utf-8")
    done = run("demo")
    assert done.returncode == 1
    assert "missing.whl" in done.stderr  # pip's own words
    assert processes.shown([str(clone / "requirements.txt")]) in done.stderr.splitlines()[-1]


PYPROJECT = """
[tool.ruff]
line-length = 100
[tool.pytest.ini_options]
addopts = "-p no:schemathesis"  # takes a second to load
[tool.importlinter]
root_package = "bootstrap"
[[tool.importlinter.contracts]]
name = "no circle"
type = "acyclic_siblings"
ancestors = ["bootstrap"]
"""
TWO_TESTS = """def test_a():
    pass


def test_b():
    raise AssertionError
"""


def test_all_checks_run_and_one_that_fails_fails_the_command(clone: Path, run: Run) -> None:
    borrow_packages(clone, *virtual_environment.REQUIREMENTS)
    ruff = shutil.which("ruff", path=sysconfig.get_path("scripts"))
    assert ruff
    # It is a program of its own, not a module.
    shutil.copy(ruff, Path(virtual_environment.venv_python(clone / ".venv")).parent)
    (clone / "bad.py").write_text("import os\n", encoding="utf-8")  # ruff: unused import
    (clone / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    (clone / "mypy.ini").write_text("[mypy]\nfiles = bad.py\n", encoding="utf-8")
    (clone / "test_it.py").write_text(TWO_TESTS, encoding="utf-8")
    done = run("test", "-k", "test_a")
    assert done.returncode == 1
    assert "F401" in done.stdout and "no issues found" in done.stdout
    assert "1 passed" in done.stdout  # of two: -k went on to pytest
    assert done.stderr.splitlines()[-1] == "failed: ruff check"


def test_the_demo_draws_and_trains_once_and_keeps_its_figures(clone: Path, run: Run) -> None:
    borrow_packages(clone, "requirements.txt")
    make_demo(clone)
    first = run("demo", "--images", "7")
    assert first.returncode == 0, first.stderr
    next((clone / "sample/demo/origin").iterdir()).unlink()
    second = run("demo", "--images", "7")

    assert "drawn 7" in first.stdout and "trained" in first.stdout
    assert "drawn 1" in second.stdout and "trained\n" not in second.stdout
    result = json.loads((clone / "model/demo/demo_result.json").read_text("utf-8"))
    assert (result["accuracy_percent"], result["tested"], result["step"]) == (98.0, 50, 5)
    assert (result["online_right"], result["online_total"], result["images"]) == (9, 10, 7)
    assert set(result["seconds"]) == {"draw", "split", "train", "test", "online"}
    assert {"date", "processor", "cores", "python", "libraries"} <= set(result)


def test_a_failing_step_is_named_and_no_server_is_left(clone: Path, run: Run) -> None:
    borrow_packages(clone, "requirements.txt")
    make_demo(clone, recognize_online="raise SystemExit(3)")
    done = run("demo", "--images", "1")
    assert done.returncode == 1
    assert "'online' failed (exit code 3)" in done.stderr
    assert "recognize_online.py" in done.stderr.splitlines()[-1]
    for script in ("webserver_captcha_image.py", "webserver_recognize_api.py"):
        pid = int((clone / f"pid_{script}").read_text("utf-8"))
        with pytest.raises(OSError):
            os.kill(pid, 0)
    assert not (clone / "model/demo/demo_result.json").exists()


def test_a_server_that_ends_at_once_is_reported(clone: Path, run: Run) -> None:
    borrow_packages(clone, "requirements.txt")
    make_demo(clone, webserver_recognize_api="raise SystemExit('no model here')")
    done = run("demo", "--images", "1")
    assert done.returncode == 1
    assert "no model here" in done.stdout
    assert "webserver_recognize_api.py" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("number", "to_group"), ((signal.SIGINT, True), (signal.SIGTERM, False)))
def test_an_interrupted_training_may_save(clone: Path, number: int, to_group: bool) -> None:
    borrow_packages(clone, "requirements.txt")
    make_demo(
        clone,
        train_model=f"""
import signal, time
def save(*_):
    time.sleep(0.2)
    open("saved", "x").close()
    raise SystemExit(130)
signal.signal({int(number)}, save)
print("training", flush=True)
time.sleep(600)
""",
    )
    with subprocess.Popen(
        [sys.executable, str(clone / "quickstart.py"), "demo", "--images", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        assert process.stdout and process.stderr
        while process.stdout.readline() != "training\n":
            assert process.poll() is None
        (os.killpg if to_group else os.kill)(process.pid, number)
        process.wait(20)
        assert "interrupted: run the same command again" in process.stderr.read()
    assert process.returncode == 130
    assert (clone / "saved").exists()


def test_a_server_that_does_not_stop_is_ended(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(
        f"import os, signal\nos.chdir({str(tmp_path)!r})\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVER,
        encoding="utf-8",
    )
    with processes.serving([sys.executable, str(script)], stop_s=0.2) as address:
        assert address == "http://127.0.0.1:1/b"
    pid = int((tmp_path / "pid_server.py").read_text("utf-8"))
    with pytest.raises(OSError):
        os.kill(pid, 0)


def test_the_demo_understands_the_line_of_the_batch_test() -> None:
    line = console.batch_test_result(1000, 6.513171672821045, 0.981)
    assert batch_scores(line) == {"tested": 1000, "accuracy_percent": 98.1}


@pytest.mark.parametrize(
    ("version", "fits"), (((3, 9), False), ((3, 10), True), ((3, 13), True), ((3, 14), False))
)
def test_another_python_is_told_which_to_use(version: tuple[int, int], fits: bool) -> None:
    said = versions.wrong_python(version)
    assert (said == "") == fits
    assert fits or "3.10 to 3.13" in said
