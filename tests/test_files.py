"""A file is written whole or not at all."""

import errno
import itertools
import os
import subprocess
import sys
import threading
from collections import Counter

import pytest

from cnnlib import files
from cnnlib.config_reader import read_json
from cnnlib.errors import CaptchaError, ConfigError, SampleError
from cnnlib.files import read_bytes, replacing, store_image
from cnnlib.paths import PROJECT_ROOT
from tests.crashes import Crash, changes_of, crash_at, no_links
from tests.helpers import names_in


def test_file_is_replaced_and_its_folder_made(tmp_path):
    path = tmp_path / "a" / "b.txt"
    for text in ("old", "new"):
        with replacing(path) as temporary:
            temporary.write_text(text)
        assert path.read_text() == text
    assert names_in(path.parent) == ["b.txt"]


def test_error_meanwhile_leaves_what_was_there(tmp_path):
    path = tmp_path / "b.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        _ = 1 / 0
    assert path.read_text() == "old" and names_in(tmp_path) == ["b.txt"]


def test_what_cannot_be_written_is_said(tmp_path):
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(CaptchaError, match="cannot write .*folder: .*directory; close the program"),
        replacing(tmp_path / "folder") as temporary,
    ):
        temporary.write_text("x")
    assert names_in(tmp_path) == ["folder"]


