"""Whatever stops the program while an image moves: nothing is lost, nothing is there twice."""

from __future__ import annotations

import pytest

from cnnlib.labelling import desk as desk_module
from tests.crashes import Crash, crash_at, other_device


def whole(project, labels):
    """Return how many images have their label, and check that all forty are there, each once."""
    new, waiting = project.sample.new_image_dir.full, project.sample.unlabelled_image_dir.full
    folders = [list(folder.iterdir()) if folder.exists() else [] for folder in (new, waiting)]
    contents = [path.read_bytes() for files in folders for path in files]
    assert len(contents) == len(set(contents)) == 40
    assert not any(path.name.startswith(".") for files in folders for path in files)
    assert not new.exists() or labels.are_right(new)
    return len(folders[0])


@pytest.mark.parametrize("across", [False, True], ids=["same disk", "other disk"])
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_a_crash_at_any_change_loses_nothing(project, labels, open_desk, monkeypatch, done, across):
    monkeypatch.setattr(desk_module, "SECOND_RATE", 0.0)
    for number in range(1, 40):
        desk = open_desk()
        before = whole(project, labels)
        items = desk.next_images("ann", 2, [])
        texts = {item["id"]: labels.of(desk, item["id"]) for item in items}
        ended = False
        with monkeypatch.context() as patch:
            if across:
                other_device(patch)
            crash_at(patch, number, done=done)
            try:
                desk.accept("ann", texts, [])
                ended = True
            except Crash:
                pass
        desk.store.close()
        desk = open_desk()  # what was decided is carried out
        after = whole(project, labels)
        assert after in ((before + 2,) if ended else (before, before + 2))
        assert desk.store.counts()["labelled"] == after
        if after > before:
            desk.undo("ann")
            assert whole(project, labels) == before
        desk.store.close()
        if ended:
            break
    else:
        pytest.fail("more changes than were counted")
    assert number > 3
