"""A project that can be trained at once."""

from __future__ import annotations

import pytest

from tests.helpers import DrawImages, Project


@pytest.fixture
def ready(project: Project, draw_images: DrawImages) -> Project:
    """A project with few small images, whose training takes 20 steps and saves every 10."""
    project.resize(24, 16)
    project.change(network="cnn5")
    draw_images(project.root / "sample" / "train", 40, seed=1)
    draw_images(project.root / "sample" / "test", 20, seed=2)
    return project
