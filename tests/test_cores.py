"""The cores that a process may use: its affinity, and the quotas of its container."""

from __future__ import annotations

import os

import pytest

from cnnlib.cores import usable_cores

V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/cpu,cpuacct"
V1_LINES = "9:name=systemd:/docker/abc\n4:cpu,cpuacct:/docker/abc\n3:cpuset:/docker/abc\n"


@pytest.fixture(autouse=True)
def affinity(monkeypatch):
    """A machine whose scheduler allows this process 8 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.fixture
def root(tmp_path):
    """Return root(files) -> the folder that holds these files: a system as the kernel shows it."""

    def make(files):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="ascii")
        return tmp_path

    return make


def v1(folder, quota, period=100_000):
    return {
        f"{folder}/cpu.cfs_quota_us": f"{quota}\n",
        f"{folder}/cpu.cfs_period_us": f"{period}\n",
    }


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("200000 100000", 2),
        ("150000 100000", 2),  # rounded up
        ("10000 100000", 1),
        ("5000000 100000", 8),  # more than the affinity allows
        ("max 100000", 8),
        ("100000 0", 8),
        ("", 8),
    ],
)
def test_quota_of_version_2(root, limit, expected):
    files = {"proc/self/cgroup": "0::/user.slice/shell\n"}
    files |= {f"{V2}/user.slice/shell/cpu.max": f"{limit}\n"}
    assert usable_cores(root(files)) == expected


@pytest.mark.parametrize(
    ("above", "own", "expected"), [("3", "6", 3), ("6", "3", 3), ("max", "5", 5)]
)
def test_tightest_of_nested_groups_counts(root, above, own, expected):
    def limit(cores):
        return f"{cores}00000 100000" if cores != "max" else "max 100000"

    files = {"proc/self/cgroup": "0::/system.slice/api.service/worker\n"}
    files |= {f"{V2}/system.slice/cpu.max": limit(above)}
    files |= {f"{V2}/system.slice/api.service/worker/cpu.max": limit(own)}
    assert usable_cores(root(files)) == expected


def test_container_of_version_2_sees_its_group_as_the_root(root):
    files = {"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "300000 100000\n"}
    assert usable_cores(root(files)) == 3


@pytest.mark.parametrize(("quota", "expected"), [(250_000, 3), (-1, 8)])
def test_quota_of_version_1(root, quota, expected):
    files = {"proc/self/cgroup": V1_LINES} | v1(f"{V1}/docker/abc", quota)
    assert usable_cores(root(files)) == expected


def test_tighter_parent_of_version_1_counts(root):
    files = {"proc/self/cgroup": V1_LINES}
    files |= v1(f"{V1}/docker/abc", 400_000) | v1(f"{V1}/docker", 200_000) | v1(V1, -1)
    assert usable_cores(root(files)) == 2


def test_container_of_version_1_whose_group_has_the_path_of_the_host(root):
    files = {"proc/self/cgroup": V1_LINES} | v1(V1, 200_000)
    assert usable_cores(root(files)) == 2


def test_version_1_with_the_controller_mounted_alone(root):
    files = {"proc/self/cgroup": "1:cpu:/\n0::/\n"} | v1("sys/fs/cgroup/cpu", 300_000)
    assert usable_cores(root(files)) == 3


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": ""},
        {"proc/self/cgroup": "0::/nowhere\n"},
        {"proc/self/cgroup": V1_LINES},
        {"proc/self/cgroup": V1_LINES, f"{V1}/cpu.cfs_quota_us": "100000\n"},
        {"proc/self/cgroup": "5:memory:/a\n", f"{V2}/a/cpu.max": "100000 100000\n"},
    ],
)
def test_without_a_quota_the_affinity_counts(root, files):
    assert usable_cores(root(files)) == 8


def test_without_affinity_all_cores_count(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert usable_cores(tmp_path) == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores(tmp_path) == 1
