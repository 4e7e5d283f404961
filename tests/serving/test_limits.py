"""Settings that several servers share."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from cnnlib.paths import PROJECT_ROOT
from cnnlib.serving.batching import MAX_QUEUE_SIZE
from cnnlib.serving.service import ServingOptions
from cnnlib.serving.waitress_server import SERVER_THREADS

HEAVY = ("tensorflow", "numpy", "flask", "waitress", "PIL", "requests")


def test_gunicorn_has_the_threads_of_the_other_server_and_loads_nothing_heavy(tmp_path):
    program = (
        "import json, runpy, sys\n"
        "settings = runpy.run_path('deploy/gunicorn.conf.py')\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print(json.dumps([settings['threads'], heavy]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT_ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert json.loads(done.stdout) == [SERVER_THREADS, []]


def test_threads_suffice_to_refuse_what_is_beyond_the_queue():
    assert SERVER_THREADS > MAX_QUEUE_SIZE == ServingOptions.max_queue_size
