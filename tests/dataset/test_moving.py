"""Images that are moved: none is lost, duplicated or overwritten, whatever happens."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from cnnlib.console import CONSOLE
from cnnlib.dataset import moving
from cnnlib.dataset.splitting import recover_moves
from cnnlib.errors import SampleError
from cnnlib.paths import PROJECT_ROOT
from tests.helpers import Folders


def other_device(rename):
    """Make os.rename refuse to move between folders, as between file systems."""

    def refusing(source, target):
        if os.path.dirname(source) != os.path.dirname(target):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target)

    return refusing


def test_split_across_file_systems_keeps_content_and_time(folders, monkeypatch):
    folders.fill(40)
    os.utime(folders.origin / "0003_x.png", (1_000_000, 1_000_000))
    before = folders.contents()
    monkeypatch.setattr(os, "rename", other_device(os.rename))
    folders.split()
    origin, train, test = folders.names()
    assert (len(origin), len(train), len(test)) == (0, 38, 2)
    assert folders.contents() == before
    [moved] = [p for p in (folders.train / "0003_x.png", folders.test / "0003_x.png") if p.exists()]
    assert moved.stat().st_mtime == 1_000_000


def test_full_disk_leaves_the_image_where_it_was(folders, monkeypatch):
    folders.fill(3)
    before = folders.contents()
    monkeypatch.setattr(os, "rename", other_device(os.rename))

    def full(source, copy):
        copy.write(b"00")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(SampleError, match="No space left on device; nothing is lost"):
        folders.split()
    assert folders.contents() == before and len(folders.names()[0]) == 3


@pytest.mark.skipif(os.name == "nt", reason="links need a special right on Windows")
def test_relative_link_arrives_as_the_image_it_shows(folders):
    folders.fill(1)
    kept = folders.origin.parent / "kept.png"
    (folders.origin / "0000_x.png").rename(kept)
    (folders.origin / "0000_x.png").symlink_to("../kept.png")
    folders.train = folders.train / "deeper"
    folders.split()
    assert (folders.train / "0000_x.png").read_text() == kept.read_text() == "0000_x.png"


# Runs a split and kills itself, as kill -9 would, at the step with the given number; a step is
# each moment before and after a change on disk, and the middle of a copy.
KILLED = """
import errno, os, shutil, signal, sys, time
from cnnlib.dataset.splitting import split
origin, train, test, kill_at, across, pause_s = sys.argv[1:]
step = 0
def moment():
    global step
    step += 1
    time.sleep(float(pause_s))
    if step == int(kill_at):
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
def watched(function):
    def call(*args, **options):
        moment()
        function(*args, **options)
        moment()
    return call
