"""A project that can be trained at once."""

from __future__ import annotations

import pytest

from tests.helpers import Project
from tests.training.helpers import make_ready


@pytest.fixture
def ready(project: Project) -> Project:
    """A project with few small images, whose training takes 20 steps and saves every 10."""
    return make_ready(project)
