"""What each training step learns from: images in a new order each epoch, and spliced ones."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from cnnlib.console import Reporter
from cnnlib.dataset.image_set import ImageSet
from cnnlib.training.recipes import Splicing
from cnnlib.training.splicing import find_cuts, splice

T = TypeVar("T")
PREFETCHED_BATCHES = 2


@dataclass(frozen=True)
class Batch:
    """Images to learn from, pixels uint8 [B, H, W] and char_ids int32 [B, L]; which they are."""

    pixels: np.ndarray
    char_ids: np.ndarray
    chosen: np.ndarray  # of the training set, int [B], before they were spliced


class TrainingBatches:
    """The batches of a run of `steps`, which goes on after `first_step`.

    Where `splicing` is given, characters change places once `locate_characters` has found them.
    """

    def __init__(
        self,
        images: ImageSet,
        size: int,
        steps: int,
        first_step: int,
        splicing: Splicing | None,
        rng: np.random.Generator,
    ) -> None:
        self._images, self._size, self._steps = images, size, steps
        self._first_step, self._splicing = first_step, splicing
        # Batches and locating are of different threads.
        self._rng, pool_rng, self._read_rng = rng.spawn(3)
        count = min(splicing.located_images, len(images)) if splicing else 0
        self._pool = np.sort(pool_rng.choice(len(images), count, replace=False))  # to be located
        self.cuts: np.ndarray | None = None  # between their characters, columns int [K, L - 1]
        self.splicing_starts_at = 0  # the step from which on all images are spliced, if any
        self._left_out = np.zeros(len(images), bool)
        self._read: tuple[ImageSet, np.ndarray, float] | None = None

    def batches(self) -> Iterator[Batch]:
        """Yield a batch for each step, and go on for ever."""
        orders = self._images.batches(self._size, self._rng)
        for step, drawn in enumerate(orders, self._first_step + 1):
            chosen = self._replaced(drawn)
            cuts, splicing = self.cuts, self._splicing
            if splicing and cuts is not None and step <= splicing.until * self._steps:
                batch = self._spliced(chosen, cuts, splicing)
            else:
                batch = Batch(self._images.pixels[chosen], self._images.char_ids[chosen], chosen)
            self._mix_in(batch)
            yield batch

    def learn_also(self, images: ImageSet, chosen: np.ndarray, share: float) -> None:
        """Take a share of each batch, from a step soon after this, from these images, int [n]."""
        self._read = (images, chosen, share) if len(chosen) else None

    def _mix_in(self, batch: Batch) -> None:
        """Put others of the images that were read in the place of some of a batch."""
        if self._read is None:
            return
        images, chosen, share = self._read
        places = self._read_rng.permutation(len(batch.pixels))[: round(share * len(batch.pixels))]
        picked = self._read_rng.choice(chosen, len(places))
        batch.pixels[places], batch.char_ids[places] = (
            images.pixels[picked],
            images.char_ids[picked],
        )

    def leave_out(self, doubtful: np.ndarray) -> None:
        """Use others in the place of these images, bool [N], from a step soon after this."""
        self._left_out = doubtful

    def _replaced(self, chosen: np.ndarray) -> np.ndarray:
        """Return others in the place of images that are left out, int [B]."""
        left_out = self._left_out
        wrong = left_out[chosen]
        if not wrong.any():
            return chosen
        return np.where(wrong, self._rng.choice(np.flatnonzero(~left_out), len(chosen)), chosen)

    def _spliced(self, chosen: np.ndarray, cuts: np.ndarray, splicing: Splicing) -> Batch:
        """Return a batch of which all, or `batch_share` from the pool, are spliced."""
        if len(self._pool) == len(self._images):
            picked = chosen
        else:
            count = round(splicing.batch_share * len(chosen))
            usable = np.flatnonzero(~self._left_out[self._pool])
            picked = self._rng.choice(usable, count)
            chosen = np.concatenate([self._pool[picked], chosen[len(picked) :]])
        pixels, char_ids = self._images.pixels[chosen], self._images.char_ids[chosen]
        part = slice(len(picked))
        pixels[part], char_ids[part] = splice(
            pixels[part], char_ids[part], cuts[picked], splicing, self._rng
        )
        return Batch(pixels, char_ids, chosen)

    def should_locate(self, step: int) -> bool:
        """Return whether to locate characters at this step."""
        if not self._splicing:
            return False
        last = self._splicing.until * self._steps
        return step <= last and self.is_due(step, self._splicing.locate_at)

    def is_due(self, step: int, shares: Sequence[float]) -> bool:
        """Return whether a step is the first after one of these shares of the run.

        So is the first step of a run that goes on after one of them.
        """
        steps = self._steps_after(shares)
        return step in steps or (step == self._first_step + 1 and step > min(steps, default=step))

    def _steps_after(self, shares: Sequence[float]) -> list[int]:
        return [1 + round(share * self._steps) for share in shares]

    def locate_characters(
        self,
        step: int,
        saliency: Callable[[np.ndarray, np.ndarray], np.ndarray],
        stop: threading.Event,
        reporter: Reporter,
    ) -> None:
        """Find the characters of the pool; `stop` ends it, and leaves what was known before.

        `saliency` takes pixels and char_ids, and returns what each column contributes to each
        character, float [B, L, W].
        """
        assert self._splicing is not None, "should_locate says so"
        images, cuts = self._images, []
        size = min(self._size, len(images))  # what a training step, too, takes into memory
        for start in reporter.progress(range(0, len(self._pool), size), "locating characters"):
            if stop.is_set():
                return
            part = self._pool[start : start + size]
            cuts.append(find_cuts(saliency(images.pixels[part], images.char_ids[part])))
        if self.cuts is None and len(self._pool) == len(images):
            steps = self._steps_after(self._splicing.locate_at)
            self.splicing_starts_at = max(at for at in steps if at <= step)
        self.cuts = np.concatenate(cuts)


@contextmanager
def prefetch(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """Give endless items whose next ones a thread makes while the last one is used."""
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, items) for _ in range(PREFETCHED_BATCHES))

        def taken() -> Iterator[T]:
            while True:
                item = waiting.popleft().result()
                waiting.append(thread.submit(next, items))
                yield item

        yield taken()
