"""A folder gets no more files than its limit, from whatever number of processes and threads."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from cnnlib.files import store_image
from cnnlib.paths import PROJECT_ROOT
from cnnlib.serving import quota as quota_module
from cnnlib.serving.quota import FileQuota, _Count
from tests.helpers import names_in

fcntl = pytest.importorskip("fcntl", reason="file systems without locks are simulated on POSIX")

# Writes COUNT images to FOLDER, as soon as a line comes from stdin; says how many were dropped.
WRITER = """
import errno, fcntl, sys

folder, limit, count, name, failure = sys.argv[1:]
if failure:
    def flock(*_):
        raise OSError(getattr(errno, failure), "no locks here")
    fcntl.flock = flock

from cnnlib.serving.uploads import UploadStore

dropped = []
store = UploadStore(folder, "png", int(limit), on_drop=dropped.append)
print("ready", flush=True)
sys.stdin.readline()
for serial in range(int(count)):
    store.save(b"image", name, str(serial))
store.close()
print(len(dropped))
"""


def write_from_processes(folder, limit, count, processes=3, failure=""):
    """Return how many images were dropped by all; they start at the same moment."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, folder, str(limit), str(count), name, failure],
            cwd=PROJECT_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        for name in "abcdefgh"[:processes]
    ]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0] * processes, outputs
    return sum(int(out) for out, _ in outputs), [err for _, err in outputs]


@pytest.fixture
def adder(tmp_path):
    """Return new(limit) -> add(), which adds a file to the folder `api` and says whether it did."""
    number = iter(range(1_000_000))

    def new(limit, recount_s=60.0, folder=tmp_path / "api"):
        quota = FileQuota(folder, limit, recount_s=recount_s)
        return lambda: quota.add(lambda: store_image(b"", folder, f"{next(number)}.png"))

    return new


@pytest.fixture
def scans(monkeypatch):
    """The folders that were counted file by file."""
    found, scandir = [], os.scandir

    def counted(folder):
        found.append(folder)
        return scandir(folder)

    monkeypatch.setattr(quota_module.os, "scandir", counted)
    return found


@pytest.mark.parametrize(("limit", "count"), [(5, 4), (5, 50), (100, 50), (1, 20)])
def test_limit_holds_for_all_processes_together(tmp_path, limit, count):
    folder = tmp_path / "api"
    dropped, _ = write_from_processes(folder, limit, count)
    assert len(names_in(folder)) == limit and dropped == 3 * count - limit
    # Nothing else is left in it, and more processes find it full.
    assert all(name.endswith(".png") for name in names_in(folder))
    assert write_from_processes(folder, limit, 3)[0] == 9


def test_limit_holds_for_threads_and_for_several_stores_of_a_process(tmp_path, adder):
    adders = [adder(100) for _ in range(3)]
    with ThreadPoolExecutor(12) as pool:
        added = list(pool.map(lambda number: adders[number % 3](), range(300)))
    assert sum(added) == len(names_in(tmp_path / "api")) == 100


def test_killed_writer_leaves_no_lock_and_no_wrong_count(tmp_path, adder):
    program = (
        "import os\n"
        "from cnnlib.files import store_image\n"
        "from cnnlib.serving.quota import FileQuota\n"
        "def write():\n"
        f"    store_image(b'', {str(tmp_path / 'api')!r}, 'a.png')\n"
        "    os._exit(9)\n"
        f"FileQuota({str(tmp_path / 'api')!r}, 3, recount_s=60).add(write)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=PROJECT_ROOT).returncode == 9
    add = adder(3)
    assert [add() for _ in range(3)] == [True, True, False]


# --- what others do to the folder ---


def test_files_that_others_put_in_count(tmp_path, adder):
    add = adder(10)
    assert add() and add()
    for name in "abcdef":
        (tmp_path / "api" / name).touch()
    assert [add() for _ in range(4)] == [True, True, False, False]


def test_files_that_others_move_away_make_room_at_once(tmp_path, adder):
    add = adder(3)
    assert [add() for _ in range(4)] == [True, True, True, False]
    (tmp_path / "api" / names_in(tmp_path / "api")[0]).rename(tmp_path / "moved.png")
    assert [add() for _ in range(2)] == [True, False]


def test_change_in_the_very_tick_of_a_write_is_noticed(tmp_path, adder):
    add = adder(1000)
    for number in range(300):
        assert add()
        (tmp_path / "api" / f"theirs{number}").touch()  # at once, where the clock has hardly moved
    for _ in range(1000):
        add()
    assert len(names_in(tmp_path / "api")) == 1000


def test_full_folder_is_counted_again_after_a_while_whatever_its_time_says(tmp_path, adder):
    folder = tmp_path / "api"
    add = adder(2, recount_s=0.0)
    assert add() and add() and not add()
    before = os.stat(folder)
    (folder / names_in(folder)[0]).unlink()
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))  # as FAT would keep it
    assert add()


def test_folder_without_times_of_change_keeps_the_limit(tmp_path, adder, monkeypatch):
    monkeypatch.setattr(
        FileQuota, "_observe", lambda self, files, counted: _Count(files, counted, 0, 0, 0)
    )
    first, second = adder(40), adder(40)
    for number in range(8):
        assert first() and second()
        (tmp_path / "api" / f"theirs{number}").touch()  # unseen until the next count
    for _ in range(30):
        first(), second()
    assert len(names_in(tmp_path / "api")) == 40


