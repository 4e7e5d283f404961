"""Copy labelled images into a project, under canonical names, each content once."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cnnlib import locks
from cnnlib.config_reader import IMAGE_SUFFIXES
from cnnlib.console import Reporter
from cnnlib.dataset.file_kinds import suffix_of
from cnnlib.dataset.folders import map_in_threads
from cnnlib.dataset.images import opened, shown_size
from cnnlib.dataset.labels import (
    FolderLabels,
    content_serial,
    file_name,
    has_suffix,
    read_label_list,
    serial_in,
)
from cnnlib.dataset.verification import MAX_NAME_BYTES
from cnnlib.errors import SampleError
from cnnlib.files import MARK, make_folder, reason, sync
from cnnlib.paths import ProjectPath

STAGING = f"{MARK}import"  # a folder of images that have no name yet; what a crash left is removed
IMAGES_A_SYNC = 2000  # that go to the disk together before they get their names
SPARE_BYTES = 50 << 20
BLOCK_BYTES = 4096  # that a small file takes


class _Copy(NamedTuple):
    """An image that is written but has no name yet, or why it is none."""

    source: str
    serial: str
    suffix: str
    size: tuple[int, int]
    staged: Path | None
    failure: str = ""


@dataclass
class ImportResult:
    """What was copied, and what was not."""

    added: int = 0
    present: int = 0  # the same content under the same label was there before
    unlabelled: int = 0  # added to those without a label
    duplicates: list[str] = field(default_factory=list)  # of the same folder
    contradictions: list[str] = field(default_factory=list)  # one content, two labels
    contradicted: set[tuple[str, str]] = field(default_factory=set)  # new ones: serial, suffix
    broken: list[str] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    unlabelled_sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    suffixes: Counter[str] = field(default_factory=Counter)


class ProjectImages:
    """The images of a project, sample/NAME: what its folders hold, by content.

    Folders are origin, new, train and test, whose names are `label_serial.suffix`, and unlabelled,
    whose names are `serial.suffix`; the serial is the beginning of the content's SHA-256.
    """

    LABELLED = ("origin", "new", "train", "test")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.origin, self.unlabelled = folder / "origin", folder / "unlabelled"
        self._label_of: dict[str, str] = {}  # serial -> label
        self._without_label: set[str] = set()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second import off, and remove what a crash left; raises SampleError."""
        with ExitStack() as resources:
            try:
                for folder in (self.origin, self.folder / STAGING):
                    make_folder(folder)
                resources.enter_context(locks.locked_folder(self.folder))
            except locks.NoLocksError:
                pass
            except BlockingIOError as error:
                raise SampleError(
                    f"another program copies images into {self.folder}: wait until it has ended"
                ) from error
            except OSError as error:
                raise _cannot_write(self.folder, error) from error
            for left in os.scandir(self.folder / STAGING):
                os.unlink(left.path)
            try:
                yield
            finally:
                shutil.rmtree(self.folder / STAGING, ignore_errors=True)

    def read(self) -> None:
        """Find out which images are there."""
        for name in self.LABELLED:
            folder = ProjectPath(self.folder / name)
            labels = FolderLabels(read_label_list(folder))
            for file in _names_in(folder.full):
                if has_suffix(file, IMAGE_SUFFIXES):
                    with suppress(SampleError):
                        self._label_of[serial_in(file) or file] = labels.label(file)
        self._without_label = {os.path.splitext(file)[0] for file in _names_in(self.unlabelled)}

    @property
    def has_images(self) -> bool:
        return any(_names_in(self.folder / name) for name in (*self.LABELLED, "unlabelled"))

    def labels(self) -> list[str]:
        return list(self._label_of.values())

    def check_room(self, images: int, size: int) -> None:
        """Raise SampleError where the disk has no room for images of that many bytes in all.

        Those that are there count as some of them: an import may go on.
        """
        existing = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        size -= sum(path.stat().st_size for path in files)
        images -= len(files)
        needed = max(size, 0) + max(images, 0) * BLOCK_BYTES // 2 + SPARE_BYTES
        free = shutil.disk_usage(existing).free
        if free < needed:
            raise SampleError(
                f"the images need {needed >> 20} MB, and {existing} has {free >> 20} MB free: free "
                "some space, or use --in-place, which copies nothing"
            )

    def add(
        self,
        root: Path,
        labels: Mapping[str, str],
        unlabelled: Sequence[str],
        reporter: Reporter,
    ) -> ImportResult:
        """Copy the images of a folder, by their paths in it; `unlabelled` go to a folder apart.

        Stopped at any moment, and run again, it goes on. Raises SampleError where the disk has no
        room, or cannot be written to.
        """
        result = ImportResult()
        seen: dict[str, str] = {}  # serial -> first of the images with it
        names = [*labels, *unlabelled]
        staged: list[tuple[Path, Path]] = []
        parts = map_in_threads(
            lambda part: [self._stage(root, name) for name in part], names, "copying", reporter
        )
        try:
            with closing(parts):  # on Ctrl-C the threads end first
                for copy in itertools.chain.from_iterable(parts):
                    target = self._target(copy, labels.get(copy.source), seen, result)
                    if copy.staged and target:
                        staged.append((copy.staged, target))
                    elif copy.staged:
                        copy.staged.unlink()
                    if len(staged) >= IMAGES_A_SYNC:
                        _give_names(staged)
        finally:
            try:
                _give_names(staged)  # after Ctrl-C too: what is copied stays
            finally:
                self._remove_contradicted(result)
            for file in _names_in(self.unlabelled):
                if os.path.splitext(file)[0] in self._label_of:  # its label has become known
                    (self.unlabelled / file).unlink()
        return result

    def _remove_contradicted(self, result: ImportResult) -> None:
        """Remove the copies, made now, of images that came with another label later."""
        for serial, suffix in result.contradicted:
            label = self._label_of.pop(serial)
            (self.origin / file_name(label, suffix, serial)).unlink(missing_ok=True)
            result.added -= 1

    def _stage(self, root: Path, name: str) -> _Copy:
        """Read an image, and write it to the disk where its content is new."""
        nothing = (0, 0)
        try:
            data = (root / name).read_bytes()
        except OSError as error:
            return _Copy(name, "", "", nothing, None, reason(error))
        suffix = suffix_of(data)
        try:
            with opened(data) as image:
                size = shown_size(image)
        except SampleError as error:
            return _Copy(name, "", "", nothing, None, str(error))
        serial = content_serial(data)
        staged = self.folder / STAGING / hashlib.sha256(os.fsencode(name)).hexdigest()
        if serial in self._label_of:
            return _Copy(name, serial, suffix, size, None)
        try:
            staged.write_bytes(data)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        return _Copy(name, serial, suffix, size, staged)

    def _target(
        self, copy: _Copy, label: str | None, seen: dict[str, str], result: ImportResult
    ) -> Path | None:
        """Return the path that a copy gets; None where it is not needed."""
        if copy.failure:
            result.broken.append(f"{copy.source}: {copy.failure}")
            return None
        result.suffixes[copy.suffix] += 1
        known = self._label_of.get(copy.serial)
        if label is None:
            result.unlabelled_sizes[copy.size] += 1
            if known is not None or copy.serial in self._without_label:
                return None
            self._without_label.add(copy.serial)
            result.unlabelled += 1
            return self.unlabelled / f"{copy.serial}.{copy.suffix}"
        result.sizes[copy.size] += 1
        name = file_name(label, copy.suffix, copy.serial)
        if len(os.fsencode(name)) > MAX_NAME_BYTES:
            result.broken.append(f"{copy.source}: a label of {len(label)} characters is too long")
            return None
        first = seen.get(copy.serial)
        if known is None:
            self._label_of[copy.serial], seen[copy.serial] = label, copy.source
            result.added += 1
            return self.origin / name
        if known != label:
            where = first or "in the project"
            result.contradictions.append(f"{copy.source} is {label!r}, {where} {known!r}")
            if first:
                result.contradicted.add((copy.serial, copy.suffix))
        elif first:
            result.duplicates.append(copy.source)
        else:
            result.present += 1
        return None


def _give_names(staged: list[tuple[Path, Path]]) -> None:
    """Give the files their names, when their content outlasts a power cut; empty the list."""
    if not staged:
        return
    if hasattr(os, "sync"):  # Windows has none
        os.sync()
    folders = {target.parent for _, target in staged}
    try:
        for folder in folders:
            make_folder(folder)
        while staged:
            file, target = staged.pop()
            folder = target.parent
            os.replace(file, target)  # the same name is the same content
        for folder in folders:
            sync(folder)
    except OSError as error:
        raise _cannot_write(folder, error) from error


def _names_in(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(folder) if entry.is_file()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SampleError(f"folder {folder} cannot be read: {reason(error)}") from error


def _cannot_write(folder: Path, error: OSError) -> SampleError:
    full = "; free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return SampleError(
        f"cannot write to {folder}: {reason(error)}{full or '; make it writable'}, and run the "
        "same command again: it goes on"
    )
