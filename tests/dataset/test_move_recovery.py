"""Moves that are stopped at any moment lose no image: the next run ends them."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from cnnlib.dataset import moving
from cnnlib.errors import SampleError
from cnnlib.paths import PROJECT_ROOT
from tests.crashes import Crash, changes_of, crash_at, fail_at, no_links, other_device
from tests.dataset.helpers import WAYS
from tests.helpers import Folders

# How images get from one folder to another: by links, or by copies, which stay in one folder until
# they are whole where that has links.
# --- stopped, and run again ---


def assert_nothing_lost_or_duplicated(folders, before):
    assert set(before) <= set(folders.contents()), "lost at the moment of the stop"
    folders.recover()
    assert folders.contents() == before, "not each once after the recovery"
    folders.split()
    origin, train, test = folders.names()
    assert folders.contents() == before
    assert origin == [] and sorted(train + test) == sorted(before)


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("way", WAYS, indirect=True)
def test_stopped_at_any_change_and_run_again(tmp_path, monkeypatch, way, done):
    monkeypatch.setattr(moving, "FILES_PER_RECORD", 3)
    for number in itertools.count(1):
        folders = Folders(tmp_path / f"{number}")
        before = folders.fill(5).contents()
        with monkeypatch.context() as patch:
            crash_at(patch, number, done=done)
            try:
                folders.split()
            except Crash:
                pass
            else:
                break
        assert_nothing_lost_or_duplicated(folders, before)
    assert number > 5 * 2, "each image is at least linked and removed"


@pytest.mark.parametrize("way", WAYS, indirect=True)
def test_disk_that_fails_at_any_change(tmp_path, monkeypatch, way):
    monkeypatch.setattr(moving, "FILES_PER_RECORD", 3)
    for number in itertools.count(1):
        folders = Folders(tmp_path / f"{number}")
        before = folders.fill(5).contents()
        with monkeypatch.context() as patch:
            fail_at(patch, number)
            try:
                folders.split()
            except SampleError as error:
                assert re.search("Input/output error; (nothing is lost. Make|make)", str(error))
            else:
                break
        assert_nothing_lost_or_duplicated(folders, before)
    assert number > 5 * 2


@pytest.mark.parametrize("way", WAYS, indirect=True)
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_recovery_that_is_stopped_at_any_change_goes_on_the_next_time(
    tmp_path, monkeypatch, way, done
):
    for number in itertools.count(1):
        folders = Folders(tmp_path / f"{number}")
        before = folders.fill(4).contents()
        with monkeypatch.context() as patch, pytest.raises(Crash):
            patch.setattr(moving, "_leave", raise_crash)
            patch.setattr(moving, "end_moves", raise_crash)
            folders.split()
        with monkeypatch.context() as patch:
            crash_at(patch, number, done=done)
            try:
                folders.recover()
            except Crash:
                pass
            else:
                break
        assert_nothing_lost_or_duplicated(folders, before)
    assert number > 4


def raise_crash(*_):
    raise Crash


@pytest.mark.parametrize("cut_off", [1, 2], ids=["copy", "copy of the copy"])
def test_copy_that_was_cut_off_is_removed(folders, monkeypatch, cut_off):
    before = folders.fill(3).contents()
    copies = []
    with monkeypatch.context() as patch, pytest.raises(Crash):

        def half(source, copy):
            copies.append(source.read())
            if len(copies) < cut_off:
                copy.write(copies[-1])
                return
            copy.write(copies[-1][:4])
            patch.setattr(os, "unlink", raise_crash)
            raise Crash

        no_links(patch)
        patch.setattr(shutil, "copyfileobj", half)
        folders.split()
    assert sum(name.endswith(".partial") for name in sum(folders.names(), [])) == 1
    assert_nothing_lost_or_duplicated(folders, before)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_old_name_goes_when_the_copy_and_its_name_are_on_the_disk(folders, monkeypatch):
    folders.fill(1)
    other_device(monkeypatch)
    for folder in (folders.train, folders.test):
        folder.mkdir()
    changes = changes_of(monkeypatch)
    folders.split()
    [link] = [i for i, (change, name) in enumerate(changes) if change == "link"]
    copy = changes[link + 1][1]
    assert changes[link - 1 :] == [
        ("fsync", copy),
        ("link", "0000_x.png"),
        ("unlink", copy),
        ("fsync", "train"),
        ("unlink", "0000_x.png"),
        ("fsync", "origin"),
        changes[-1],
    ]
    record = changes[-1][1]
    assert changes[: link - 1] == [("fsync", record), ("fsync", "origin")]
    assert changes[-1] == ("unlink", record)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_new_folder_outlasts_a_power_cut_too(folders, monkeypatch):
    folders.fill(1)
    changes = changes_of(monkeypatch)
    folders.split()
    made = changes.index(("fsync", folders.origin.parent.name))
    assert made < changes.index(("unlink", "0000_x.png"))


def test_project_that_was_renamed_meanwhile_is_recovered_as_well(folders, monkeypatch):
    before = folders.fill(4).contents()
    other_device(monkeypatch)
    with monkeypatch.context() as patch, pytest.raises(Crash):
        crash_at(patch, 6, done=True)
        folders.split()
    root = folders.origin.parent
    root.rename(root.with_name("renamed"))
    assert_nothing_lost_or_duplicated(Folders(root.with_name("renamed")), before)


def stopped_with_both_names(folders, monkeypatch):
    """Stop a split where all images have their new names, and still their old ones."""
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(moving, "_leave", raise_crash)
        folders.split()
    assert all(count == 2 for name, count in folders.contents().items() if name.endswith(".png"))


def test_project_that_was_copied_meanwhile_loses_no_image_to_the_first(folders, monkeypatch):
    before = folders.fill(4).contents()
    stopped_with_both_names(folders, monkeypatch)
    root = folders.origin.parent
    second = Folders(root.with_name("second"))
    shutil.copytree(root, second.origin.parent)
    shutil.rmtree(second.train)
    shutil.rmtree(second.test)
    folders.recover()
    assert_nothing_lost_or_duplicated(second, before)


@pytest.mark.skipif(os.name == "nt", reason="links need a special right on Windows")
@pytest.mark.parametrize("alias", ["folder", "image"])
def test_another_name_of_an_image_is_no_copy_of_it(folders, monkeypatch, alias):
    before = folders.fill(4).contents()
    stopped_with_both_names(folders, monkeypatch)
    shutil.rmtree(folders.train)
    shutil.rmtree(folders.test)
    if alias == "folder":
        folders.train.symlink_to(folders.origin)
    else:
        folders.train.mkdir()
        for name in before:
            (folders.train / name).symlink_to(folders.origin / name)
    folders.recover()
    assert {name: (folders.origin / name).read_text() for name in before} == {
        name: name for name in before
    }


def test_file_that_begins_as_an_image_is_not_taken_for_a_copy_that_was_cut_off(
    folders, monkeypatch
):
    folders.fill(2)
    stopped_with_both_names(folders, monkeypatch)
    shutil.rmtree(folders.train)
    folders.train.mkdir()
    (folders.train / "0001_x.png").write_text("0001")
    folders.recover()
    assert (folders.train / "0001_x.png").read_text() == "0001"
    assert (folders.origin / "0001_x.png").read_text() == "0001_x.png"


def test_only_copy_of_an_image_is_never_removed(folders, monkeypatch, capsys):
    folders.fill(1)
    other_device(monkeypatch)
    with monkeypatch.context() as patch, pytest.raises(Crash):
        crash_at(patch, 6, done=True)  # the copy is whole, and has no name yet
        folders.split()
    (folders.origin / "0000_x.png").unlink()
    for _ in range(2):
        folders.recover()
        assert folders.contents()["0000_x.png"] == 1
        assert "may be the only copy of" in capsys.readouterr().err
    [copy] = folders.train.iterdir()
    copy.rename(folders.train / "0000_x.png")
    folders.recover()
    assert folders.contents() == {"0000_x.png": 1} and capsys.readouterr().err == ""


def test_record_that_was_being_written_is_removed(folders):
    before = folders.fill(2).contents()
    (folders.origin / ".cnn_captcha-0123456789abcdef.moves").write_text('[["0000_x')
    assert_nothing_lost_or_duplicated(folders, before)


def test_interrupted_run_leaves_every_image_in_one_place(folders, monkeypatch):
    before = folders.fill(10).contents()
    link, links = os.link, []

    def interrupted(source, target):
        link(source, target)
        links.append(target)
        if len(links) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", interrupted)
    with pytest.raises(KeyboardInterrupt):
        folders.split()
    assert folders.contents() == before
    assert len(folders.names()[0]) == 6


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
real = os.link
def link(source, target):
    if across == "True" and os.path.dirname(source) != os.path.dirname(target):
        raise OSError(errno.EXDEV, "other device")
    real(source, target)
os.link, os.unlink, os.fsync = watched(link), watched(os.unlink), watched(os.fsync)
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


# The record of moves and the new folders are on the disk after some 10 steps; then an image takes 2
# for its link, and 2 for its old name. Across it takes 8: a link refused, a copy, fsync, link,
# unlink.
@pytest.mark.parametrize(
    ("across", "kill_at"),
    [(False, 1), (False, 20), (False, 80), *((True, n) for n in range(20, 29))],
)
def test_killed_at_any_step_and_run_again(folders, across, kill_at):
    before = folders.fill(25).contents()
    killed = start_split(folders, kill_at, across)
    assert killed.wait() == -signal.SIGKILL if os.name != "nt" else killed.wait() != 0
    assert_nothing_lost_or_duplicated(folders, before)


@pytest.mark.parametrize("across", [False, True])
def test_killed_from_outside_and_run_again(folders, across):
    before = folders.fill(60).contents()
    running = start_split(folders, 0, across, pause_s=0.002)
    while running.poll() is None and len(folders.names()[1]) < 20:
        time.sleep(0.001)
    running.kill()
    assert running.wait() != 0
    assert len(folders.names()[0]) > 0
    assert_nothing_lost_or_duplicated(folders, before)


# --- what version 3.0.0 left, and what is a user's own ---


def test_half_copy_of_version_3_0_0_is_removed(folders):
    before = folders.fill(2).contents()
    folders.train.mkdir()
    (folders.train / ".0001_x.png.partial").write_text("0001")
    assert_nothing_lost_or_duplicated(folders, before)


def test_image_that_version_3_0_0_had_copied_gets_its_name_back(folders):
    before = folders.fill(2).contents()
    folders.test.mkdir()
    (folders.origin / "0001_x.png").rename(folders.origin / ".0001_x.png.moving")
    (folders.test / ".0001_x.png.partial").write_text("0001_x.png")
    folders.recover()
    assert folders.names()[0] == ["0000_x.png", "0001_x.png"]
    assert_nothing_lost_or_duplicated(folders, before)


def test_image_that_version_3_0_0_had_moved_is_there_once(folders):
    before = folders.fill(2).contents()
    folders.train.mkdir()
    (folders.origin / "0001_x.png").rename(folders.origin / ".0001_x.png.moving")
    (folders.train / "0001_x.png").write_text("0001_x.png")
    folders.recover()
    assert folders.contents() == before and folders.names()[0] == ["0000_x.png"]


def test_move_of_version_3_0_0_to_a_name_with_the_label_is_ended(folders):
    folders.origin.mkdir(parents=True)
    (folders.origin / "labels.csv").write_text("photo.png,a/b\n")
    (folders.origin / ".photo.png.moving").write_text("photo")
    folders.train.mkdir()
    (folders.train / "a%2Fb_photo.png").write_text("photo")
    folders.recover()
    assert folders.names()[:2] == (["labels.csv"], ["a%2Fb_photo.png"])


def test_interrupted_move_never_replaces_another_image(folders, capsys):
    folders.fill(1)
    (folders.origin / ".0000_x.png.moving").write_text("another")
    folders.recover()
    assert folders.names()[0] == [".0000_x.png.moving", "0000_x.png"]
    assert "rename one of them" in capsys.readouterr().err
    folders.train.mkdir()
    (folders.origin / "0000_x.png").rename(folders.train / "0000_x.png")
    folders.recover()
    assert folders.contents() == {"another": 1, "0000_x.png": 1}
    assert "rename one of them" in capsys.readouterr().err


def test_files_of_the_user_stay_and_are_reported(folders, capsys):
    folders.fill(2)
    folders.train.mkdir()
    own = {
        folders.origin / ".notes.moving": "is it an image?",
        folders.origin / ".0001_x.png.partial": "0001_x.png",  # version 3.0.0 had copies elsewhere
        folders.train / ".0000_x.png.partial": "begins differently",
        folders.train / ".0007_x.png.partial": "0007",
        folders.train / ".0001_x.png.partial": "",
        folders.train / ".0001_x.png.moving": "0001_x.png",
        folders.train / "x.moves": "[]",
        folders.origin / ".cnn_captcha-notes.moves": "[]",
        folders.train / ".cnn_captcha-0123456789abcdef-0.partial": "of another origin",
    }
    for path, text in own.items():
        path.write_text(text)
    (folders.origin / ".folder.moving").mkdir()
    folders.split(*(path.name for path in own))
    assert {path: path.read_text() for path in own} == own
    err = capsys.readouterr().err
    for name in (".notes.moving", ".0000_x.png.partial", ".0007_x.png.partial"):
        assert name in err
    assert "rename it to notes if it is an image" in err and "delete it, unless it is yours" in err


@pytest.mark.skipif(os.name == "nt", reason="links need a special right on Windows")
def test_symbolic_link_to_an_image_is_no_copy_of_it(folders):
    folders.fill(1)
    folders.train.mkdir()
    (folders.origin / "0000_x.png").rename(folders.origin / ".0000_x.png.moving")
    (folders.train / "0000_x.png").symlink_to(folders.origin / ".0000_x.png.moving")
    folders.recover()
    assert (folders.origin / ".0000_x.png.moving").read_text() == "0000_x.png"
