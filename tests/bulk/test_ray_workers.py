"""Workers of Ray answer as one process does, and one that is killed costs no row.

Each runs in a program of its own: Ray leaves files and processes open, which pytest reports.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from cnnlib.paths import PROJECT_ROOT
from tests.bulk.conftest import CONFIG
from tests.bulk.helpers import run
from tests.bulk.test_archives import tar

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed (requirements-ray.txt)"
)
# Kills a worker in the middle of a run, and says which processes there were before and after.
KILLING = """
import os, signal, sys
from pathlib import Path
from cnnlib.bulk import recognize_bulk
from cnnlib.bulk.ray_workers import RayWorkers
from cnnlib.config import load_sample_config

class Killing(RayWorkers):
    chunks = 0
    def recognize(self, items):
        Killing.chunks += 1
        if Killing.chunks == 8:
            os.kill(before[0], signal.SIGKILL)
        return super().recognize(items)
    def close(self):
        print("processes", *before, *self.processes())
        super().close()
    def stop(self):
        if Killing.chunks == 0:
            super().stop()

workers = Killing(load_sample_config(sys.argv[1], runtime="onnx"), count=2)
before = workers.processes()
result = recognize_bulk(sys.argv[3:], Path(sys.argv[2]), lambda: workers)
print("rows", result.rows, result.errors)
"""


def program(*command):
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=PROJECT_ROOT,
        capture_output=True,
        encoding="utf-8",
    )


def test_answers_are_those_of_one_process_though_a_worker_is_killed(
    reader, images, drawn, tmp_path
):
    for i in range(500):
        (images / f"{i:04d}.png").write_bytes(drawn[i % len(drawn)])
    (images / "bad.png").write_bytes(b"bad")
    archive = tar(tmp_path / "more.tar", {f"{i}.png": data for i, data in enumerate(drawn)})
    run(reader, [images, archive], tmp_path / "one.csv")
    done = program("-c", KILLING, CONFIG, tmp_path / "two.csv", images, archive)
    assert done.returncode == 0, done.stderr
    assert "rows 621 1" in done.stdout
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    [line] = [line for line in done.stdout.splitlines() if line.startswith("processes")]
    first, second, *now = line.split()[1:]
    assert first not in now and second in now and len(now) == 2


def test_no_cluster_at_an_address(images, tmp_path):
    output = ["--output", tmp_path / "x.csv", "--config", CONFIG]
    done = program("recognize_batch.py", images, *output, "--ray", "127.0.0.1:9")
    assert done.returncode == 2
    assert "error: no Ray cluster at 127.0.0.1:9 " in done.stderr
