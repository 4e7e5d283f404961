"""A file is written whole or not at all."""

import os

import pytest

from cnnlib.errors import CaptchaError
from cnnlib.files import replacing


def test_file_is_replaced_and_its_folder_made(tmp_path):
    path = tmp_path / "a" / "b.txt"
    for text in ("old", "new"):
        with replacing(path) as temporary:
            temporary.write_text(text)
        assert path.read_text() == text
    assert os.listdir(path.parent) == ["b.txt"]


def test_error_meanwhile_leaves_what_was_there(tmp_path):
    path = tmp_path / "b.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        _ = 1 / 0
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["b.txt"]


def test_what_cannot_be_written_is_said(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(CaptchaError, match="cannot write .*folder: .*directory"), \
            replacing(tmp_path / "folder") as temporary:
        temporary.write_text("x")
    assert os.listdir(tmp_path) == ["folder"]
