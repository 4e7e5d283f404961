"""Verify labelled images: what is wrong with each file, in the words of version 2."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from cnnlib import console
from cnnlib.captcha_spec import CaptchaSpec, parse_char_set
from cnnlib.config import SampleConfig
from cnnlib.config_reader import IMAGE_SUFFIXES
from cnnlib.console import CONSOLE, Reporter, examples
from cnnlib.dataset.animations import DIFFERENT, JOINED
from cnnlib.dataset.folders import candidate_names, make_folder, map_in_threads
from cnnlib.dataset.images import open_image
from cnnlib.dataset.labels import (
    SEPARATOR,
    FolderLabels,
    has_suffix,
    parse_suffixes,
    read_label_list,
    unknown_characters,
)
from cnnlib.errors import ImageSizeError, ImageTooLargeError, SampleError
from cnnlib.paths import AnyPath, ProjectPath

MAX_NAME_BYTES = 240  # what file systems take, but for what is added while a file moves

MAX_NAMED = 10
FRAMES_MEAN = {
    JOINED: "animations of which several frames were joined to one picture",
    DIFFERENT: "animations whose frames show different pictures; the first frame counts",
}

BadImage = tuple[int, str, str]  # index in the sorted list of files, name, reason


@dataclass(frozen=True)
class Rules:
    """What an image and its name must be; what the spec does not know is not checked."""

    spec: CaptchaSpec
    suffixes: tuple[str, ...] = IMAGE_SUFFIXES
    separator: str = SEPARATOR
    labelled: bool = True  # else names may be anything

    @classmethod
    def from_config(cls, config: SampleConfig) -> Rules:
        return cls(config.spec, config.image_suffix, config.label_separator)

    def labels(self, folder: ProjectPath | None = None) -> FolderLabels:
        """Return the labels of a folder's images; without a folder those of names alone."""
        listed = {} if folder is None else read_label_list(folder)
        return FolderLabels(listed, self.separator, self.spec.ignore_case)


class Defect(SampleError):
    """Why one file cannot be used: the reason of version 2, and the detail in English."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.detail = detail


def verify(
    origin_dir: AnyPath,
    real_width: int,
    real_height: int,
    image_suffix: str | Sequence[str],
    *,
    char_set: Sequence[str] | None = None,
    max_captcha: int | None = None,
    min_captcha: int | None = None,
    resize: str = "",
    label_separator: str = SEPARATOR,
    ignore_case: bool = False,
    reporter: Reporter = CONSOLE,
) -> list[BadImage]:
    """Check every file of a folder, report the lines of version 2, and return the bad images.

    They come as (index, name, reason), where index counts the sorted list of all files from 0.
    Without char_set and max_captcha labels may be anything. A missing folder is made.
    """
    spec = CaptchaSpec(
        real_height,
        real_width,
        max_captcha or 0,
        () if char_set is None else parse_char_set(char_set),
        min_captcha or 0,
        resize=resize,
        ignore_case=ignore_case,
    )
    rules = Rules(spec, parse_suffixes(image_suffix), label_separator)
    return verify_folder(ProjectPath(origin_dir), rules, reporter)[1]


def verify_folder(
    folder: ProjectPath, rules: Rules, reporter: Reporter
) -> tuple[list[str], list[BadImage]]:
    """Return the names of all files, and the bad ones."""
    reporter.say(console.verification_starts(folder))
    if not os.path.lexists(folder):
        reporter.say(console.folder_created(folder))
        make_folder(folder)
    names, labels = candidate_names(folder), rules.labels(folder)
    reporter.say(console.verification_counts(len(names)))

    frames: dict[str, list[str]] = {JOINED: [], DIFFERENT: []}  # names of animations

    def reason(name: str) -> str:
        try:
            image = check_image(folder, name, rules, labels)[1]
        except SampleError as defect:
            return str(defect)
        if "frames" in image.info:
            frames[image.info["frames"]].append(name)
        return ""

    parts = map_in_threads(lambda part: list(map(reason, part)), names, "verifying", reporter)
    bad = [(i, names[i], why) for i, why in enumerate(itertools.chain(*parts)) if why]
    reporter.say(console.verification_result(bad, len(names)))
    for kind, meaning in FRAMES_MEAN.items():
        if frames[kind]:
            reporter.warn(f"{meaning}: {examples(sorted(frames[kind]), MAX_NAMED)}")
    return names, bad


def check_image(
    folder: ProjectPath, name: str, rules: Rules, labels: FolderLabels
) -> tuple[str, Image.Image]:
    """Return label and decoded image; raises Defect with the first thing that is wrong."""
    if not has_suffix(name, rules.suffixes):
        raise Defect(console.WRONG_SUFFIX)
    label = _checked_label(name, rules.spec, labels) if rules.labelled else ""
    size = len(os.fsencode(labels.name_with_label(name)))
    if name in labels.listed and size > MAX_NAME_BYTES:
        raise Defect(
            console.WRONG_NAME,
            f"{size} bytes together with its label, at most {MAX_NAME_BYTES}: rename the file",
        )
    try:
        return label, open_image(folder.full / name, rules.spec)
    except ImageSizeError as error:
        raise Defect(console.WRONG_SIZE, str(error).removeprefix("image of ")) from error
    except ImageTooLargeError as error:
        raise Defect(console.WRONG_SIZE, str(error)) from error
    except SampleError as error:
        raise Defect(console.UNREADABLE, str(error)) from error


def _checked_label(name: str, spec: CaptchaSpec, labels: FolderLabels) -> str:
    try:
        label = labels.label(name)
    except SampleError as error:
        raise Defect(console.WRONG_NAME, str(error).partition(": ")[2]) from error
    if problem := spec.length_problem(label):
        raise Defect(console.WRONG_LENGTH, problem)
    if spec.char_set:
        unknown = unknown_characters(label, spec.char_set)
        if unknown:
            raise Defect(console.WRONG_CHARACTERS, " ".join(map(repr, unknown)))
    return label
