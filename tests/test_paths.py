"""Paths: relative to the project's root, whatever the working directory is."""

import os

import pytest

from cnnlib.paths import PROJECT_ROOT, ProjectPath, resolve_input_path, resolve_output_path


def test_paths_are_relative_to_the_folder_above_conf_and_keep_their_text(project, monkeypatch):
    monkeypatch.chdir("/")
    folder = project.sample.origin_image_dir
    assert str(folder) == "sample/origin/"
    assert folder.full == project.root / "sample" / "origin"
    assert os.fspath(folder) == str(project.root / "sample" / "origin")


def test_absolute_path_stays(project, tmp_path):
    project.change(origin_image_dir=str(tmp_path / "elsewhere"))
    assert project.sample.origin_image_dir.full == tmp_path / "elsewhere"


def test_paths_are_equal_where_they_lead_to_the_same_place(tmp_path):
    relative, absolute = ProjectPath("a/b", tmp_path), ProjectPath(tmp_path / "a" / "b")
    assert relative == absolute and hash(relative) == hash(absolute)
    assert relative != ProjectPath("a/b") and relative != "a/b"


def test_copy_keeps_the_root(tmp_path):
    path = ProjectPath("a/b", tmp_path)
    copy = ProjectPath(path)
    assert (copy, str(copy), copy.root) == (path, "a/b", tmp_path)


@pytest.mark.parametrize(
    ("typed", "expected"), [("here.json", "here.json"), ("./here.json", "here.json")]
)
def test_path_typed_on_the_command_line_is_the_shells_where_it_exists(
    tmp_path, monkeypatch, typed, expected
):
    (tmp_path / "here.json").touch()
    monkeypatch.chdir(tmp_path)
    assert resolve_input_path(typed) == tmp_path / expected


def test_path_typed_on_the_command_line_is_of_the_project_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_input_path("conf/x.json") == PROJECT_ROOT / "conf" / "x.json"
    assert resolve_input_path("conf/sample_config.json").exists()


def test_home_of_a_typed_path_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "mine.json").touch()
    assert resolve_input_path("~/mine.json") == tmp_path / "mine.json"


@pytest.mark.parametrize("made", [False, True])
def test_path_to_write_to_is_the_shells_whether_it_exists_or_not(tmp_path, monkeypatch, made):
    monkeypatch.chdir(tmp_path)
    for typed in ("out", "./out", "conf", "a/b.json"):  # the project has conf, too
        if made:
            (tmp_path / typed).mkdir(parents=True, exist_ok=True)
        assert resolve_output_path(typed) == tmp_path / typed
    assert resolve_output_path("../out") == tmp_path / ".." / "out"
    assert resolve_output_path(tmp_path / "x") == tmp_path / "x"


def test_home_of_a_path_to_write_to_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert resolve_output_path("~/new/file.json") == tmp_path / "new" / "file.json"


@pytest.mark.parametrize("resolve", [resolve_input_path, resolve_output_path])
def test_home_of_nobody_is_a_name_like_any_other(tmp_path, monkeypatch, resolve):
    (tmp_path / "~nobody-at-all").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve("~nobody-at-all/") == tmp_path / "~nobody-at-all"
