"""The labelled images of a folder as arrays: decoded once, in batches, for training and testing.

Training reads its images through a cache: the folder `.decoded` beside the image folder holds their
pixels in one file, which the system maps into memory as it is read. A second training starts at
once, and a set that is larger than memory streams from the disk. A cache belongs to the names,
sizes and times of the files; when they change it is made anew.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from cnnlib import console, encoding
from cnnlib.config import AnyPath, ProjectPath
from cnnlib.dataset import LABELS, Rules, check, file_names, in_threads
from cnnlib.errors import CaptchaError, SampleError
from cnnlib.files import replacing

T = TypeVar("T")
CACHE_FORMAT = "1"  # to be raised when the same file would give other pixels
REPORTED = 5  # unusable files that are named one by one
AHEAD = 2  # batches that wait
KEPT_S = 3600  # an old cache, as another training may be making or beginning to use it


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Decoded images: names, pixels uint8 [N, H, W] or [N, H, W, 3], char_ids int32 [N, L].

    After the end of a label that is shorter than L, char_ids are NO_CHARACTER.
    """

    names: list[str]
    pixels: np.ndarray
    char_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def take(self, chosen: np.ndarray) -> ImageSet:
        """Return some of the images, by index int [n]; their pixels are copied."""
        return ImageSet([self.names[i] for i in chosen], self.pixels[chosen], self.char_ids[chosen])

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield the indices of min(size, N) images for ever, int [min(size, N)].

        Every image comes once in an epoch, in a new order each time; a batch may begin in one
        epoch and end in the next, so that all have the same size.
        """
        size = min(size, len(self))
        order = rng.permutation(len(self))
        while True:
            while len(order) < size:
                order = np.concatenate([order, rng.permutation(len(self))])
            chosen, order = order[:size], order[size:]
            yield chosen

    def sample(self, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return (pixels, char_ids) of `size` images without repetition; all, if fewer."""
        chosen = rng.permutation(len(self))[:size]
        return self.pixels[chosen], self.char_ids[chosen]


def load_images(folder: AnyPath, rules: Rules, *, limit: int | None = None,
                rng: np.random.Generator | None = None, cached: bool = False) -> ImageSet:
    """Decode the labelled images of a folder, in the order of their names.

    Files of other suffixes than those of the rules are passed over. `limit` takes that many,
    chosen by rng. `cached` keeps the pixels beside the images, for the next time. An image that
    cannot be used is reported on stderr and skipped. Raises SampleError where the folder is
    missing or no image in it can be used.
    """
    folder = ProjectPath(folder)
    assert rules.char_set is not None and rules.max_length is not None, "labels become class ids"
    names = [name for name in file_names(folder) if encoding.has_suffix(name, rules.suffixes)]
    if limit is not None and limit < len(names):
        chosen = (rng or np.random.default_rng()).permutation(len(names))[:limit]
        names = [names[i] for i in sorted(chosen)]
    if (folder.full / LABELS).exists():
        console.warn(f"{folder.full / LABELS} is not read: verify_and_split_data.py reads it, and "
                     "gives the images names with their labels")
    good, pixels, skipped = (_cached if cached else _in_memory)(folder, names, rules)
    for name, defect in skipped[:REPORTED]:
        console.warn(f"skipped {folder.full / name}: {defect}")
    if len(skipped) > REPORTED:
        console.warn(f"skipped {len(skipped) - REPORTED} more in {folder}")
    if not good:
        raise SampleError(
            f"{folder} holds no usable image ({len(names)} of format {', '.join(rules.suffixes)} "
            "looked at): run verify_and_split_data.py, which says what is wrong with each, and "
            "check image size, image_suffix, max_captcha and char_set in conf/")
    char_ids = np.full((len(good), rules.max_length), encoding.NO_CHARACTER, np.int32)
    for i, name in enumerate(good):
        ids = encoding.label_to_ids(rules.label(name), rules.char_set)
        char_ids[i, :len(ids)] = ids
    return ImageSet(good, pixels, char_ids)


# --- decode ---

