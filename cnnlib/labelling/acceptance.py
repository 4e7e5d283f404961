"""Carry out what labellers decided: images move under their labels, and back when that is undone.

The journal has each change before a file moves, so that `carry_out` can end at the next start what
was stopped at any moment (store.py).
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cnnlib.console import SilentReporter
from cnnlib.dataset import moving
from cnnlib.dataset.labels import file_name
from cnnlib.dataset.move_recovery import recover
from cnnlib.errors import SampleError
from cnnlib.files import make_folder
from cnnlib.labelling.store import DUPLICATE, GONE, LABELLED, Change, LabelStore

WAIT_S, PAUSE_S = 20.0, 0.05  # for another program that moves files in the same folders


class Places:
    """Where images are and go: paths in the store are relative to the root where they are in it.

    `labelled` are the folders in which an image with its label may be: the first is where it goes,
    the others where verify_and_split_data.py has moved it since.
    """

    def __init__(self, root: Path, labelled: Sequence[Path], separator: str) -> None:
        self.root, self.labelled, self.separator = root, labelled, separator

    def text(self, path: Path) -> str:
        return str(path.relative_to(self.root) if path.is_relative_to(self.root) else path)

    def path(self, text: str) -> Path:
        return self.root / text

    def under_label(self, source: Path, label: str, digest: str) -> Path:
        """Return the path that an image gets with its label."""
        suffix = source.suffix.lstrip(".")
        return self.labelled[0] / file_name(label, suffix, digest, self.separator)

    def find(self, text: str) -> Path | None:
        """Return where the image of a path is, also when it was split since; None: nowhere."""
        path = self.path(text)
        places = [path]
        if path.parent == self.labelled[0]:
            places += [folder / path.name for folder in self.labelled[1:]]
        return next((place for place in places if os.path.lexists(place)), None)


def carry_out(
    store: LabelStore, places: Places, changes: Iterable[tuple[int, Change]]
) -> dict[int, str]:
    """Carry out changes that the journal has; return the state of each image afterwards.

    It may be called again for changes that were stopped. Raises SampleError where files cannot be
    moved; what was moved before stays moved, and the rest is carried out at the next call.
    """
    states: dict[int, str] = {}
    by_folder: dict[Path, list[tuple[int, Change, Path]]] = defaultdict(list)
    for step, change in changes:
        source, target = places.path(change.source), places.path(change.target)
        if source == target:
            store.carried_out(step, change, change.source, change.state)
            states[change.image] = change.state
        else:
            found = places.find(change.source) or source
            by_folder[found.parent].append((step, change, found))
    for folder, some in by_folder.items():
        states |= _move(store, places, folder, some)
    return states


def _move(
    store: LabelStore, places: Places, folder: Path, some: list[tuple[int, Change, Path]]
) -> dict[int, str]:
    targets = sorted({places.path(change.target).parent for _, change, _ in some})
    for target in targets:
        make_folder(target)
    moves = [(found, places.path(change.target)) for _, change, found in some]
    states = {}
    with _waiting_for(folder, *targets):
        recover({folder: _same_name}, targets, SilentReporter())
        _end_doubled(moves)
        moving.move_all([move for move in moves if os.path.lexists(move[0])], SilentReporter())
        for (step, change, source), (_, target) in zip(some, moves, strict=True):
            state, path = _result(change, source, places.find(places.text(target)))
            store.carried_out(step, change, places.text(path), state)
            states[change.image] = state
    return states


def _result(change: Change, source: Path, arrived: Path | None) -> tuple[str, Path]:
    """Return the state of an image and where it is, after an attempt to move it."""
    if os.path.lexists(source):  # the name is taken, by the same content under the same label
        return (DUPLICATE if change.state == LABELLED else change.state), source
    return (change.state, arrived) if arrived else (GONE, source)


def _end_doubled(moves: Sequence[moving.Move]) -> None:
    """Remove the old names of files that have both, of a move whose record is gone."""
    for source, target in moves:
        if os.path.lexists(source) and os.path.lexists(target) and os.path.samefile(source, target):
            os.unlink(source)


@contextmanager
def _waiting_for(*folders: Path) -> Iterator[None]:
    """Hold the locks of folders, as all who move files there do; wait for another program."""
    with ExitStack() as locks:
        deadline_s = time.monotonic() + WAIT_S
        while True:
            try:
                locks.enter_context(moving.locked(folders, SilentReporter()))
                break
            except SampleError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(PAUSE_S)
        yield


def _same_name(name: str) -> str:
    return name
