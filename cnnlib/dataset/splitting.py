"""Split verified images into training and test set."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from cnnlib import console
from cnnlib.config import SampleConfig
from cnnlib.console import CONSOLE, Reporter
from cnnlib.dataset import moving
from cnnlib.dataset.folders import candidate_names, file_names, make_folder
from cnnlib.dataset.labels import SEPARATOR, FolderLabels, read_label_list
from cnnlib.dataset.move_recovery import recover
from cnnlib.dataset.verification import BadImage, Rules, verify_folder
from cnnlib.paths import AnyPath, ProjectPath

TEST_FRACTION = 0.05


def size_of_test_set(images: int) -> int:
    """Return how many of the images are for testing: rounded down, but one of two."""
    return max(int(images * TEST_FRACTION + 1e-9), int(images > 1))


def verify_and_split(
    config: SampleConfig,
    seed: int = 0,
    reporter: Reporter = CONSOLE,
    *,
    for_testing: Callable[[int], int] = size_of_test_set,
    wait_s: float = 0.0,
) -> None:
    """Verify and split origin_image_dir, then new_image_dir; bad images stay where they are.

    `for_testing` says how many of a folder's images are for testing, `wait_s` how long to wait for
    another program that moves some.
    """
    rules = Rules.from_config(config)
    origins = (config.origin_image_dir, config.new_image_dir)
    targets = (config.train_image_dir, config.test_image_dir)
    with _locked(origins, targets, reporter, wait_s):
        _recover(origins, targets, rules.separator, reporter)
        for folder in origins:
            names, bad = verify_folder(folder, rules, reporter)
            # Files that came after the listing are not verified and wait for the next run.
            _split(folder, *targets, names, bad, seed, rules.separator, reporter, for_testing)


def split(
    origin_dir: AnyPath,
    train_dir: AnyPath,
    test_dir: AnyPath,
    bad_imgs: Iterable[BadImage | str],
    *,
    seed: int = 0,
    label_separator: str = SEPARATOR,
    reporter: Reporter = CONSOLE,
) -> None:
    """Move the good images of a folder: 5 % to test_dir, the others to train_dir; report counts.

    Those whose labels are listed in labels.csv are renamed to `label_name.suffix`.

    `bad_imgs` are what `verify` returned, or names; they stay. So does, with a message, a file
    whose name exists in train_dir or test_dir. The test images are a random sample by the seed;
    of two images one is for testing. Stopped at any moment and run again, no image is lost or
    duplicated. Raises SampleError where a folder cannot be read or written.
    """
    origin, train, test = ProjectPath(origin_dir), ProjectPath(train_dir), ProjectPath(test_dir)
    with _locked([origin], (train, test), reporter):
        _recover([origin], (train, test), label_separator, reporter)
        names = candidate_names(origin)
        _split(origin, train, test, names, bad_imgs, seed, label_separator, reporter)


def _split(
    origin: ProjectPath,
    train: ProjectPath,
    test: ProjectPath,
    names: Sequence[str],
    bad_imgs: Iterable[BadImage | str],
    seed: int,
    separator: str,
    reporter: Reporter,
    for_testing: Callable[[int], int] = size_of_test_set,
) -> None:
    reporter.say(console.SPLIT_STARTS)
    bad = {item if isinstance(item, str) else item[1] for item in bad_imgs}
    present = set(file_names(origin))
    labels = FolderLabels(read_label_list(origin), separator)
    good = {
        name: labels.name_with_label(name) for name in names if name in present and name not in bad
    }
    good = _without_taken(good, origin, (train, test), reporter)
    order = np.random.default_rng(seed).permutation(len(good))
    for_test = set(order[: for_testing(len(good))].tolist())
    # In the order of names, so that a split that is stopped has moved both kinds.
    moves = [
        (origin.full / name, (test if i in for_test else train).full / new)
        for i, (name, new) in enumerate(good.items())
    ]
    moved = {i for i, done in enumerate(moving.move_all(moves, reporter)) if done}
    tested = len(moved & for_test)
    left = sum(os.path.lexists(origin.full / name) for name in names)
    reporter.say(console.split_result(tested, len(moved) - tested, left))


def _without_taken(
    names: Mapping[str, str],
    origin: ProjectPath,
    targets: Iterable[ProjectPath],
    reporter: Reporter,
) -> dict[str, str]:
    """Return the names, and their new ones, that are free in all targets; report the others."""
    free = dict(names)
    for target in targets:
        taken = set(file_names(target))
        for name, new in names.items():
            if name in free and new in taken:
                del free[name]
                reporter.say(f"{origin.full / name} is not moved: {target.full / new} exists")
    return free


@contextmanager
def _locked(
    origins: Sequence[ProjectPath],
    targets: Sequence[ProjectPath],
    reporter: Reporter,
    wait_s: float = 0.0,
) -> Iterator[None]:
    """Make the folders that files go to, and keep other runs off."""
    for folder in targets:
        make_folder(folder)
    folders = [folder.full for folder in (*targets, *origins)]
    with moving.locked(folders, reporter, wait_s):
        yield


def _recover(
    origins: Iterable[ProjectPath],
    targets: Iterable[ProjectPath],
    separator: str,
    reporter: Reporter,
) -> None:
    recover(
        {origin.full: _naming(origin, separator) for origin in origins},
        [folder.full for folder in targets],
        reporter,
    )


def _naming(origin: ProjectPath, separator: str) -> Callable[[str], str]:
    """Return what gives a file of a folder its name in the sets; it may never be needed."""

    @functools.cache
    def labels() -> FolderLabels:
        return FolderLabels(read_label_list(origin), separator)

    return lambda name: labels().name_with_label(name)
