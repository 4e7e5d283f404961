"""Whoever asks gets the answer to their own images, however they were put together."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cnnlib.batching import Batcher
from cnnlib.errors import OverloadError


class Gated:
    """Returns the mean of each image; holds the first run until it is let go."""

    def __init__(self):
        self.sizes, self.entered, self.allowed = [], threading.Event(), threading.Event()

    def __call__(self, pixels):
        self.sizes.append(len(pixels))
        self.entered.set()
        assert self.allowed.wait(20)
        if (pixels == 255).any():
            raise RuntimeError("cannot read white")
        return pixels.mean(axis=(1, 2))


def image(value, count=1):
    return np.full((count, 2, 3), value, np.uint8)


def ask_while_one_runs(batcher, gated, jobs):
    """Start one job, put the others behind it, let all go; return the futures in order."""
    pool = ThreadPoolExecutor(len(jobs))
    futures = [pool.submit(batcher, jobs[0])]
    assert gated.entered.wait(20)
    waiting = len(jobs[0])
    for job in jobs[1:]:
        futures.append(pool.submit(batcher, job))
        waiting += len(job)
        while batcher.waiting < waiting:
            pass
    gated.allowed.set()
    pool.shutdown()
    return futures


def test_what_arrives_meanwhile_shares_the_next_run():
    gated = Gated()
    futures = ask_while_one_runs(Batcher(gated, together=4, runs=1), gated,
                                 [image(0), image(1), image(2, 2), image(3), image(4, 3)])
    assert [f.result().tolist() for f in futures] == [[0], [1], [2, 2], [3], [4, 4, 4]]
    assert gated.sizes == [1, 4, 3]


def test_alone_each_has_a_run_of_its_own():
    gated = Gated()
    futures = ask_while_one_runs(Batcher(gated, together=1, runs=1), gated,
                                 [image(0), image(1), image(2, 3)])
    assert [f.result().tolist() for f in futures] == [[0], [1], [2, 2, 2]]
    assert gated.sizes == [1, 1, 3]


def test_error_reaches_all_of_its_run_and_no_others():
    gated = Gated()
    batcher = Batcher(gated, together=2, runs=1)
    futures = ask_while_one_runs(batcher, gated, [image(0), image(255), image(2), image(3)])
    assert futures[0].result() == [0] and futures[3].result() == [3]
    for future in futures[1:3]:
        with pytest.raises(RuntimeError, match="cannot read white"):
            future.result()
    assert batcher.waiting == 0
    assert batcher(image(7)) == [7]


def test_beyond_the_bound_is_refused_and_nothing_else_is_lost():
    gated = Gated()
    batcher = Batcher(gated, waiting=2)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(batcher, image(1))
        assert gated.entered.wait(20)
        with pytest.raises(OverloadError):
            batcher(image(2, 2))
        gated.allowed.set()
        assert first.result() == [1]
    assert batcher(image(2, 2)).tolist() == [2, 2]


def test_many_threads_each_get_their_own_answers():
    batcher = Batcher(lambda pixels: pixels[:, 0, 0].astype(int))
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda value: batcher(image(value % 251))[0], range(5000)))
    assert answers == [value % 251 for value in range(5000)]
    assert batcher.waiting == 0


def test_as_many_runs_go_on_at_a_time_as_were_asked_for():
    both = threading.Barrier(2)

    def run(pixels):
        both.wait(20)  # for the other run
        return pixels[:, 0, 0]

    batcher = Batcher(run, together=1, runs=2)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda value: batcher(image(value))[0], (3, 5))) == [3, 5]
