"""Images that arrive together are recognised together, on all cores.

One network run for many images takes less than a run for each, and a run on one core less computing
than one on several. An image that finds a core idle is recognised at once; those that arrive while
all are busy wait, and share the next run. So nothing waits for a batch to fill.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable

import numpy as np

from cnnlib.errors import OverloadError

TOGETHER = 32  # images in a run
WAITING = 256  # images at most; whoever comes then is told so, and does not wait


def cores() -> int:
    """Return how many cores this process may use; fewer than the machine's in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Job:
    """Images that one thread brought, and what becomes of them."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels
        self.done = threading.Event()
        self.answer: np.ndarray | None = None
        self.error: BaseException | None = None


class Batcher:
    """Call `run` in threads of its own, for what any number of threads bring.

    `run` takes pixels, uint8 [N, H, W], and returns an array whose first axis is N as well; it is
    called by `runs` threads at a time (default: the cores). `together` of 1 recognises the images
    of each call on their own.
    """

    def __init__(self, run: Callable[[np.ndarray], np.ndarray], together: int = TOGETHER,
                 waiting: int = WAITING, runs: int | None = None) -> None:
        self._run, self._together, self._most_waiting = run, together, waiting
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self.waiting = 0  # images, with those in the runs that go on
        self.on_run: Callable[[int], None] = lambda images: None
        for _ in range(runs or cores()):
            threading.Thread(target=self._work, name="batcher", daemon=True).start()

    @property
    def full(self) -> bool:
        return self.waiting >= self._most_waiting

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return what `run` gives for these images; raises OverloadError, and what `run` raises."""
        job = _Job(pixels)
        with self._changed:
            if self.waiting + len(pixels) > self._most_waiting:
                raise OverloadError(f"{self.waiting} images wait already; try again")
            self.waiting += len(pixels)
            self._jobs.append(job)
            self._changed.notify()
        job.done.wait()
        if job.error is not None:
            raise job.error
        assert job.answer is not None
        return job.answer

    def _work(self) -> None:
        while True:
            batch = self._next_batch()
            images = [job.pixels for job in batch]
            try:
                self.on_run(sum(map(len, images)))
                answers = self._run(np.concatenate(images) if len(images) > 1 else images[0])
                start = 0
                for job in batch:
                    job.answer = answers[start:start + len(job.pixels)]
                    start += len(job.pixels)
            except BaseException as error:  # whoever waits must be told
                for job in batch:
                    job.error = error
            with self._changed:
                self.waiting -= sum(map(len, images))
            for job in batch:
                job.done.set()

    def _next_batch(self) -> list[_Job]:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs)
            batch = [self._jobs.popleft()]
            count = len(batch[0].pixels)
            while self._jobs and count + len(self._jobs[0].pixels) <= self._together:
                batch.append(self._jobs.popleft())
                count += len(batch[-1].pixels)
        return batch
