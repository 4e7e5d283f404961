"""Whoever asks gets the answer to their own images, however they were put together."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cnnlib.cores import usable_cores
from cnnlib.errors import OverloadError
from cnnlib.serving import batching
from cnnlib.serving.batching import Batcher
from tests.serving.helpers import wait_for


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


@pytest.fixture
def make_batcher():
    """Return `Batcher`, but each is closed after the test."""
    made = []

    def make(predict, **options):
        made.append(Batcher(predict, **options))
        return made[-1]

    yield make
    for batcher in made:
        batcher.close()


def image(value, count=1):
    return np.full((count, 2, 3), value, np.uint8)


def ask_during_a_run(batcher, gated, jobs):
    """Start one job, queue the others behind it, let all go; return the futures in order."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        futures = [pool.submit(batcher, jobs[0])]
        assert gated.entered.wait(20)
        pending = len(jobs[0])
        for job in jobs[1:]:
            futures.append(pool.submit(batcher, job))
            pending += len(job)
            wait_for(lambda expected=pending: batcher.pending == expected)
        gated.allowed.set()
    return futures


def test_what_arrives_meanwhile_shares_the_next_run(make_batcher):
    gated, sizes = Gated(), []
    batcher = make_batcher(gated, max_batch_size=4, num_batch_threads=1, on_batch=sizes.append)
    jobs = [image(0), image(1), image(2, 2), image(3), image(4, 3)]
    futures = ask_during_a_run(batcher, gated, jobs)
    assert [f.result().tolist() for f in futures] == [[0], [1], [2, 2], [3], [4, 4, 4]]
    assert gated.sizes == sizes == [1, 4, 3]


def test_batch_size_of_one_gives_each_call_its_own_run(make_batcher):
    gated = Gated()
    batcher = make_batcher(gated, max_batch_size=1, num_batch_threads=1)
    futures = ask_during_a_run(batcher, gated, [image(0), image(1), image(2, 3)])
    assert [f.result().tolist() for f in futures] == [[0], [1], [2, 2, 2]]
    assert gated.sizes == [1, 1, 3]


def test_error_reaches_all_of_its_run_and_no_others(make_batcher):
    gated = Gated()
    batcher = make_batcher(gated, max_batch_size=2, num_batch_threads=1)
    futures = ask_during_a_run(batcher, gated, [image(0), image(255), image(2), image(3)])
    assert futures[0].result() == [0] and futures[3].result() == [3]
    for future in futures[1:3]:
        with pytest.raises(RuntimeError, match="cannot read white"):
            future.result()
    assert batcher.pending == 0
    assert batcher(image(7)) == [7]


def test_images_beyond_the_queue_are_refused_and_nothing_else_is_lost(make_batcher):
    gated = Gated()
    batcher = make_batcher(gated, max_queue_size=2)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(batcher, image(1))
        assert gated.entered.wait(20)
        with pytest.raises(OverloadError):
            batcher(image(2, 2))
        gated.allowed.set()
        assert first.result() == [1]
    assert batcher(image(2, 2)).tolist() == [2, 2]


def test_many_threads_each_get_their_own_answers(make_batcher):
    batcher = make_batcher(lambda pixels: pixels[:, 0, 0].astype(int))
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda value: batcher(image(value % 251))[0], range(5000)))
    assert answers == [value % 251 for value in range(5000)]
    assert batcher.pending == 0


def test_batch_threads_run_at_the_same_time(make_batcher):
    both = threading.Barrier(2)

    def predict(pixels):
        both.wait(20)  # for the other run
        return pixels[:, 0, 0]

    batcher = make_batcher(predict, max_batch_size=1, num_batch_threads=2)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda value: batcher(image(value))[0], (3, 5))) == [3, 5]


def test_close_finishes_what_is_queued_and_refuses_what_comes(make_batcher):
    gated = Gated()
    batcher = make_batcher(gated, max_batch_size=1, max_queue_size=2, num_batch_threads=1)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(batcher, image(1))]
        assert gated.entered.wait(20)
        futures.append(pool.submit(batcher, image(2)))
        wait_for(lambda: batcher.full)
        closings = [pool.submit(batcher.close) for _ in range(2)]
        wait_for(lambda: "stopping" in refusal(batcher))
        assert not any(closing.done() for closing in closings)  # a run is still going on
        gated.allowed.set()
        for closing in closings:
            closing.result(20)
        assert [future.result().tolist() for future in futures] == [[1], [2]]
    batcher.close()
    assert batcher.pending == 0 and "stopping" in refusal(batcher)


def refusal(batcher):
    with pytest.raises(OverloadError) as refused:
        batcher(image(3))
    return str(refused.value)


def test_close_does_not_wait_for_a_run_that_never_ends(monkeypatch, caplog):
    monkeypatch.setattr(batching, "CLOSE_S", 0.2)
    gated = Gated()
    batcher = Batcher(gated, max_batch_size=1, num_batch_threads=1)
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(batcher, image(1))]
        assert gated.entered.wait(20)
        futures.append(pool.submit(batcher, image(2)))
        wait_for(lambda: batcher.pending == 2)
        assert pool.submit(batcher.close).result(20) is False
        for future in futures:  # those that wait, and the one that is being recognised
            with pytest.raises(OverloadError, match="stopping"):
                future.result(20)
        assert "2 images are not answered" in caplog.text
        gated.allowed.set()  # after all
    wait_for(lambda: batcher.pending == 0)
    assert batcher.close() is True and gated.sizes == [1]


def test_closed_batcher_leaves_no_thread():
    before = batch_threads()
    batcher = Batcher(lambda pixels: pixels, num_batch_threads=3)
    assert batch_threads() == before + 3
    batcher.close()
    assert batch_threads() == before


def batch_threads():
    return sum(thread.name == "batcher" for thread in threading.enumerate())


@pytest.mark.parametrize(("quota", "threads"), [("200000 100000", 2), ("50000 100000", 1)])
def test_one_thread_for_each_core_of_the_quota(monkeypatch, tmp_path, quota, threads):
    """In a container with a share of a large machine."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text(f"{quota}\n")
    monkeypatch.setattr(batching, "usable_cores", lambda: usable_cores(tmp_path))
    before = batch_threads()
    batcher = Batcher(lambda pixels: pixels)
    assert batch_threads() == before + threads
    batcher.close()
