"""What each training step learns from: images in a new order each epoch, and mixtures of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from cnnlib import console, mixing
from cnnlib.image_set import ImageSet

MIXED_UNTIL = 0.75  # of a run: at its end it sees images as they are
LOOKS = (0.15, 0.35)  # after these shares of a run, for where characters stand
LOOKED_AT = 4000  # images at most: a look at each takes as long as two steps of training
MIXED_SHARE = 0.5  # of a batch, where not all images were looked at


@dataclass(frozen=True)
class Batch:
    """Images to learn from, pixels uint8 [B, H, W] and char_ids int32 [B, L]; which they are."""

    pixels: np.ndarray
    char_ids: np.ndarray
    chosen: np.ndarray  # of the training set, int [B], before they were mixed


class Feed:
    """The batches of a run of `steps`, which goes on after `first_step`.

    Where it `mixes`, characters change places from the first look on, which finds them.
    """

    def __init__(self, images: ImageSet, size: int, steps: int, first_step: int, mixes: bool,
                 rng: np.random.Generator) -> None:
        self._images, self._size, self._steps = images, size, steps
        self._first_step, self._mixes = first_step, mixes
        self._rng, choice_rng = rng.spawn(2)  # looks and batches are of different threads
        self._pool = np.sort(choice_rng.choice(len(images), min(LOOKED_AT, len(images)),
                                               replace=False))  # those to look at
        self.cuts: np.ndarray | None = None  # between their characters, columns int [K, L - 1]
        self.new_kind_at = 0  # the step from which on all images are mixed, if there is one

    def batches(self) -> Iterator[Batch]:
        """Yield a batch for each step, and go on for ever."""
        orders = self._images.batches(self._size, self._rng)
        for step, chosen in enumerate(orders, self._first_step + 1):
            cuts = self.cuts
            if cuts is not None and step <= MIXED_UNTIL * self._steps:
                yield self._mixed(chosen, cuts)
            else:
                yield Batch(self._images.pixels[chosen], self._images.char_ids[chosen], chosen)

    def _mixed(self, chosen: np.ndarray, cuts: np.ndarray) -> Batch:
        """Return a batch of which all, or MIXED_SHARE from the pool, are joined to new images."""
        if len(self._pool) == len(self._images):
            picked = chosen
        else:
            picked = self._rng.integers(len(self._pool), size=round(MIXED_SHARE * len(chosen)))
            chosen = np.concatenate([self._pool[picked], chosen[len(picked):]])
        pixels, char_ids = self._images.pixels[chosen], self._images.char_ids[chosen]
        part = slice(len(picked))
        pixels[part], char_ids[part] = mixing.mix(pixels[part], char_ids[part], cuts[picked],
                                                  self._rng)
        return Batch(pixels, char_ids, chosen)

    def look_due(self, step: int) -> bool:
        """Tell whether to look for the characters: the network knows them, or knows them better."""
        looks = self._looks()
        goes_on = step == self._first_step + 1 and looks[0] < step <= MIXED_UNTIL * self._steps
        return self._mixes and (step in looks or goes_on)

    def _looks(self) -> list[int]:
        return [1 + round(share * self._steps) for share in LOOKS]

    def look(self, step: int, saliency: Callable[[np.ndarray, np.ndarray], np.ndarray],
             stop: threading.Event) -> None:
        """Find the characters; `stop` ends it, and leaves what was known before.

        `saliency` takes pixels and char_ids, and returns what each column does, float [B, L, W].
        """
        images, cuts = self._images, []
        size = min(self._size, len(images))  # what a training step, too, takes into memory
        for start in console.progress(range(0, len(self._pool), size), "finding characters"):
            if stop.is_set():
                return
            part = self._pool[start:start + size]
            cuts.append(mixing.cuts(saliency(images.pixels[part], images.char_ids[part])))
        if self.cuts is None and len(self._pool) == len(images):
            self.new_kind_at = max(look for look in self._looks() if look <= step)
        self.cuts = np.concatenate(cuts)
