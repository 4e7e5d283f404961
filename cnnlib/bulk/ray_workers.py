"""Who recognises the images of a bulk run: processes on one or several machines, through Ray.

Each holds the model, loaded once, and uses one core. One that is killed is started again by Ray,
here or on another machine, and gets its images again; the rows are written by this process alone.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cnnlib.bulk.answers import Row
from cnnlib.bulk.downloads import Downloads
from cnnlib.bulk.order import Item
from cnnlib.bulk.workers import fetched, identity_of, read_items
from cnnlib.config import SampleConfig
from cnnlib.errors import CaptchaError, ServiceError
from cnnlib.packages import importing, require
from cnnlib.paths import PROJECT_ROOT
from cnnlib.runtimes import load_recognizer

CHUNKS_PER_WORKER = 2  # one is read while the next one is on its way
TRIES = 5  # of a chunk whose worker dies
POLL_S = 0.5
KNOCK_S = 5.0
HERE = "here"


class _Reader:
    """What a worker holds: the model."""

    def __init__(self, config: SampleConfig) -> None:
        self._reader = load_recognizer(config)

    def identity(self) -> dict[str, Any]:
        return identity_of(self._reader)

    def process(self) -> int:
        return os.getpid()

    def recognize(self, items: Sequence[Item]) -> list[Row]:
        return read_items(self._reader, items)


class RayWorkers:
    """Workers of a Ray cluster: at an address, or HERE, one started for this run on this machine.

    `count` is how many, one for each core by default. Raises MissingPackageError where Ray is not
    installed, ServiceError where no cluster is at the address or none of it has a free core, and
    what `load_recognizer` raises. Images out of archives and from the network go to the workers
    from here; files are read by the workers, under the same paths.
    """

    def __init__(self, config: SampleConfig, address: str = HERE, count: int | None = None) -> None:
        require("ray")
        # Ray reports to its makers, unless this is set before it is started.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        with importing("ray"):
            import ray
        self._ray = ray
        self._start(address, count)
        count = count or max(1, int(ray.cluster_resources().get("CPU", 1)))
        kind = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=TRIES)(_Reader)
        self._workers = [kind.remote(config) for _ in range(count)]
        self.threads = CHUNKS_PER_WORKER * count
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for worker in self._workers * CHUNKS_PER_WORKER:
            self._free.put(worker)
        self._downloads = Downloads()
        self._stopped = threading.Event()
        self._identity: dict[str, Any] = self._result(self._workers[0].identity.remote())

    def _start(self, address: str, count: int | None) -> None:
        try:
            _knock(address)
            self._ray.init(
                address=None if address == HERE else address,
                num_cpus=count if address == HERE else None,
                include_dashboard=False if address == HERE else None,
                runtime_env={"env_vars": {"PYTHONPATH": _search_path()}},
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise ServiceError(
                f"no Ray cluster at {address} ({error}): start one with `ray start --head`, or "
                "give --ray without an address, which starts one on this machine"
            ) from error

    def identity(self) -> dict[str, Any]:
        return self._identity

    def processes(self) -> list[int]:
        """Return the process ids of the workers, each on its machine."""
        return [self._result(worker.process.remote()) for worker in self._workers]

    def recognize(self, items: Sequence[Item]) -> list[Row]:
        items = fetched(items, self._downloads)
        worker = self._free.get()
        try:
            rows: list[Row] = self._result(worker.recognize.remote(items))
            return rows
        finally:
            self._free.put(worker)

    def _result(self, reference: Any) -> Any:
        while not self._stopped.is_set():
            done, _ = self._ray.wait([reference], timeout=POLL_S)
            if done:
                return self._get(reference)
        raise ServiceError("the workers are stopped")

    def _get(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, CaptchaError):
                raise error.cause from None
            raise
        except self._ray.exceptions.RayError as error:
            raise ServiceError(
                f"a worker of Ray has died again and again ({type(error).__name__}): see its logs, "
                "such as for memory that ran out. The same command goes on"
            ) from error

    def stop(self) -> None:
        self._stopped.set()
        self._downloads.stop()

    def close(self) -> None:
        self._ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT: Ray itself would try for minutes."""
    parts = urlsplit(address if "//" in address else f"//{address}")
    if parts.hostname and parts.port:
        socket.create_connection((parts.hostname, parts.port), KNOCK_S).close()


def _search_path() -> str:
    """Return PYTHONPATH for the workers, with this project in it."""
    return os.pathsep.join(filter(None, [str(Path(PROJECT_ROOT)), os.environ.get("PYTHONPATH")]))
