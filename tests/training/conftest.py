"""Projects that can be trained at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import Project, new_project
from tests.training.helpers import make_ready, train


@pytest.fixture
def ready(project: Project) -> Project:
    """A project with few small images, whose training takes 20 steps and saves every 10."""
    return make_ready(project)


@pytest.fixture(scope="session")
def saved_once(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_ready(new_project(tmp_path_factory.mktemp("saved") / "project"))
    train(project, cycle_stop=10)
    return project


@pytest.fixture
def saved(saved_once: Project, tmp_path: Path) -> Project:
    """The project `ready` after a run of 10 steps."""
    return saved_once.copy(tmp_path / "saved")