def half_copy(source, copy):
    data = source.read()
    copy.write(data[:len(data) // 2])
    copy.flush()
    moment()
    copy.write(data[len(data) // 2:])
real = os.rename
def rename(source, target):
    if across == "True" and os.path.dirname(source) != os.path.dirname(target):
        raise OSError(errno.EXDEV, "other device")
    real(source, target)
os.rename, os.unlink, os.fsync = watched(rename), watched(os.unlink), watched(os.fsync)
shutil.copyfileobj = half_copy
split(origin, train, test, [])
"""


def start_split(folders, kill_at, across, pause_s=0.0):
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            KILLED,
            folders.origin,
            folders.train,
            folders.test,
            str(kill_at),
            str(across),
            str(pause_s),
        ],
        cwd=PROJECT_ROOT,
        stdout=subprocess.DEVNULL,
    )


def assert_nothing_lost_or_duplicated(folders, before, monkeypatch, across):
    assert set(before) <= set(folders.contents()), "lost at the moment of the kill"
    if across:
        monkeypatch.setattr(os, "rename", other_device(os.rename))
    folders.split()
    assert folders.contents() == before
    origin, train, test = folders.names()
    assert origin == [] and sorted(train + test) == sorted(before)
    assert len(test) >= 1


# One move across takes 10 steps: 1 rename refused, 2 copy, 3-4 fsync, 5-6 rename to .moving,
# 7-8 rename of the copy, 9-10 unlink. Those of the second image are tried, each.
@pytest.mark.parametrize(
    ("across", "kill_at"), [(False, 1), (False, 20), *((True, 10 + step) for step in range(1, 11))]
)
def test_killed_at_any_step_and_run_again(folders, monkeypatch, across, kill_at):
    before = folders.fill(25).contents()
    killed = start_split(folders, kill_at, across)
    assert killed.wait() == -signal.SIGKILL if os.name != "nt" else killed.wait() != 0
    assert_nothing_lost_or_duplicated(folders, before, monkeypatch, across)


@pytest.mark.parametrize("across", [False, True])
def test_killed_from_outside_and_run_again(folders, monkeypatch, across):
    before = folders.fill(60).contents()
    running = start_split(folders, 0, across, pause_s=0.002)
    while running.poll() is None and len(folders.names()[1]) < 20:
        time.sleep(0.001)
    running.kill()
    assert running.wait() != 0
    assert len(folders.names()[0]) > 0
    assert_nothing_lost_or_duplicated(folders, before, monkeypatch, across)


def test_interrupted_move_never_replaces_another_image(folders, capsys):
    folders.fill(1)
    (folders.origin / ".0000_x.png.moving").write_text("another")
    recover_moves(folders.origin, folders.train, folders.test)
    assert folders.names()[0] == [".0000_x.png.moving", "0000_x.png"]
    assert "rename one of them" in capsys.readouterr().err
    folders.train.mkdir()
    (folders.origin / "0000_x.png").rename(folders.train / "0000_x.png")
    recover_moves(folders.origin, folders.train, folders.test)
    assert folders.contents() == {"another": 1, "0000_x.png": 1}


def test_name_that_is_taken_is_reported_and_nothing_is_overwritten(tmp_path, capsys):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("new")
    target.write_text("old")
    assert moving.move(source, target, CONSOLE) is False
    assert capsys.readouterr().out == f"{source} is not moved: {target} exists\n"
    assert (source.read_text(), target.read_text()) == ("new", "old")
    assert moving.move(source, tmp_path / "free", CONSOLE) is True
    assert moving.move(source, tmp_path / "other", CONSOLE) is False  # it has vanished


@pytest.mark.skipif(os.name == "nt", reason="Windows has no locks on folders")
def test_second_run_at_the_same_time_is_refused(folders):
    import fcntl

    folders.fill(3)
    folders.train.mkdir()
    descriptor = os.open(folders.train, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(SampleError, match="another run moves files into"):
            folders.split()
    finally:
        os.close(descriptor)
    folders.split()
    assert folders.names()[0] == []


@pytest.mark.skipif(os.name == "nt", reason="folders have no read-only mode on Windows")
@pytest.mark.parametrize(
    ("locked", "expected"),
    [
        ("root", "cannot be made: Permission denied"),
        ("train", "nothing is lost. Make both folders writable"),
        ("origin", "nothing is lost. Make both folders writable"),
    ],
)
def test_read_only_folder_is_reported_and_nothing_is_lost(locked, expected):
    root = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    is_root = os.geteuid() == 0
    try:
        folders = Folders(root).fill(5)
        before = folders.contents()
        if locked != "root":
            folders.train.mkdir()
            folders.test.mkdir()
        for folder in (root, *root.iterdir()):
            folder.chmod(0o777)
        (root if locked == "root" else root / locked).chmod(0o555)
        if is_root:
            os.seteuid(65534)  # root may write everywhere
        try:
            with pytest.raises(SampleError, match=expected):
                folders.split()
        finally:
            if is_root:
                os.seteuid(0)
        assert folders.contents() == before
    finally:
        for folder in (root, *root.iterdir()):
            folder.chmod(0o777)
        shutil.rmtree(root)
