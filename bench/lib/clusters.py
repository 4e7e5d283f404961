"""A training on several machines, each process with a log of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cnnlib.errors import CaptchaError
from cnnlib.paths import PROJECT_ROOT

PORT = 22220  # that of the first task; each has its own


def cluster_of(
    workers: int, hosts: Mapping[str, str] | None = None, servers: int = 1
) -> dict[str, list[str]]:
    """Return the addresses of servers, a chief and workers; `hosts` by task, or this machine."""
    jobs = {"ps": servers, "chief": 1, "worker": workers}
    tasks = [(job, i) for job, count in jobs.items() for i in range(count)]
    found: dict[str, list[str]] = {job: [] for job, count in jobs.items() if count}
    for port, (job, i) in enumerate(tasks, PORT):
        found[job].append(f"{(hosts or {}).get(f'{job}:{i}', '127.0.0.1')}:{port}")
    return found


class Training:
    """The processes of one training; `inside` is what runs a command on the machine of a task."""

    def __init__(
        self,
        folder: Path,
        cluster: Mapping[str, Sequence[str]],
        arguments: Sequence[str],
        inside: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._folder, self._arguments, self._inside = folder, arguments, inside or {}
        self.tasks = [f"{job}:{i}" for job, known in cluster.items() for i in range(len(known))]
        self._file = folder / "cluster.json"
        self._file.write_text(json.dumps(cluster), encoding="utf-8")
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, task: str, in_cluster: bool = True) -> None:
        command = [*self._inside.get(task, ()), sys.executable, "train_model.py", *self._arguments]
        if in_cluster:
            command += ["--cluster", str(self._file), "--task", task]
        with self.log(task).open("ab") as log:
            self._running[task] = subprocess.Popen(
                command,
                cwd=PROJECT_ROOT,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )

    @contextmanager
    def running(self, tasks: Sequence[str] = (), in_cluster: bool = True) -> Iterator[None]:
        """Start tasks, all by default, and kill at the end what has not ended."""
        for task in tasks or self.tasks:
            self.start(task, in_cluster)
        try:
            yield
        finally:
            for task in self._running:
                self.kill(task)

    def kill(self, task: str) -> None:
        self._running[task].kill()
        self._running[task].wait()

    def signal(self, task: str, number: int) -> None:
        self._running[task].send_signal(number)

    def ended(self, task: str, seconds: float) -> int:
        """Return the exit code of a task; raises CaptchaError where it has none in time."""
        try:
            return self._running[task].wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise CaptchaError(f"{task} does not end: {self.said(task)[-800:]}") from error

    def log(self, task: str) -> Path:
        return self._folder / f"{task.replace(':', '-')}.log"

    def said(self, task: str) -> str:
        return self.log(task).read_text(encoding="utf-8", errors="replace")

    def wait(self, task: str, seconds: float, come: Callable[[str], bool], what: str) -> float:
        """Wait until what a task has said is as wished; return how many seconds it took."""
        began_s = time.monotonic()
        while not come(self.said(task)):
            if time.monotonic() > began_s + seconds:
                said = "\n".join(f"{known}: {self.said(known)[-800:]}" for known in self.tasks)
                raise CaptchaError(f"{what} within {seconds:.0f} s\n{said}")
            time.sleep(0.1)
        return time.monotonic() - began_s
