"""Fixtures for all tests."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnnlib.locks import locked_file
from tests.helpers import DrawImages, Folders, Project, drawing, new_project

# A background job of a shell ignores Ctrl-C, and so would every program that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):  # likewise below nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_finish() -> None:
    """Spare the garbage collector the modules and tests, which stay: TensorFlow keeps it busy."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in one process, whatever the environment of the tests says."""
    monkeypatch.delenv("TF_CONFIG", raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path / "project")


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "with space 验证")


@pytest.fixture
def draw_images(project: Project) -> DrawImages:
    """Return `drawing` for the project."""
    return drawing(project)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with images and a model that has learned them; for tests that change nothing.

    It is trained once for all processes of a test run, each of which has a copy.
    """
    own = shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = own.parent
    first = shared / "trained once"
    with locked_file(shared / "trained.lock", wait_s=150):
        if not first.exists():
            train_binary(new_project(own / "being trained")).root.rename(first)
    return Project(first).copy(own / "trained" / "project with spaces")


def train_binary(project: Project) -> Project:
    """Train a project to read two of the digits 0 and 1."""
    project.change(
        char_set="01", network="cnn5", cycle_stop=120, cycle_save=60, train_batch_size=32
    )
    draw = drawing(project)
    for folder, count in (("train", 600), ("test", 40)):
        draw(project.root / "sample" / folder, count, characters=("0", "1"), seed=count)
    from cnnlib.training import TrainModel  # TensorFlow takes seconds; not every test needs it

    TrainModel.from_config(project.sample).train_cnn()
    return project


@pytest.fixture(autouse=True)
def empty_default_graph() -> Iterator[None]:
    """Fail a test that leaves an operation in TensorFlow's default graph: every graph is owned."""
    yield
    tf = sys.modules.get("tensorflow.compat.v1")
    if tf is not None:
        left = tf.get_default_graph().get_operations()
        assert not left, f"operations left in the default graph: {left[:5]}"
