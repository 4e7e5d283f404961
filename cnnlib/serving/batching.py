"""Recognise images that arrive together in one run of the network, on all cores.

One run for many images takes less computing than a run for each, and a run on one core less than
one on several. An image that finds a core idle is recognised at once; those that arrive while all
are busy are queued, and share the next run. So nothing waits for a batch to fill.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from cnnlib.cores import usable_cores
from cnnlib.errors import OverloadError
from cnnlib.serving.limits import CLOSE_S, MAX_BATCH_SIZE, MAX_QUEUE_SIZE

log = logging.getLogger(__name__)

STOPPING = "the server is stopping; try again"


class _Job(NamedTuple):
    """The images of one call."""

    pixels: np.ndarray
    future: Future[np.ndarray]


class Batcher:
    """Call `predict` in threads of its own, on what any number of threads bring.

    `predict` takes pixels, uint8 [N, H, W] or [N, H, W, 3], and returns an array whose first axis
    is N as well. `num_batch_threads` threads call it at a time; None means one for each core. A
    max_batch_size of 1 recognises the images of each call on their own. `on_batch` gets the number
    of images of each run.
    """

    def __init__(
        self,
        predict: Callable[[np.ndarray], np.ndarray],
        *,
        max_batch_size: int = MAX_BATCH_SIZE,
        max_queue_size: int = MAX_QUEUE_SIZE,
        num_batch_threads: int | None = None,
        on_batch: Callable[[int], None] = lambda images: None,
    ) -> None:
        self._predict, self._on_batch = predict, on_batch
        self._max_batch_size, self._max_queue_size = max_batch_size, max_queue_size
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._unanswered: set[Future[np.ndarray]] = set()  # of jobs queued or being recognised
        self._closed = False
        self.pending = 0  # images that are queued or being recognised
        self._threads = [
            threading.Thread(target=self._work, name="batcher", daemon=True)
            for _ in range(num_batch_threads or usable_cores())
        ]
        for thread in self._threads:
            thread.start()

    @property
    def full(self) -> bool:
        return self.pending >= self._max_queue_size

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return what `predict` gives for these images, or raise what it raises.

        Raises OverloadError where the queue is full, and after `close`.
        """
        job = _Job(pixels, Future())
        with self._changed:
            if self._closed:
                raise OverloadError(STOPPING)
            if self.pending + len(pixels) > self._max_queue_size:
                raise OverloadError(f"{self.pending} images wait already; try again")
            self.pending += len(pixels)
            self._jobs.append(job)
            self._unanswered.add(job.future)
            self._changed.notify()
        return job.future.result()

    def close(self) -> bool:
        """Refuse further images, finish those that are queued, and end the threads.

        Returns False where they have not ended within CLOSE_S: a run may never come back. Whoever
        still waits for an answer then gets OverloadError.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        deadline_s = time.monotonic() + CLOSE_S
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        ended = not any(thread.is_alive() for thread in self._threads)
        if not ended:
            self._give_up()
        return ended

    def _give_up(self) -> None:
        with self._changed:
            log.error("recognition does not end: %d images are not answered", self.pending)
            self.pending -= sum(len(job.pixels) for job in self._jobs)
            self._jobs.clear()
            unanswered = list(self._unanswered)
        for future in unanswered:
            with suppress(InvalidStateError):  # answered just now
                future.set_exception(OverloadError(STOPPING))

    def _work(self) -> None:
        while batch := self._next_batch():
            self._run(batch)

    def _next_batch(self) -> list[_Job]:
        """Wait for jobs, and take as many as fit in one run; none after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            batch: list[_Job] = []
            count = 0
            while self._jobs and (
                not batch or count + len(self._jobs[0].pixels) <= self._max_batch_size
            ):
                batch.append(self._jobs.popleft())
                count += len(batch[-1].pixels)
        return batch

    def _run(self, batch: list[_Job]) -> None:
        counts = [len(job.pixels) for job in batch]
        failure: BaseException | None = None
        parts: list[np.ndarray] = []
        try:
            self._on_batch(sum(counts))
            pixels = [job.pixels for job in batch]
            results = self._predict(np.concatenate(pixels) if len(pixels) > 1 else pixels[0])
            parts = np.split(results, np.cumsum(counts)[:-1])
        except BaseException as error:  # the callers wait: each of them gets it
            failure = error
        with self._changed:  # before the callers go on
            self.pending -= sum(counts)
            self._unanswered.difference_update(job.future for job in batch)
        for i, job in enumerate(batch):
            with suppress(InvalidStateError):  # `close` has given up
                if failure is None:
                    job.future.set_result(parts[i])
                else:
                    job.future.set_exception(failure)
