"""A file is written whole or not at all."""

import errno
import os

import pytest

from cnnlib.errors import CaptchaError, SampleError
from cnnlib.files import read_bytes, replacing, store_image
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


def test_name_that_another_call_is_writing_is_taken(tmp_path):
    (tmp_path / ".ab_1.png.tmp").write_bytes(b"half")
    assert store_image(b"image", tmp_path, "ab_1.png", "ab_2.png").name == "ab_2.png"
    assert (tmp_path / ".ab_1.png.tmp").read_bytes() == b"half"


def test_image_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(SampleError, match="No space left on device; free some space"):
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