def test_sub_folders_do_not_count(tmp_path, adder):
    for name in ("old", "older"):
        (tmp_path / "api" / name).mkdir(parents=True)
    add = adder(1)
    assert add() and not add()


def test_folder_that_is_removed_is_empty_again(tmp_path, adder):
    add = adder(1)
    assert add() and not add()
    (tmp_path / "api").rename(tmp_path / "kept")
    assert add() and not add()
    assert len(names_in(tmp_path / "api")) == len(names_in(tmp_path / "kept")) == 1


def test_links_to_the_folder_lead_to_the_same_count(tmp_path, adder):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link").symlink_to(tmp_path / "link")
    adders = [adder(3, folder=tmp_path / name) for name in ("real", "link", "elsewhere/link")]
    assert sum(add() for add in adders * 3) == 3
    assert names_in(tmp_path / "elsewhere") == ["link"]


# --- what it costs ---


def test_many_files_are_not_counted_for_each_image(tmp_path, adder, scans):
    folder = tmp_path / "api"
    folder.mkdir()
    for number in range(2000):
        (folder / f"there{number}").touch()
    adders = [adder(3000) for _ in range(3)]
    for _ in range(100):
        assert all(add() for add in adders)
    assert len(scans) == 1
    assert sum(add() for add in adders * 400) == 700
    assert len(names_in(folder)) == 3000 and len(scans) < 12


def test_full_folder_is_not_counted_for_each_image(tmp_path, adder, scans):
    add = adder(2)
    assert add() and add()
    del scans[:]
    assert not any(add() for _ in range(100))
    assert len(scans) <= 1


def test_image_that_cannot_be_written_costs_no_count(tmp_path, adder, scans):
    quota = FileQuota(tmp_path / "api", 10, recount_s=60.0)

    def fail():
        (tmp_path / "api" / ".x.tmp").touch()
        (tmp_path / "api" / ".x.tmp").unlink()
        raise OSError("no space")

    add = adder(10)
    assert add()
    del scans[:]
    for _ in range(50):
        with pytest.raises(OSError, match="no space"):
            quota.add(fail)
    assert len(scans) <= 1 and add()


# --- where there are no locks ---


@pytest.mark.parametrize("failure", ["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
def test_without_locks_images_are_kept_up_to_the_limit_with_one_warning(tmp_path, failure):
    folder = tmp_path / "api"
    dropped, logs = write_from_processes(folder, 40, 30, failure=failure)
    saved = len(names_in(folder))
    assert saved <= 40 and saved + dropped == 90
    assert saved > 30  # and a process alone reaches it
    write_from_processes(folder, 40, 30, processes=1, failure=failure)
    assert len(names_in(folder)) == 40
    warnings = [log.count("no file lock for") for log in logs]
    assert max(warnings) == 1  # one that found the folder full at once has nothing to say


def test_without_locks_a_full_folder_is_not_counted_for_each_image(
    tmp_path, adder, scans, monkeypatch
):
    monkeypatch.setattr(fcntl, "flock", without_locks)
    add = adder(2)
    assert add() and add()
    del scans[:]
    assert not any(add() for _ in range(100))
    assert len(scans) <= 1


def without_locks(*_):
    raise OSError(errno.ENOLCK, "no locks here")


def test_locks_are_tried_again_later(tmp_path, adder, monkeypatch, caplog):
    monkeypatch.setattr(quota_module, "LOCK_RETRY_S", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", without_locks)
        add = adder(5)
        assert add() and add()
    assert add() and add() and add() and not add()
    assert caplog.text.count("no file lock for") == 1


def test_writer_that_holds_the_lock_for_ever_stops_nobody(tmp_path, adder, monkeypatch):
    monkeypatch.setattr(quota_module, "LOCK_WAIT_S", 0.1)
    add = adder(2)
    assert add()
    [lock] = (tmp_path / ".uploads").glob("*.lock")
    with lock.open("r+") as file, held(file):
        assert add() and not add()


@contextmanager
def held(file):
    fcntl.flock(file, fcntl.LOCK_EX)
    yield


def test_where_nothing_can_be_put_next_to_the_folder_the_lock_is_in_it(tmp_path, adder, caplog):
    (tmp_path / ".uploads").touch()  # as a folder above that is read-only
    adders = [adder(4), adder(4)]
    assert sum(add() for add in adders * 4) == 4
    assert [name for name in names_in(tmp_path / "api") if not name.endswith(".png")] == [
        ".uploads"
    ]
    assert not caplog.text


def test_limit_of_nothing_makes_no_folder(tmp_path, adder):
    assert not adder(0)()
    assert names_in(tmp_path) == []


def test_threads_wait_for_each_other_where_locks_belong_to_processes(tmp_path, adder, monkeypatch):
    """As on NFS: within a process, locking always succeeds."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    adders = [adder(20) for _ in range(4)]
    start = threading.Barrier(4)

    def many(add):
        start.wait(20)
        return sum(add() for _ in range(20))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(many, adders)) == len(names_in(tmp_path / "api")) == 20
