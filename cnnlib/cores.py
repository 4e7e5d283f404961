"""How many cores this process may use: its affinity and the CPU quota of its container."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

ROOT = Path("/")


def usable_cores(root: Path = ROOT) -> int:
    """Return the number of cores for threads and workers, at least 1.

    A quota of a cgroup (version 1 or 2) counts, rounded up; so do those of the groups above it.
    """
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return max(1, min([allowed, *map(math.ceil, _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quotas of all groups that this process is in, in cores."""
    for folder in _group_folders(root):
        with suppress(OSError, ValueError, ZeroDivisionError):  # "max" or -1: no limit
            limit, period = _limit_and_period(folder)
            if limit > 0:
                yield limit / period


def _limit_and_period(folder: Path) -> tuple[int, int]:
    if (folder / "cpu.max").exists():
        limit, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return int(limit), int(period)
    limit, period = (
        (folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period")
    )
    return int(limit), int(period)


def _group_folders(root: Path) -> Iterator[Path]:
    """Yield the folders of this process's groups, and of those above them.

    /proc/self/cgroup has lines `0::/group` (version 2) and `4:cpu,cpuacct:/group` (version 1). In a
    container the group may be named as the host sees it: then only the mounted root exists.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, group = line.split(":", 2)
        if number == "0" and not controllers:
            mounts = [root / "sys/fs/cgroup"]
        elif "cpu" in controllers.split(","):
            mounts = [root / "sys/fs/cgroup" / name for name in (controllers, "cpu")]
        else:
            continue
        path = PurePosixPath(group.lstrip("/"))
        for mount in mounts:
            yield from (mount / above for above in (path, *path.parents))
