"""Servers for the benches: started, given while a `with` block runs, and ended."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.lib.load import post
from bench.lib.nginx import nginx
from cnnlib.errors import CaptchaError
from cnnlib.paths import PROJECT_ROOT
from cnnlib.serving.limits import SERVER_THREADS

READY = "listening on"
API_THREADS, EMPTY_THREADS = SERVER_THREADS, 8
OTHER_WORKERS_S = 3  # that they take longer than the first one
NGINX_S = 1


@dataclass(frozen=True)
class RunningServer:
    url: str  # that answers uploads
    pid: int
    start_s: float


class _Process:
    """A started program, and what it writes to stderr."""

    def __init__(self, command: Sequence[str], process: subprocess.Popen[str], log: Any) -> None:
        self._command, self._log = command, log
        self.process, self.began_s = process, time.perf_counter()

    def running(self, url: str) -> RunningServer:
        return RunningServer(url, self.process.pid, time.perf_counter() - self.began_s)

    def failure(self) -> CaptchaError:
        self._log.seek(0)
        return CaptchaError(f"{' '.join(self._command)} did not start: {self._log.read()[-500:]}")


@contextmanager
def _started(
    command: Sequence[str], stdout: int | None = None, variables: Mapping[str, str] | None = None
) -> Iterator[_Process]:
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            command,
            stdout=stdout,
            stderr=log,
            text=True,
            cwd=PROJECT_ROOT,
            env={**os.environ, **(variables or {})},
        ) as process,
    ):
        try:
            yield _Process(command, process, log)
        finally:
            process.terminate()


@contextmanager
def waitress(
    *arguments: str, variables: Mapping[str, str] | None = None
) -> Iterator[RunningServer]:
    """Start Python with these arguments; the program prints where it listens."""
    with _started([sys.executable, *arguments], subprocess.PIPE, variables) as started:
        assert started.process.stdout, "it is a pipe"
        line = started.process.stdout.readline()
        if READY not in line:
            raise started.failure()
        yield started.running(line.split()[-1])


@contextmanager
def gunicorn(application: str, threads: int, port: int) -> Iterator[RunningServer]:
    """Start gunicorn with the project's settings."""
    command = [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py"]
    command += ["--threads", str(threads), "--bind", f"127.0.0.1:{port}", application]
    with _started(command) as started:
        url = f"http://127.0.0.1:{port}/b"
        while not _answers(url):
            if started.process.poll() is not None:
                raise started.failure()
            time.sleep(0.1)
        time.sleep(OTHER_WORKERS_S)
        yield started.running(url)


@contextmanager
def behind_nginx(application: str, port: int) -> Iterator[RunningServer]:
    """Start gunicorn on a port, and nginx before it on the next."""
    with (
        gunicorn(application, API_THREADS, port) as server,
        tempfile.TemporaryDirectory() as folder,
        _started(nginx(Path(folder), port + 1, port)),
    ):
        time.sleep(NGINX_S)
        yield RunningServer(f"http://127.0.0.1:{port + 1}/b", server.pid, server.start_s)


def _answers(url: str) -> bool:
    try:
        post(url, b"")
    except OSError:
        return False
    return True


def has_gunicorn() -> bool:
    return importlib.util.find_spec("gunicorn") is not None


def deployed_environment() -> dict[str, str]:
    """Return the variables that deploy/cnn_captcha.service sets."""
    unit = (PROJECT_ROOT / "deploy/cnn_captcha.service").read_text(encoding="utf-8")
    return dict(re.findall(r"^Environment=(\w+)=(.*)$", unit, re.MULTILINE))
