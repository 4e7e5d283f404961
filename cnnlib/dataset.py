"""Folders of labelled images: verify them, split them into training and test set.

Folders are str or PathLike; relative ones are relative to the project root. Of a folder only the
files count; sub-folders are neither counted nor touched.
"""

from __future__ import annotations

import csv
import itertools
import os
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from cnnlib import console, encoding, moving
from cnnlib.config import IMAGE_SUFFIXES, AnyPath, ProjectPath, SampleConfig, fold
from cnnlib.encoding import InputFormat
from cnnlib.errors import ImageTooLargeError, SampleError

LABELS, COLUMNS = "labels.csv", ["file", "label"]
LONGEST_NAME = 240  # bytes: what file systems take, but for what is added while a file moves
TEST_SHARE = 20  # one image of so many is for testing: 5 %
CHUNK = 64  # files that a thread takes at a time
THREADS = 4  # more would only wait for Python's lock, which is held for half of the work

T = TypeVar("T")
BadImage = tuple[int, str, str]  # index in the sorted list of files, name, reason


def verify_and_split(config: SampleConfig, seed: int = 0) -> None:
    """Verify and split origin_image_dir, then new_image_dir; bad images stay where they are."""
    rules = rules_of(config)
    for folder in (config.origin_image_dir, config.new_image_dir):
        recover_moves(folder, config.train_image_dir, config.test_image_dir,
                      label_separator=rules.separator)
        names, bad = _verify(folder, rules)
        # Files that came after the listing are not verified and wait for the next run.
        _split(folder, config.train_image_dir, config.test_image_dir, names, bad, seed,
               rules.separator)


# --- labels elsewhere than in the file name ---


def listed_labels(folder: ProjectPath) -> dict[str, str]:
    """Return the labels that labels.csv of a folder gives, by file name; none without that file.

    It is UTF-8, with the columns file and label. Raises SampleError with the line that is wrong.
    """
    path = folder.full / LABELS
    labels: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, skipinitialspace=True, strict=True)
            for cells in lines:
                row = [cell.strip() for cell in cells]
                if not any(row) or (not labels and [cell.lower() for cell in row] == COLUMNS):
                    continue
                if (len(row) != 2 or not all(row) or labels.get(row[0], row[1]) != row[1]
                        or len(row[1].splitlines()) > 1):
                    raise SampleError(f"{path}, line {lines.line_num}: expected a file, a comma "
                                      f"and its label, each file once; got {','.join(row)!r}")
                labels[row[0]] = row[1]
    except FileNotFoundError:
        return {}
    except csv.Error as error:
        raise SampleError(f"{path}, line {lines.line_num}: {error}; write a label that has quotes "
                          'as "quoted ""so"""') from error
    except (OSError, UnicodeDecodeError) as error:
        raise SampleError(f"{path} cannot be read ({error}): save it as CSV in UTF-8") from error
    return labels


def _carried(name: str, labels: Mapping[str, str], separator: str) -> str:
    """Return a file's name in the training or test set, which carries its label."""
    if name not in labels:
        return name
    stem, suffix = os.path.splitext(name)
    return encoding.file_name(labels[name], suffix.lstrip("."), stem, separator)


# --- verify ---


@dataclass(frozen=True)
class Rules:
    """What an image and its name must be; what is None is not checked."""

    format: InputFormat
    suffixes: tuple[str, ...] = IMAGE_SUFFIXES
    char_set: Sequence[str] | None = None
    min_length: int | None = None
    max_length: int | None = None
    separator: str = encoding.SEPARATOR
    ignore_case: bool = False

    def label(self, name: str) -> str:
        """Return the label in a file name, as it is learned; raises SampleError."""
        return self.learned(encoding.label_of(name, self.separator))

    def learned(self, label: str) -> str:
        return fold(label) if self.ignore_case else label


def rules_of(config: SampleConfig) -> Rules:
    return Rules(InputFormat(config.image_width, config.image_height, config.image_channels,
                             config.resize),
                 (config.image_suffix,), config.char_set, config.min_captcha, config.max_captcha,
                 config.label_separator, config.ignore_case)


