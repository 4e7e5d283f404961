"""A project with images to label, whose labels the test knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cnnlib.dataset.labels import content_serial, label_of
from cnnlib.labelling.desk import LabellingDesk
from tests.helpers import DrawImages, Project


class Labels:
    """The true labels of unlabelled images, by content."""

    def __init__(self) -> None:
        self._by_digest: dict[str, str] = {}

    def hide(self, images: list[Path]) -> None:
        """Give images names that say nothing."""
        for image in images:
            digest = content_serial(image.read_bytes())
            self._by_digest[digest] = label_of(image.name)
            image.rename(image.with_name(f"x{digest}.png"))

    def of(self, desk: LabellingDesk, image: int) -> str:
        row = desk.store.image(image)
        assert row is not None
        return self._by_digest[row["digest"]]

    def are_right(self, folder: Path) -> bool:
        """Return whether all images of a folder have their own labels."""
        return all(
            self._by_digest[content_serial(path.read_bytes())] == label_of(path.name)
            for path in folder.iterdir()
        )


@pytest.fixture
def labels(project: Project, draw_images: DrawImages) -> Labels:
    """Forty images in sample/unlabelled, and what they show."""
    known = Labels()
    known.hide(draw_images(project.root / "sample" / "unlabelled", 40, seed=3))
    return known


@pytest.fixture
def open_desk(project: Project) -> Iterator[Callable[[], LabellingDesk]]:
    """Return a function that opens the project's desk, as the server does when it starts."""
    opened: list[LabellingDesk] = []

    def open_one() -> LabellingDesk:
        folder = project.sample.unlabelled_image_dir.full
        opened.append(LabellingDesk(project.sample, project.config_path, [folder]))
        opened[-1].reader.work()
        return opened[-1]

    yield open_one
    for desk in opened:
        with closing(desk):
            pass


@pytest.fixture
def desk(labels: Labels, open_desk: Callable[[], LabellingDesk]) -> LabellingDesk:
    return open_desk()
