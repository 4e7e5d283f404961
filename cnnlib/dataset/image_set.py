"""The labelled images of a folder as arrays: decoded once, in batches, for training and testing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cnnlib.console import CONSOLE, Reporter
from cnnlib.dataset.folders import file_names
from cnnlib.dataset.image_cache import decode_cached, decode_in_memory
from cnnlib.dataset.labels import (
    LABELS_FILE,
    PAD_ID,
    UNKNOWN_ID,
    has_suffix,
    ids_to_label,
    label_to_ids,
)
from cnnlib.dataset.verification import Rules
from cnnlib.errors import SampleError
from cnnlib.paths import AnyPath, ProjectPath

MAX_NAMED_DEFECTS = 5  # unusable files that are reported one by one


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Decoded images: names, pixels uint8 [N, H, W] or [N, H, W, 3], char_ids int32 [N, L].

    After the end of a label that is shorter than L, char_ids are PAD_ID; without labels UNKNOWN_ID.
    """

    names: list[str]
    pixels: np.ndarray
    char_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def labels(self, char_set: tuple[str, ...]) -> list[str]:
        return [ids_to_label(ids, char_set) for ids in self.char_ids]

    def take(self, chosen: np.ndarray) -> ImageSet:
        """Return some of the images, by index int [n]; their pixels are copied."""
        return ImageSet([self.names[i] for i in chosen], self.pixels[chosen], self.char_ids[chosen])

    def share(self, position: int, count: int) -> ImageSet:
        """Return every `count`-th image, from `position` on; their pixels are not copied."""
        part = slice(position, None, count)
        return ImageSet(self.names[part], self.pixels[part], self.char_ids[part])

    def joined(self, other: ImageSet) -> ImageSet:
        """Return the images of both; their pixels are copied."""
        pixels = np.concatenate([self.pixels, other.pixels])
        char_ids = np.concatenate([self.char_ids, other.char_ids])
        return ImageSet([*self.names, *other.names], pixels, char_ids)

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


def load_images(
    folder: AnyPath,
    rules: Rules,
    *,
    limit: int | None = None,
    rng: np.random.Generator | None = None,
    cached: bool = False,
    reporter: Reporter = CONSOLE,
) -> ImageSet:
    """Decode the images of a folder, in the order of their names.

    Files of other suffixes than those of the rules are skipped without a word. `limit` takes that
    many, chosen by rng. `cached` keeps the pixels next to the images, for the next time. An image
    that cannot be used is reported and skipped. Raises SampleError where the folder is missing or
    no image in it can be used.
    """
    folder, spec = ProjectPath(folder), rules.spec
    names = [name for name in file_names(folder) if has_suffix(name, rules.suffixes)]
    if limit is not None and limit < len(names):
        chosen = (rng or np.random.default_rng()).permutation(len(names))[:limit]
        names = [names[i] for i in sorted(chosen)]
    if (folder.full / LABELS_FILE).exists():
        reporter.warn(
            f"{folder.full / LABELS_FILE} is not read: verify_and_split_data.py reads it, and "
            "gives the images names with their labels"
        )
    decode = decode_cached if cached else decode_in_memory
    good, pixels, skipped = decode(folder, names, rules, reporter)
    for name, defect in skipped[:MAX_NAMED_DEFECTS]:
        reporter.warn(f"skipped {folder.full / name}: {defect}")
    if len(skipped) > MAX_NAMED_DEFECTS:
        reporter.warn(f"skipped {len(skipped) - MAX_NAMED_DEFECTS} more in {folder}")
    if not good:
        raise SampleError(
            f"{folder} holds no usable image ({len(names)} of format {', '.join(rules.suffixes)} "
            "checked): run verify_and_split_data.py, which says what is wrong with each, and "
            "check image size, image_suffix, max_captcha and char_set in conf/"
        )
    shape = len(good), spec.max_captcha
    if not rules.labelled:
        return ImageSet(good, pixels, np.full(shape, UNKNOWN_ID, np.int32))
    labels = rules.labels()
    char_ids = np.full(shape, PAD_ID, np.int32)  # [N, L]
    for i, name in enumerate(good):
        ids = label_to_ids(labels.label(name), spec.char_set)
        char_ids[i, : len(ids)] = ids
    return ImageSet(good, pixels, char_ids)
