"""Move images under their labels, and back when that is undone.

The store has each decision before a file moves, so that `carry_out` can end at the next start what
was stopped at any moment (store.py).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from cnnlib.console import SilentReporter
from cnnlib.dataset import moving
from cnnlib.dataset.folders import make_folder
from cnnlib.dataset.labels import file_name
from cnnlib.dataset.move_recovery import recover
from cnnlib.dataset.verification import MAX_NAME_BYTES
from cnnlib.errors import SampleError
from cnnlib.labelling.store import DUPLICATE, GONE, LABELLED, Change, LabelStore
from cnnlib.paths import ProjectPath

WAIT_S = 20.0  # for another program that moves files in the same folders


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
        """Return the path that an image gets with its label; raises SampleError for a long one."""
        name = file_name(label, source.suffix.lstrip("."), digest, self.separator)
        if len(os.fsencode(name)) > MAX_NAME_BYTES:
            raise SampleError(f"a label of {len(label)} characters is too long for a file name")
        return self.labelled[0] / name

    def find(self, text: str) -> Path | None:
        """Return where the image of a path is, also when it was split since; None: nowhere."""
        path = self.path(text)
        places = [path]
        if path.parent == self.labelled[0]:
            places += [folder / path.name for folder in self.labelled[1:]]
        return next((place for place in places if os.path.lexists(place)), None)


def carry_out(store: LabelStore, places: Places, changes: Iterable[Change]) -> str:
    """Move the files of changes that were decided; return why some could not be moved, or "".

    It may be called again for changes that were stopped.
    """
    by_folder: dict[Path, list[tuple[Change, Path]]] = defaultdict(list)
    for change in changes:
        found = places.find(change.source) or places.path(change.source)
        by_folder[found.parent].append((change, found))
    failure = ""
    for folder, moves in by_folder.items():
        try:
            _move(store, places, folder, moves)
        except SampleError as error:
            failure = str(error)
    return failure


def _move(
    store: LabelStore, places: Places, folder: Path, moves: list[tuple[Change, Path]]
) -> None:
    """Move files out of one folder; what was moved before an error is noted."""
    pairs = [(found, places.path(change.target)) for change, found in moves]
    targets = sorted({target.parent for _, target in pairs})
    for target in targets:
        make_folder(ProjectPath(target))
    with moving.locked([folder, *targets], SilentReporter(), wait_s=WAIT_S):
        recover({folder: lambda name: name}, targets, SilentReporter())
        _end_doubled(pairs)
        try:
            present = [pair for pair in pairs if os.path.lexists(pair[0])]
            moving.move_all(present, SilentReporter())
        except SampleError:
            _note_moves(store, places, moves, are_all=False)
            raise
        _note_moves(store, places, moves, are_all=True)


def _note_moves(
    store: LabelStore, places: Places, moves: Iterable[tuple[Change, Path]], *, are_all: bool
) -> None:
    """Note where images are after an attempt to move them.

    `are_all`: it came to its end, and what has both names is the same content under the same label.
    """
    for change, source in moves:
        arrived = places.find(change.target)
        if not os.path.lexists(source):
            if arrived:
                store.move(change.image, places.text(arrived), pending=0)
            else:
                store.update(change.image, pending=0, state=GONE)
        elif are_all and arrived and change.state == LABELLED:
            store.move(change.image, places.text(source), pending=0, state=DUPLICATE)


def _end_doubled(pairs: Sequence[moving.Move]) -> None:
    """Remove the old names of files that have both, of a move whose record is gone."""
    for source, target in pairs:
        if source.parent == target.parent and source.name.casefold() == target.name.casefold():
            continue  # one name, on a disk that ignores case
        if os.path.lexists(source) and os.path.lexists(target) and os.path.samefile(source, target):
            os.unlink(source)