Defects = list[tuple[str, str]]  # name, what is wrong
Decoded = tuple[list[str], np.ndarray, Defects]  # usable names, their pixels, the others


def _decoded_parts(folder: ProjectPath, names: Sequence[str], rules: Rules) -> Iterator[Decoded]:
    def decode(part: Sequence[str]) -> Decoded:
        good: list[str] = []
        skipped: Defects = []
        pixels = np.empty((len(part), *rules.format.shape), np.uint8)
        for name in part:
            try:
                pixels[len(good)] = rules.format.pixels(check(folder, name, rules)[1])
                good.append(name)
            except SampleError as defect:
                skipped.append((name, str(defect)))
        return good, pixels[:len(good)], skipped

    return in_threads(decode, names, "loading")


def _in_memory(folder: ProjectPath, names: Sequence[str], rules: Rules) -> Decoded:
    pixels = np.empty((len(names), *rules.format.shape), np.uint8)
    good: list[str] = []
    skipped: Defects = []
    for part, its_pixels, defects in _decoded_parts(folder, names, rules):
        pixels[len(good):len(good) + len(part)] = its_pixels
        good += part
        skipped += defects
    return good, pixels[:len(good)], skipped


# --- cache ---


def _cached(folder: ProjectPath, names: Sequence[str], rules: Rules) -> Decoded:
    file = cache_dir(folder) / _key(folder, names, rules)
    with suppress(OSError, ValueError, KeyError, TypeError):  # none yet, or damaged
        decoded = _mapped(file, rules)
        if not any(_usable(folder, name, rules) for name, _ in decoded[2]):
            return decoded
    try:
        _write_cache(file, folder, names, rules)
        decoded = _mapped(file, rules)
    except (CaptchaError, OSError) as error:
        console.warn(f"decoded images are not kept for the next time: {error}")
        return _in_memory(folder, names, rules)
    _remove_old(file)
    return decoded


def _usable(folder: ProjectPath, name: str, rules: Rules) -> bool:
    """Tell whether a file that was skipped can be used now: the reason may have been the machine.
    """
    try:
        check(folder, name, rules)
    except SampleError:
        return False
    return True


def cache_dir(folder: ProjectPath) -> Path:
    return folder.full.parent / ".decoded" / folder.full.name


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


def _write_cache(file: Path, folder: ProjectPath, names: Sequence[str], rules: Rules) -> None:
    """Write pixels to `file`, and last, so that a cache without it is none, the names beside."""
    good: list[str] = []
    skipped: Defects = []
    with replacing(file) as temporary, open(temporary, "wb") as pixels:
        for part, its_pixels, defects in _decoded_parts(folder, names, rules):
            pixels.write(its_pixels.data)
            good += part
            skipped += defects
    with replacing(_index(file)) as temporary:
        temporary.write_text(json.dumps({"names": good, "skipped": skipped}), encoding="ascii")


def _mapped(file: Path, rules: Rules) -> Decoded:
    known = json.loads(_index(file).read_text(encoding="ascii"))
    good, skipped = known["names"], [(name, defect) for name, defect in known["skipped"]]
    shape = (len(good), *rules.format.shape)
    if file.stat().st_size != math.prod(shape):
        raise ValueError("pixels and names of two writers")
    # The view drops numpy's own class, which would cost time with every batch.
    pixels = np.memmap(file, np.uint8, "r", shape=shape) if good else np.empty(shape, np.uint8)
    return good, pixels.view(np.ndarray), skipped


def _index(file: Path) -> Path:
    return file.with_suffix(".json")


def _remove_old(file: Path) -> None:
    """Remove other caches of the folder, but for those that another program may just be making."""
    for other in file.parent.iterdir():
        with suppress(OSError):  # in use by another training, on Windows
            if other.stem != file.stem and other.stat().st_mtime < time.time() - KEPT_S:
                other.unlink()


# --- batches ---


@contextmanager
def ahead(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """Give endless items whose next ones a thread makes while the last one is used."""
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, items) for _ in range(AHEAD))

        def taken() -> Iterator[T]:
            while True:
                item = waiting.popleft().result()
                waiting.append(thread.submit(next, items))
                yield item

        yield taken()
