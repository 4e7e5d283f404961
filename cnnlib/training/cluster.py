"""Which machines train one network together, and which of them this process is.

The names are those of TensorFlow's cluster runtime: `ps` tasks (parameter servers) hold the
weights, `worker` tasks compute gradients, and the `chief` does so, too, and alone prints and saves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnlib.config_reader import read_json
from cnnlib.errors import ConfigError

VARIABLE = "TF_CONFIG"  # of the environment, in the form that TensorFlow defines
JOBS = ("chief", "worker", "ps")
PATIENCE_S = 300.0
EXAMPLE = '{"chief": ["10.0.0.1:2222"], "worker": ["10.0.0.2:2222"], "ps": ["10.0.0.1:2223"]}'


@dataclass(frozen=True)
class Cluster:
    """The addresses "host:port" of the tasks of each job, and which task this process is.

    `patience_s` is how long the chief waits for a worker before it saves and ends. Raises
    ConfigError for a cluster that cannot train.
    """

    addresses: Mapping[str, tuple[str, ...]]
    job: str
    index: int
    patience_s: float = PATIENCE_S

    def __post_init__(self) -> None:
        _check_jobs(self.addresses)
        tasks = self.addresses.get(self.job, ())
        if not 0 <= self.index < len(tasks):
            named = [
                f"{job}:{i}" for job, known in self.addresses.items() for i in range(len(known))
            ]
            raise ConfigError(
                f"task {self.name} is not in the cluster: name one of {', '.join(named)}"
            )

    @property
    def name(self) -> str:
        return f"{self.job}:{self.index}"

    @property
    def address(self) -> str:
        return self.addresses[self.job][self.index]

    @property
    def jobs(self) -> dict[str, list[str]]:
        """The addresses as tf.train.ClusterSpec takes them."""
        return {job: list(tasks) for job, tasks in self.addresses.items() if tasks}

    @property
    def is_ps(self) -> bool:
        return self.job == "ps"

    @property
    def is_chief(self) -> bool:
        return (self.job, self.index) == self._replicas[0]

    @property
    def position(self) -> int:
        """The place of this task among those that compute gradients; the chief has 0."""
        return self._replicas.index((self.job, self.index))

    @property
    def replicas(self) -> int:
        """How many tasks compute gradients."""
        return len(self._replicas)

    def replica_at(self, position: int) -> str:
        """Return in words which task that is."""
        job, index = self._replicas[position]
        return f"{job}:{index} at {self.addresses[job][index]}"

    @property
    def _replicas(self) -> list[tuple[str, int]]:
        return [(job, i) for job in JOBS[:2] for i in range(len(self.addresses.get(job, ())))]


def read_cluster(
    file: Path | None, task: str | None, patience_s: float | None = None
) -> Cluster | None:
    """Return the cluster of a JSON file and a task such as "worker:1", or else of TF_CONFIG.

    None where there is neither, or where TF_CONFIG names this process alone. Raises ConfigError
    for anything else that cannot train.
    """
    patience_s = PATIENCE_S if patience_s is None else patience_s
    if file is not None and task is not None:
        job, _, index = task.partition(":")
        return _cluster(read_json(file, "--cluster"), job, index or "0", patience_s, str(file))
    if file is not None or task is not None:
        raise ConfigError("--cluster and --task go together: which machines, and which one this is")
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    try:
        given = json.loads(text)
        own = given["task"]
        job, index = str(own["type"]), own["index"]
        tasks = sum(len(listed) for listed in given.get("cluster", {}).values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{VARIABLE} must be such as "
            f'{{"cluster": {EXAMPLE}, "task": {{"type": "worker", "index": 0}}}} '
            f"({type(error).__name__}: {error}): correct it, or remove it from the environment"
        ) from error
    if tasks == 1 and job != "ps":
        return None  # job systems set it for single machines, too
    return _cluster(given, job, index, patience_s, VARIABLE)


def _cluster(given: Any, job: str, index: Any, patience_s: float, source: str) -> Cluster:
    try:
        jobs = given.get("cluster", given)
        addresses = {name: _listed(tasks) for name, tasks in jobs.items() if name != "task"}
        return Cluster(addresses, job, int(index), patience_s)
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{source}: the cluster must be an object such as {EXAMPLE}, and the task one such as "
            f"worker:0 ({error})"
        ) from error
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


def _listed(tasks: Any) -> tuple[str, ...]:
    """Return the addresses of a job; TensorFlow also takes an object of them by index."""
    if isinstance(tasks, dict):
        tasks = [tasks[index] for index in sorted(tasks, key=int)]
    if not isinstance(tasks, list):
        raise TypeError(f"{tasks!r} must be a list of addresses")
    return tuple(map(str, tasks))


def _check_jobs(addresses: Mapping[str, tuple[str, ...]]) -> None:
    unknown = sorted(set(addresses) - set(JOBS))
    if unknown:
        raise ConfigError(f"job {unknown[0]!r} is not one of {', '.join(JOBS)}")
    if not addresses.get("ps"):
        raise ConfigError(f"the cluster has no ps, which holds the weights: name one, as {EXAMPLE}")
    if not addresses.get("chief") and not addresses.get("worker"):
        raise ConfigError(f"the cluster has no chief and no worker: name some, as {EXAMPLE}")
    if len(addresses.get("chief", ())) > 1:
        raise ConfigError("the cluster has several chiefs: name one, and the others as workers")
    known = [address for tasks in addresses.values() for address in tasks]
    for address in known:
        host, _, port = address.rpartition(":")
        if not host or ":" in host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ConfigError(
                f"{address!r} must be a host or IPv4 address and a port: 10.0.0.1:2222"
            )
        if known.count(address) > 1:
            raise ConfigError(f"{address} is the address of two tasks: give each its own port")