class Defect(SampleError):
    """Why one file cannot be used: the specification's reason, and the detail in English."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.detail = detail


def verify(origin_dir: AnyPath, real_width: int, real_height: int, image_suffix: str, *,
           char_set: Sequence[str] | None = None, max_captcha: int | None = None,
           min_captcha: int | None = None, resize: str = "",
           label_separator: str = encoding.SEPARATOR,
           ignore_case: bool = False) -> list[BadImage]:
    """Check every file of a folder, print the specification's lines, and return the bad images.

    They come as (index, name, reason), where index counts the sorted list of all files from 0.
    Without char_set and max_captcha labels may be anything. A missing folder is made.
    """
    rules = Rules(InputFormat(real_width, real_height, resize=resize),
                  (image_suffix.lstrip("."),), char_set, min_captcha or max_captcha, max_captcha,
                  label_separator, ignore_case)
    return _verify(ProjectPath(origin_dir), rules)[1]


def _verify(folder: ProjectPath, rules: Rules) -> tuple[list[str], list[BadImage]]:
    """Return the names of all files, and the bad ones."""
    console.verification_starts(folder)
    if not os.path.lexists(folder):
        console.folder_created(folder)
        _make_folder(folder)
    names, labels = _images(folder), listed_labels(folder)
    console.verification_counts(len(names))

    def reason(name: str) -> str:
        try:
            check(folder, name, rules, labels.get(name))
        except SampleError as defect:
            return str(defect)
        return ""

    reasons = itertools.chain(*in_threads(lambda part: list(map(reason, part)), names, "verifying"))
    bad = [(i, names[i], reason) for i, reason in enumerate(reasons) if reason]
    console.verification_result(bad, len(names))
    return names, bad


def check(folder: ProjectPath, name: str, rules: Rules,
          listed: str | None = None) -> tuple[str, Image.Image]:
    """Return label and decoded image; raises Defect with the first thing that is wrong.

    `listed` is the label where the file's name does not carry it.
    """
    if not encoding.has_suffix(name, rules.suffixes):
        raise Defect(console.WRONG_SUFFIX)
    label = _checked_label(name, rules, listed)
    if listed and (size := len(os.fsencode(
            _carried(name, {name: listed}, rules.separator)))) > LONGEST_NAME:
        raise Defect(console.WRONG_NAME, f"{size} bytes together with its label, at most "
                                         f"{LONGEST_NAME}: rename the file")
    try:
        image = encoding.open_image(folder.full / name)
    except ImageTooLargeError as error:
        raise Defect(console.WRONG_SIZE, str(error)) from error
    except SampleError as error:
        raise Defect(console.UNREADABLE, str(error)) from error
    expected = rules.format
    if image.size != (expected.width, expected.height) and not expected.resize:
        raise Defect(console.WRONG_SIZE, f"{image.width}x{image.height}, "
                                         f"expected {expected.width}x{expected.height}")
    return label, image


def _checked_label(name: str, rules: Rules, listed: str | None) -> str:
    try:
        label = rules.label(name) if listed is None else rules.learned(listed)
    except SampleError as error:
        raise Defect(console.WRONG_NAME, str(error).partition(": ")[2]) from error
    least, most = rules.min_length or 1, rules.max_length or len(label)
    if not least <= len(label) <= most:
        expected = f"{most}" if least == most else f"{least} to {most}"
        raise Defect(console.WRONG_LENGTH, f"{len(label)} characters, expected {expected}")
    if rules.char_set is not None:
        strangers = encoding.unknown_characters(label, rules.char_set)
        if strangers:
            raise Defect(console.WRONG_CHARACTERS, " ".join(map(repr, strangers)))
    return label


# --- split ---


def split(origin_dir: AnyPath, train_dir: AnyPath, test_dir: AnyPath,
          bad_imgs: Iterable[BadImage | str], *, seed: int = 0,
          label_separator: str = encoding.SEPARATOR) -> None:
    """Move the good images of a folder: 5 % to test_dir, the others to train_dir; print the counts.

    Those whose labels stand in labels.csv are renamed to `label_name.suffix`.

    `bad_imgs` are what `verify` returned, or names; they stay. So does, with a message, a file
    whose name exists in train_dir or test_dir. The test images are a random sample by the seed;
    of two images one is for testing. Stopped at any moment and run again, no image is lost or
    doubled. Raises SampleError where a folder cannot be read or written.
    """
    origin, train, test = ProjectPath(origin_dir), ProjectPath(train_dir), ProjectPath(test_dir)
    recover_moves(origin, train, test, label_separator=label_separator)
    _split(origin, train, test, _images(origin), bad_imgs, seed, label_separator)


def _split(origin: ProjectPath, train: ProjectPath, test: ProjectPath, names: Sequence[str],
           bad_imgs: Iterable[BadImage | str], seed: int, separator: str) -> None:
    console.split_starts()
    bad = {item if isinstance(item, str) else item[1] for item in bad_imgs}
    for folder in (train, test):
        _make_folder(folder)
    with moving.locked(train.full):
        present, labels = set(file_names(origin)), listed_labels(origin)
        good = {name: _carried(name, labels, separator) for name in names
                if name in present and name not in bad}
        good = _without_taken(good, origin, train, test)
        order = np.random.default_rng(seed).permutation(len(good))
        for_test = set(order[:max(len(good) // TEST_SHARE, len(good) > 1)].tolist())
        moved = {train: 0, test: 0}
        # In the order of names, so that a split that is stopped has moved both kinds.
        for i, name in enumerate(console.progress(list(good), "moving")):
            target = test if i in for_test else train
            moved[target] += moving.move(origin.full / name, target.full / good[name])
    left = sum(os.path.lexists(origin.full / name) for name in names)
    console.split_result(moved[test], moved[train], left)


def _without_taken(names: Mapping[str, str], origin: ProjectPath,
                   *targets: ProjectPath) -> dict[str, str]:
    """Return the names, and their new ones, that are free in all targets; report the others."""
    free = dict(names)
    for target in targets:
        there = set(file_names(target))
        for name, new in names.items():
            if name in free and new in there:
                del free[name]
                console.say(f"{origin.full / name} stays there: {target.full / new} exists already")
    return free


def recover_moves(origin_dir: AnyPath, train_dir: AnyPath, test_dir: AnyPath, *,
                  label_separator: str = encoding.SEPARATOR) -> None:
    """End the moves across file systems that were interrupted: each image is in one place again."""
    origin, *targets = (ProjectPath(folder) for folder in (origin_dir, train_dir, test_dir))
    with moving.locked(targets[0].full):
        moving.recover(origin.full, [folder.full for folder in targets],
                       lambda name: _carried(name, listed_labels(origin), label_separator))


# --- files and threads ---


def random_image(folder: AnyPath) -> Path:
    """Return the path of one image of a folder, chosen by chance; raises SampleError if none."""
    source = ProjectPath(folder)
    names = [name for name in file_names(source) if encoding.has_suffix(name, IMAGE_SUFFIXES)]
    if not names:
        raise SampleError(f"no image in {source} ({source.full}): run verify_and_split_data.py, "
                          "or name an image on the command line")
    return source.full / random.choice(names)


def image_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files among the paths, and the images in the folders among them, by name."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [path / name for name in file_names(ProjectPath(path))
                      if encoding.has_suffix(name, IMAGE_SUFFIXES)]
            if not inside:
                raise SampleError(f"no image in {path}: name a folder with images")
            found += inside
        else:
            found.append(path)
    return found


def file_names(folder: ProjectPath) -> list[str]:
    """Return the sorted names of the files in a folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.is_dir())
    except FileNotFoundError as error:
        raise SampleError(f"folder {folder} ({folder.full}) does not exist: run "
                          "verify_and_split_data.py, or correct the folder in conf/") from error
    except OSError as error:
        raise SampleError(f"folder {folder} ({folder.full}) cannot be read: "
                          f"{error.strerror}") from error


def _images(folder: ProjectPath) -> list[str]:
    """Return the sorted names of the files in a folder, but for the list of their labels."""
    return [name for name in file_names(folder) if name != LABELS]


def _make_folder(folder: ProjectPath) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise SampleError(f"folder {folder} ({folder.full}) cannot be made: {error.strerror}; "
                          "make it yourself or name another one in conf/") from error


def in_threads(function: Callable[[Sequence[str]], T], names: Sequence[str],
               title: str) -> Iterator[T]:
    """Yield function(part) of each part of the names, in order, with a progress bar."""
    pool = ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1))
    starts = iter(range(0, len(names), CHUNK))
    waiting: deque[Future[T]] = deque()

    def submit(count: int) -> None:
        for start in itertools.islice(starts, count):
            waiting.append(pool.submit(function, names[start:start + CHUNK]))

    try:
        with console.progress(names, title) as bar:
            submit(2 * THREADS)  # no more, so that results do not pile up
            while waiting:
                result = waiting.popleft().result()
                submit(1)
                bar.update(min(CHUNK, len(names) - bar.n))
                yield result
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for what has not begun
