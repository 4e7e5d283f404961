"""Images that are moved: none is lost, duplicated or overwritten, whatever happens."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from cnnlib.console import CONSOLE
from cnnlib.dataset import moving
from cnnlib.errors import SampleError
from cnnlib.paths import PROJECT_ROOT
from tests.crashes import other_device
from tests.dataset.helpers import WAYS
from tests.helpers import Folders


# How images get from one folder to another: by links, or by copies, which stay in one folder until
# they are whole where that has links.
def test_split_across_file_systems_keeps_content_and_time(folders, monkeypatch):
    folders.fill(40)
    os.utime(folders.origin / "0003_x.png", (1_000_000, 1_000_000))
    before = folders.contents()
    other_device(monkeypatch)
    folders.split()
    origin, train, test = folders.names()
    assert (len(origin), len(train), len(test)) == (0, 38, 2)
    assert folders.contents() == before
    [moved] = [p for p in (folders.train / "0003_x.png", folders.test / "0003_x.png") if p.exists()]
    assert moved.stat().st_mtime == 1_000_000


def another_device(path):
    """Return a folder in memory, which is another file system, or skip the test."""
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == path.stat().st_dev:
        pytest.skip("needs a second file system")
    return tempfile.TemporaryDirectory(dir="/dev/shm")


def test_split_across_two_real_file_systems(folders, tmp_path):
    with another_device(tmp_path) as other:
        folders.train, folders.test = Path(other) / "train", Path(other) / "test"
        before = folders.fill(40).contents()
        folders.split()
        assert folders.contents() == before and folders.names()[0] == []


def test_full_disk_leaves_the_image_where_it_was(folders, monkeypatch):
    folders.fill(3)
    before = folders.contents()
    other_device(monkeypatch)

    def full(source, copy):
        copy.write(b"00")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(SampleError, match=f"{folders.train}.*No space left on device; nothing is"):
        folders.split()
    assert folders.contents() == before and len(folders.names()[0]) == 3


def test_full_disk_where_nothing_can_be_written_down(folders, monkeypatch):
    before = folders.fill(3).contents()
    monkeypatch.setattr(
        json, "dump", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full"))
    )
    with pytest.raises(
        SampleError, match=f"out of {folders.origin}: full; nothing is lost. .*free"
    ):
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


# --- names that are taken ---


def test_name_that_is_taken_is_reported_and_nothing_is_overwritten(tmp_path, capsys):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("new")
    target.write_text("old")
    assert moving.move(source, target, CONSOLE) is False
    assert capsys.readouterr().out == f"{source} is not moved: {target} exists\n"
    assert (source.read_text(), target.read_text()) == ("new", "old")
    assert moving.move(source, tmp_path / "free", CONSOLE) is True
    assert moving.move(source, tmp_path / "other", CONSOLE) is False  # it has vanished
    assert moving.move(tmp_path / "no folder" / "x", tmp_path / "other", CONSOLE) is False


@pytest.mark.parametrize("way", WAYS, indirect=True)
@pytest.mark.parametrize("change", ["link", "rename", "replace"])
def test_name_that_is_taken_at_the_last_moment_is_not_overwritten(
    folders, monkeypatch, capsys, way, change
):
    before = folders.fill(1).contents()
    target = folders.train / "0000_x.png"
    real = getattr(os, change)

    def too_late(source, to, **options):
        if os.fspath(to) == os.fspath(target):
            thread = threading.Thread(target=target.write_text, args=("another program's",))
            thread.start()
            thread.join()
        real(source, to, **options)

    monkeypatch.setattr(os, change, too_late)
    folders.split()
    if target.read_text() == "another program's":
        assert f"{folders.origin / '0000_x.png'} is not moved: " in capsys.readouterr().out
        assert folders.contents() == {**before, "another program's": 1}
    else:
        assert folders.contents() == before  # the change is not made in this way of moving
        assert change != "link"
    assert not [name for name in sum(folders.names(), []) if name.startswith(".")]


MOVING = """
import sys, time
from pathlib import Path
from cnnlib.console import SilentReporter
from cnnlib.dataset import moving
source, target, start = map(Path, sys.argv[1:])
while not start.exists():
    time.sleep(0.001)
for path in sorted(source.iterdir()):
    moving.move(path, target / path.name, SilentReporter())
"""


def test_two_programs_that_move_to_the_same_names_lose_nothing(tmp_path):
    target, start = tmp_path / "target", tmp_path / "start"
    target.mkdir()
    sources = [tmp_path / "one", tmp_path / "two"]
    for source in sources:
        source.mkdir()
        for i in range(50):
            (source / f"{i:02d}_x.png").write_text(f"{source.name} {i}")
    running = [
        subprocess.Popen([sys.executable, "-c", MOVING, source, target, start], cwd=PROJECT_ROOT)
        for source in sources
    ]
    start.touch()
    assert [process.wait() for process in running] == [0, 0]
    found = sorted(path.read_text() for folder in (*sources, target) for path in folder.iterdir())
    assert found == sorted(f"{source.name} {i}" for source in sources for i in range(50))
    assert len(list(target.iterdir())) == 50


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="makes a file immutable")
def test_image_that_cannot_be_removed_stays_where_it_was(folders):
    before = folders.fill(2).contents()
    image = folders.origin / "0000_x.png"
    if subprocess.run(["chattr", "+i", image], capture_output=True).returncode:
        pytest.skip("the file system has no such attribute")
    try:
        with pytest.raises(SampleError, match=f"cannot move {image} to .*nothing is lost"):
            folders.split()
        assert folders.contents() == before and folders.names()[0] == ["0000_x.png"]
    finally:
        subprocess.run(["chattr", "-i", image], check=True)


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
