"""Folders of images: their files, and work on many of them in threads.

Folders are str or PathLike; relative ones are relative to the project root. Of a folder only the
files count; sub-folders are neither counted nor touched.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from cnnlib import files
from cnnlib.config_reader import IMAGE_SUFFIXES
from cnnlib.console import Reporter
from cnnlib.cores import usable_cores
from cnnlib.dataset.labels import LABELS_FILE, has_suffix
from cnnlib.errors import SampleError
from cnnlib.paths import AnyPath, ProjectPath
from cnnlib.threads import map_in_order

FILES_PER_TASK = 64  # that a thread takes at a time
MAX_THREADS = 4  # more would only wait for Python's lock, which is held for half of the work

T = TypeVar("T")


def file_names(folder: ProjectPath) -> list[str]:
    """Return the sorted names of the files in a folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.is_dir())
    except FileNotFoundError as error:
        raise SampleError(
            f"folder {folder} ({folder.full}) does not exist: correct its name, or run "
            "verify_and_split_data.py first, which makes the folders that conf/ names"
        ) from error
    except OSError as error:
        raise SampleError(
            f"folder {folder} ({folder.full}) cannot be read: {error.strerror}"
        ) from error


def image_names(folder: ProjectPath) -> list[str]:
    """Return the sorted names of the images in a folder."""
    return [name for name in file_names(folder) if has_suffix(name, IMAGE_SUFFIXES)]


def candidate_names(folder: ProjectPath) -> list[str]:
    """Return the sorted names of the files in a folder, but for the list of their labels."""
    return [name for name in file_names(folder) if name != LABELS_FILE]


def random_image(folder: AnyPath) -> Path:
    """Return the path of one image of a folder, chosen by chance; raises SampleError if none."""
    source = ProjectPath(folder)
    names = image_names(source)
    if not names:
        raise SampleError(
            f"no image in {source} ({source.full}): run verify_and_split_data.py, "
            "or name an image on the command line"
        )
    return source.full / random.choice(names)


def image_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files among the paths, and the images in the folders among them, by name.

    Raises SampleError for what does not exist, and for a folder without images.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [path / name for name in image_names(ProjectPath(path))]
            inside = [file for file in inside if not file.is_fifo()]  # it may never end
            if not inside:
                raise SampleError(f"no image in {path}: name a folder with images")
            found += inside
        elif os.path.exists(path):
            found.append(path)
        else:
            raise SampleError(f"{path} does not exist: name an image file or a folder")
    return found


def make_folder(folder: ProjectPath) -> None:
    try:
        files.make_folder(folder.full)
    except OSError as error:
        raise SampleError(
            f"folder {folder} ({folder.full}) cannot be made: {files.reason(error)}; "
            "make it yourself or name another one in conf/"
        ) from error


def map_in_threads(
    function: Callable[[Sequence[str]], T], names: Sequence[str], title: str, reporter: Reporter
) -> Generator[T, None, None]:
    """Yield function(part) of each part of the names, in order, with a progress bar."""
    parts = (
        names[start : start + FILES_PER_TASK] for start in range(0, len(names), FILES_PER_TASK)
    )
    threads = min(MAX_THREADS, usable_cores())
    mapped = map_in_order(function, parts, threads=threads, ahead=2 * MAX_THREADS)
    with reporter.progress(names, title) as bar, closing(mapped) as results:
        for result in results:
            bar.update(min(FILES_PER_TASK, len(names) - bar.n))
            yield result