@pytest.mark.parametrize(
    "error", [OSError("said by a library"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))]
)
def test_reason_is_said_and_nothing_is_left(tmp_path, error):
    with (
        pytest.raises(CaptchaError, match="a.txt: (said by a library|No space left on device); "),
        replacing(tmp_path / "a.txt") as temporary,
    ):
        temporary.write_text("half")
        raise error
    assert names_in(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_content_then_name_are_on_the_disk(tmp_path, monkeypatch):
    changes = changes_of(monkeypatch)
    with replacing(tmp_path / "new" / "a.txt") as temporary:
        temporary.write_text("x")
    assert changes == [
        ("fsync", tmp_path.name),  # the name of the new folder
        ("fsync", temporary.name),
        ("replace", "a.txt"),
        ("fsync", "new"),
    ]


@pytest.mark.parametrize("done", [False, True])
def test_file_is_the_old_or_the_new_one_after_a_crash_at_any_change(tmp_path, monkeypatch, done):
    for number in itertools.count(1):
        path = tmp_path / f"{number}" / "a.txt"
        path.parent.mkdir()
        path.write_text("old")
        try:
            with monkeypatch.context() as patch:
                crash_at(patch, number, done=done)
                with replacing(path) as temporary:
                    temporary.write_text("new")
        except Crash:
            assert path.read_text() in ("old", "new")
        else:
            break
    assert path.read_text() == "new" and number > 3


def test_disk_that_cannot_say_what_is_on_it_is_written_all_the_same(tmp_path, monkeypatch):
    fsync = os.fsync

    def files_only(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")
    assert names_in(tmp_path) == ["a.txt"]


# --- what a crash left ---


def crash_while_writing(monkeypatch, write):
    with monkeypatch.context() as patch, pytest.raises(Crash):
        crash_at(patch, 1, done=False)
        write()


def age(folder, by_s=2 * files.KEEP_UNFINISHED_S):
    for path in folder.iterdir():
        changed_s = path.stat().st_mtime - by_s
        os.utime(path, (changed_s, changed_s))


def replace(path):
    with replacing(path) as temporary:
        temporary.write_text("x")


def store(path):
    files._remove_unfinished_images.cache_clear()  # as in another process, or after an hour
    store_image(b"x", path.parent, path.name)


@pytest.mark.parametrize("write", [replace, store])
def test_unfinished_files_are_removed_once_they_are_old(tmp_path, monkeypatch, write):
    crash_while_writing(monkeypatch, lambda: write(tmp_path / "a.png"))
    crash_while_writing(monkeypatch, lambda: write(tmp_path / "a.png"))
    assert len(names_in(tmp_path)) == 2
    write(tmp_path / "b.png")
    assert len(names_in(tmp_path)) == 3, "another program may be writing them"
    age(tmp_path)
    write(tmp_path / "a.png")
    assert names_in(tmp_path) == ["a.png", "b.png"]


@pytest.mark.parametrize("write", [replace, store])
def test_nothing_else_is_removed(tmp_path, write):
    own = [
        ".a.png.tmp",
        ".b.png.123.tmp",
        ".a.png.new.tmp",
        "a.png.123.tmp",
        ".cnn_captcha-notes.tmp",
        ".cnn_captcha-0123456789abcdef.txt",
        "x.cnn_captcha-0123456789abcdef.tmp",
    ]
    for name in own:
        (tmp_path / name).write_text("own")
    (tmp_path / ".cnn_captcha-0123456789abcdef.tmp").mkdir()
    age(tmp_path)
    write(tmp_path / "a.png")
    assert set(own) < set(names_in(tmp_path))


def test_unfinished_file_of_version_3_0_0_is_removed_once_it_is_old(tmp_path):
    (tmp_path / ".model.json.4711.tmp").write_text("half")
    replace(tmp_path / "model.json")
    assert len(names_in(tmp_path)) == 2
    age(tmp_path)
    replace(tmp_path / "model.json")
    assert names_in(tmp_path) == ["model.json"]


# --- images ---


def test_image_gets_the_first_name_that_is_free_and_its_folder_is_made(tmp_path):
    folder = tmp_path / "with space 验证"
    names = ("ab_1.png", "ab_2.png")
    assert store_image(b"first", folder, *names) == folder / "ab_1.png"
    assert store_image(b"second", folder, *names) == folder / "ab_2.png"
    assert (folder / "ab_1.png").read_bytes() == b"first"
    assert (folder / "ab_2.png").read_bytes() == b"second"
    assert names_in(folder) == ["ab_1.png", "ab_2.png"]


def test_image_without_a_free_name_replaces_none(tmp_path):
    store_image(b"first", tmp_path, "ab_1.png")
    with pytest.raises(SampleError, match="cannot write an image to .*; free some space"):
        store_image(b"second", tmp_path, "ab_1.png")
    assert (tmp_path / "ab_1.png").read_bytes() == b"first"
    assert names_in(tmp_path) == ["ab_1.png"]


def test_file_of_the_user_takes_no_name(tmp_path):
    (tmp_path / ".ab_1.png.tmp").write_bytes(b"half")
    assert store_image(b"image", tmp_path, "ab_1.png", "ab_2.png").name == "ab_1.png"
    assert (tmp_path / ".ab_1.png.tmp").read_bytes() == b"half"


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("change", ["link", "rename", "replace"])
def test_name_that_is_taken_at_the_last_moment_is_not_overwritten(
    tmp_path, monkeypatch, links, change
):
    if not links:
        no_links(monkeypatch)
    target, real = tmp_path / "ab_1.png", getattr(os, change)

    def too_late(source, to, **options):
        if os.fspath(to) == os.fspath(target):
            thread = threading.Thread(target=target.write_text, args=("another program's",))
            thread.start()
            thread.join()
        real(source, to, **options)

    monkeypatch.setattr(os, change, too_late)
    stored = store_image(b"image", tmp_path, "ab_1.png", "ab_2.png")
    assert stored.read_bytes() == b"image"
    if change == "link":
        assert target.read_text() == "another program's"
        assert names_in(tmp_path) == ["ab_1.png", "ab_2.png"]


STORING = """
import sys, time
from pathlib import Path
from cnnlib.errors import SampleError
from cnnlib.files import store_image
who, folder, start = sys.argv[1:]
while not Path(start).exists():
    time.sleep(0.001)
for i in range(200):
    try:
        store_image(who.encode() * 1000, folder, f"{i}_x.png")
        print(who, i)
    except SampleError:
        pass
"""


def test_two_programs_that_store_under_the_same_names_overwrite_nothing(tmp_path):
    folder, start = tmp_path / "images", tmp_path / "start"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", STORING, who, folder, start],
            cwd=PROJECT_ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in "ab"
    ]
    start.touch()
    stored = "".join(process.communicate()[0] for process in running).splitlines()
    found = [f"{path.read_text()[0]} {path.name.split('_')[0]}" for path in folder.iterdir()]
    assert Counter(stored) == Counter(found) and len(found) == 200
    assert all(len(path.read_text()) == 1000 for path in folder.iterdir())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_image_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch, code):
    def full(source, target):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(SampleError, match=f"{tmp_path}.*{os.strerror(code)}; free some space"):
        store_image(b"image", tmp_path, "ab_1.png")
    assert names_in(tmp_path) == []


def test_file_in_the_way_of_an_image_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SampleError, match="cannot write an image to .*file"):
        store_image(b"image", tmp_path / "file", "ab_1.png")


def test_image_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "image.png").write_bytes(b"data")
    assert read_bytes(tmp_path / "image.png") == b"data"
    with pytest.raises(SampleError, match="none.png cannot be read: No such file"):
        read_bytes(tmp_path / "none.png")


@pytest.mark.parametrize("values", [{"char_set": "验证"}, ["caf\udce9", "验"]])
def test_json_is_read_back_whatever_names_are_in_it(tmp_path, values):
    files.write_json(tmp_path / "a.json", values)
    assert read_json(tmp_path / "a.json") == values


def test_json_that_is_refused_leaves_the_former_file(tmp_path):
    files.write_json(tmp_path / "a.json", 1)

    def refuse(path):
        raise ConfigError(path.read_text())

    with pytest.raises(ConfigError, match="2"):
        files.write_json(tmp_path / "a.json", 2, check=refuse)
    assert read_json(tmp_path / "a.json") == 1 and len([*tmp_path.iterdir()]) == 1
