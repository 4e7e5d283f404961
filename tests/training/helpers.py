"""Trainings on small images, in this process and in others."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cnnlib.config import load_sample_config
from cnnlib.evaluation import metrics
from cnnlib.evaluation.metrics import Scores
from cnnlib.networks.model_folder import ModelFolder, ModelInfo
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.paths import PROJECT_ROOT
from cnnlib.training import TrainModel
from cnnlib.training.options import TrainingResult
from tests.helpers import Project, drawing


def make_ready(project: Project) -> Project:
    """Give a project few small images, and a small network."""
    project.resize(24, 16)
    project.change(network="cnn5")
    draw = drawing(project)
    for seed, (folder, count) in enumerate((("train", 40), ("test", 20)), 1):
        draw(project.root / "sample" / folder, count, seed=seed)
    return project


def train(project: Project, fresh: bool = False, **overrides: object) -> TrainingResult:
    config = load_sample_config(project.config_path, **overrides)
    return TrainModel.from_config(config, fresh=fresh).train_cnn()


def info(project: Project) -> ModelInfo:
    return ModelFolder(project.sample.model_save_dir).read_required()


def exact_session(graph: tf.Graph) -> Any:
    """Return a session without bfloat16 and GPU, whose figures can be compared."""
    return tf.Session(graph=graph, config=tf.ConfigProto(device_count={"GPU": 0}))


def checkpoint_files(project: Project) -> set[str]:
    folder = project.sample.model_save_dir.full
    return {path.name for path in folder.iterdir() if path.suffix == ".index"}


def history_steps(folder: Path) -> list[int]:
    with open(folder / "history.csv", encoding="utf-8", newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def set_scores(monkeypatch: pytest.MonkeyPatch, *whole: Scores) -> None:
    """Give these scores to the whole test set, of 20 images, one after the other."""
    remaining = iter(whole)

    def scores(logits: Any, char_ids: Any, losses: Sized, has_end_class: bool) -> Scores:
        return next(remaining) if len(losses) == 20 else Scores(0.5, 0.5, 1.0)

    monkeypatch.setattr(metrics, "scores", scores)


def stopped_after(count: int, done: Sized) -> Any:
    """Return a stand-in for stop_signals that stops once so many steps are in `done`."""

    @contextmanager
    def signals() -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(is_set=lambda: len(done) >= count)

    return signals


OWN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
SLOW_STEPS = """
import sys, time
from cnnlib.training.stepping import Stepper
import train_model
step = Stepper.step
def slow(self, *arguments):
    time.sleep(0.05)
    step(self, *arguments)
Stepper.step = slow
sys.exit(train_model.main(["--config", sys.argv[1]]))
"""


def start_training(
    project: Project, *, session: bool = False, **streams: Any
) -> subprocess.Popen[str]:
    """Start a slow training; `session`: the terminal in `streams` becomes its own."""
    command = [sys.executable, "-c", SLOW_STEPS, str(project.config_path)]
    if session:
        command = [sys.executable, "-c", OWN_TERMINAL, *command]
    return subprocess.Popen(
        command,
        cwd=PROJECT_ROOT,
        start_new_session=session,
        encoding="utf-8",
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout
    while text not in process.stdout.readline():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
