"""Images that arrive together are recognised together.

One network run for many images takes less than a run for each. An image that finds the network
idle is recognised at once, in the thread that brought it; those that arrive meanwhile wait, and
share the next run. So nothing waits for a batch to fill.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import numpy as np

from cnnlib.errors import OverloadError

TOGETHER = 32  # images in a run
WAITING = 256  # images at most; whoever comes then is told so, and does not wait


class _Job:
    """Images that one thread brought, and what becomes of them."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels
        self.turn = threading.Event()  # it is answered, or its thread is to run the next batch
        self.answer: np.ndarray | None = None
        self.error: BaseException | None = None

    def done(self, answer: np.ndarray | None, error: BaseException | None) -> None:
        self.answer, self.error = answer, error
        self.turn.set()


class Batcher:
    """Call `run` from one thread at a time, for what all threads brought.

    `run` takes pixels, uint8 [N, H, W], and returns an array whose first axis is N as well.
    `together` of 1 recognises the images of each call on their own.
    """

    def __init__(self, run: Callable[[np.ndarray], np.ndarray], together: int = TOGETHER,
                 waiting: int = WAITING) -> None:
        self._run, self._together, self._most_waiting = run, together, waiting
        self._lock = threading.Lock()
        self._jobs: deque[_Job] = deque()
        self._running = False
        self.waiting = 0  # images, with those in the run that goes on
        self.on_run: Callable[[int], None] = lambda images: None

    @property
    def full(self) -> bool:
        return self.waiting >= self._most_waiting

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return what `run` gives for these images; raises OverloadError, and what `run` raises."""
        job = _Job(pixels)
        with self._lock:
            if self.waiting + len(pixels) > self._most_waiting:
                raise OverloadError(f"{self.waiting} images wait already; try again")
            self.waiting += len(pixels)
            self._jobs.append(job)
            leads, self._running = not self._running, True
        if not leads:
            job.turn.wait()
        if job.answer is None and job.error is None:
            self._lead()
        if job.error is not None:
            raise job.error
        assert job.answer is not None
        return job.answer

    def _lead(self) -> None:
        """Run a batch, whose first images are this thread's own; then name who leads next."""
        batch = self._next_batch()
        images = [job.pixels for job in batch]
        answers, error = None, None
        try:
            answers = self._run(np.concatenate(images) if len(images) > 1 else images[0])
        except BaseException as raised:  # whoever waits must be told
            error = raised
        with self._lock:
            self.waiting -= sum(map(len, images))
            self._running = bool(self._jobs)
            if self._running:
                self._jobs[0].turn.set()
        start = 0
        for job in batch:
            end = start + len(job.pixels)
            job.done(None if answers is None else answers[start:end], error)
            start = end

    def _next_batch(self) -> list[_Job]:
        with self._lock:
            batch = [self._jobs.popleft()]
            count = len(batch[0].pixels)
            while self._jobs and count + len(self._jobs[0].pixels) <= self._together:
                batch.append(self._jobs.popleft())
                count += len(batch[-1].pixels)
        self.on_run(count)
        return batch
