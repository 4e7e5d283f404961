"""What the page sees of a round, which is a process of its own."""

from __future__ import annotations

import json
import time

import pytest

from cnnlib import console
from cnnlib.errors import CaptchaError, SampleError
from cnnlib.labelling import round_files
from cnnlib.labelling.round_files import RoundFiles

# A round as the page sees it, without a training.
ROUND = """
import signal, sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from cnnlib.labelling.round_files import RoundFiles
files = RoundFiles(Path({folder!r}))
def leave(*_):
    print("saved", flush=True)
    sys.exit(130)
signal.signal(signal.SIGTERM, leave)
with files.locked():
    files.note_phase("train")
    print({line!r}, flush=True)
    print("step 40 of 100, about 3 s to go", flush=True)
    {end}
"""


@pytest.fixture
def files(tmp_path):
    return RoundFiles(tmp_path / "labelling")


@pytest.fixture
def start(files, tmp_path, monkeypatch):
    """Return start(end): start a round that does this at its end."""

    def begin(end):
        files.folder.mkdir(exist_ok=True)
        script = tmp_path / "round.py"
        root = str(round_files.PROJECT_ROOT)
        line = console.training_step(40)
        script.write_text(ROUND.format(root=root, folder=str(files.folder), line=line, end=end))
        monkeypatch.setattr(round_files, "SCRIPT", script)
        files.start(tmp_path / "conf.json")

    return begin


def wait_for(condition):
    for _ in range(400):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it does not come")


def test_nothing_has_run_yet(files):
    assert files.describe() == {
        "running": False,
        "paused": False,
        "round": None,
        "lines": [],
        "rounds": [],
        "error": "",
    }


def test_a_round_is_followed_and_stopped_also_by_another_server(files, start):
    start("time.sleep(60)")
    wait_for(lambda: files.describe()["lines"][1:])
    seen = files.describe()
    assert seen["running"] and seen["round"]["phase"] == "train"
    assert (seen["round"]["step"], seen["round"]["steps"]) == (40, 100)
    again = RoundFiles(files.folder)  # of a server that was started meanwhile
    assert again.is_running()
    with pytest.raises(CaptchaError, match="a round is running"):
        again.start(files.folder / "conf.json")
    again.stop()
    wait_for(lambda: not again.is_running())
    wait_for(lambda: not files.is_running())
    assert files.describe()["lines"][-1] == "saved" and files.describe()["error"] == ""


def test_why_a_round_failed_is_shown(files, start):
    start("sys.exit('error: the disk is full')")
    wait_for(lambda: not files.is_running())
    assert files.describe()["error"] == "error: the disk is full"


def test_rounds_are_read(files):
    files.add_round({"round": 1})
    files.add_round({"round": 2})
    assert [r["round"] for r in files.rounds()] == [1, 2]
    assert json.loads((files.folder / "rounds.json").read_text())[0]["round"] == 1


def test_a_round_that_was_stopped_needs_no_new_labels(files, project, draw_images):
    draw_images(project.root / "sample" / "train", 60)
    with pytest.raises(SampleError, match="is new since the last round"):
        files.require_new_labels(project.sample)
    files.candidate.mkdir(parents=True)
    (files.candidate / "model.json").write_text("{}")
    files.require_new_labels(project.sample)
