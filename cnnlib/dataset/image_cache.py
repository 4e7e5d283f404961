"""Decoded images on the disk: a second training starts at once, a large set streams.

The folder `.decoded` next to an image folder holds the pixels of its images in one file, which the
system maps into memory as it is read, and an index of their names. A cache belongs to the names,
sizes and times of the files; when they change it is rebuilt. The index names the file of pixels,
which is never changed and is there before it: several programs may build a cache at a time.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from cnnlib.console import Reporter
from cnnlib.dataset.folders import map_in_threads
from cnnlib.dataset.images import to_pixels
from cnnlib.dataset.verification import Rules, check_image
from cnnlib.errors import CaptchaError, SampleError
from cnnlib.files import MARK, replacing
from cnnlib.paths import ProjectPath

CACHE_FORMAT = "4"  # to be raised when the same file would give other pixels
KEEP_OLD_S = 3600  # other files, as another training may be writing or starting to use them

Defects = list[tuple[str, str]]  # name, what is wrong
Decoded = tuple[list[str], np.ndarray, Defects]  # usable names, their pixels, the others


def decode_in_memory(
    folder: ProjectPath, names: Sequence[str], rules: Rules, reporter: Reporter
) -> Decoded:
    pixels = np.empty((len(names), *rules.spec.shape), np.uint8)
    good: list[str] = []
    skipped: Defects = []
    for part_names, part, defects in _decoded_parts(folder, names, rules, reporter):
        pixels[len(good) : len(good) + len(part_names)] = part
        good += part_names
        skipped += defects
    return good, pixels[: len(good)], skipped


def decode_cached(
    folder: ProjectPath, names: Sequence[str], rules: Rules, reporter: Reporter
) -> Decoded:
    """Map the pixels of a cache; write it first where there is none for these files."""
    index = cache_dir(folder) / f"{_key(folder, names, rules)}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):  # none yet, or damaged
        decoded = _map_cache(index, rules)
        _remove_old(index, only_of_index=True)
        if not any(_is_usable(folder, name, rules) for name, _ in decoded[2]):
            return decoded
    try:
        _write_cache(index, folder, names, rules, reporter)
        decoded = _map_cache(index, rules)
    except (CaptchaError, OSError, ValueError) as error:
        reporter.warn(f"decoded images are not kept for the next time: {error}")
        return decode_in_memory(folder, names, rules, reporter)
    return decoded


def cache_dir(folder: ProjectPath) -> Path:
    return folder.full.parent / ".decoded" / folder.full.name


def _decoded_parts(
    folder: ProjectPath, names: Sequence[str], rules: Rules, reporter: Reporter
) -> Iterator[Decoded]:
    labels = rules.labels()

    def decode(part: Sequence[str]) -> Decoded:
        good: list[str] = []
        skipped: Defects = []
        pixels = np.empty((len(part), *rules.spec.shape), np.uint8)
        for name in part:
            try:
                image = check_image(folder, name, rules, labels)[1]
                pixels[len(good)] = to_pixels(image, rules.spec)
                good.append(name)
            except SampleError as defect:
                skipped.append((name, str(defect)))
        return good, pixels[: len(good)], skipped

    return map_in_threads(decode, names, "loading", reporter)


def _is_usable(folder: ProjectPath, name: str, rules: Rules) -> bool:
    """Return whether a skipped file can be used now: the machine may have been at fault."""
    try:
        check_image(folder, name, rules, rules.labels())
    except SampleError:
        return False
    return True


def _key(folder: ProjectPath, names: Sequence[str], rules: Rules) -> str:
    """Return a digest of what a cache depends on: the files, and what they must be."""
    digest = hashlib.sha256(f"{CACHE_FORMAT} {rules}".encode())
    for name in names:
        try:
            status = os.stat(folder.full / name)
            known = f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"
        except OSError:  # it has vanished, or is a link to nowhere
            known = ""
        digest.update(f"\0{name}\0{known}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]


def _write_cache(
    index: Path, folder: ProjectPath, names: Sequence[str], rules: Rules, reporter: Reporter
) -> None:
    """Write pixels to a new file, then the index that names it; remove old files."""
    good: list[str] = []
    skipped: Defects = []
    file = index.with_name(f"{index.stem}-{secrets.token_hex(8)}")
    with replacing(file) as temporary, open(temporary, "wb") as pixels:
        for part_names, part, defects in _decoded_parts(folder, names, rules, reporter):
            pixels.write(part.data)
            good += part_names
            skipped += defects
    known = {"pixels": file.name, "names": good, "skipped": skipped}
    try:
        with replacing(index) as temporary:
            temporary.write_text(json.dumps(known), encoding="ascii")
    except BaseException:
        with suppress(OSError):
            file.unlink()
        raise
    _remove_old(index)


def _map_cache(index: Path, rules: Rules) -> Decoded:
    known = json.loads(index.read_text(encoding="ascii"))
    good, skipped = known["names"], [(name, defect) for name, defect in known["skipped"]]
    shape = (len(good), *rules.spec.shape)
    file = index.with_name(str(known["pixels"]))
    if file.stat().st_size != math.prod(shape):
        raise ValueError(f"{file} has been changed")
    # The view drops numpy's own class, which would cost time with every batch.
    pixels = np.memmap(file, np.uint8, "r", shape=shape) if good else np.empty(shape, np.uint8)
    return good, pixels.view(np.ndarray), skipped


def _remove_old(index: Path, only_of_index: bool = False) -> None:
    """Remove what belongs to no index or to another one, unless it may be in work.

    `only_of_index` leaves the caches of other indices, which are of use as long as files stay.
    """
    kept = (index.name, json.loads(index.read_text(encoding="ascii"))["pixels"])
    for other in index.parent.iterdir():
        ours = other.name.startswith((index.stem, MARK))
        with suppress(OSError):  # in use by another training, on Windows
            if (
                other.name not in kept
                and (ours or not only_of_index)
                and other.stat().st_mtime < time.time() - KEEP_OLD_S
            ):
                other.unlink()
