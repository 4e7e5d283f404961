"""What an option names to write to lies where the shell means it, whatever else exists."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import test_batch
from bench.lib.run_folders import runs_parser
from cnnlib import paths
from gen_image import collect_labels, gen_sample_by_captcha
from tests.helpers import Project, names_in


def draw(project: Project, target: str) -> list[str]:
    options = ["--config", str(project.captcha_config_path), "--count", "2"]
    assert gen_sample_by_captcha.main([*options, "--root-dir", target]) == 0
    return ["*.png"]


def collect(project: Project, target: str) -> list[str]:
    origin = project.root / "sample" / "origin"
    origin.mkdir(parents=True)
    (origin / "ab_1.png").touch()
    options = ["--config", str(project.config_path)]
    assert collect_labels.main([*options, "--output", f"{target}/labels.json"]) == 0
    return ["labels.json"]


def save_errors(project: Project, target: str) -> list[str]:
    assert test_batch.main(["--config", str(project.config_path), "--save-errors", target]) == 0
    return ["wrong.png"]


class FakeTest:
    """A batch test that saves one wrong image."""

    def test_batch(self) -> None:
        pass

    def save_errors(self, result: None, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "wrong.png").touch()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that is neither the project nor this checkout, which has `taken` too."""
    monkeypatch.setattr(paths, "PROJECT_ROOT", tmp_path / "checkout")
    monkeypatch.setattr(test_batch.TestBatch, "from_config", lambda *_: FakeTest())
    (tmp_path / "checkout" / "taken").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "elsewhere"


@pytest.mark.parametrize("script", [draw, collect, save_errors])
@pytest.mark.parametrize("here", [False, True])
@pytest.mark.parametrize("target", ["new", "taken", "a/b", "./new", "~/new"])
def test_output_goes_to_the_working_directory(
    project: Project,
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: Callable[[Project, str], list[str]],
    here: bool,
    target: str,
) -> None:
    home = elsewhere.parent / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    expected = home / target[2:] if target.startswith("~") else elsewhere / target
    if here:
        expected.mkdir(parents=True)
    for pattern in script(project, target):
        assert list(expected.glob(pattern))
    assert names_in(elsewhere.parent / "checkout") == ["taken"]
    assert names_in(elsewhere.parent / "checkout" / "taken") == []
    assert "new" not in names_in(project.root)


def test_list_of_the_working_directory_is_brought_up_to_date(
    project: Project, elsewhere: Path
) -> None:
    (elsewhere / "mine").mkdir()
    (elsewhere / "mine" / "labels.json").write_text('["b"]')
    (elsewhere.parent / "checkout" / "mine").mkdir()
    (elsewhere.parent / "checkout" / "mine" / "labels.json").write_text('["z"]')
    collect(project, "mine")
    assert json.loads((elsewhere / "mine" / "labels.json").read_text()) == ["b", "a"]


def test_folder_of_a_bench_is_in_the_working_directory(elsewhere: Path) -> None:
    assert runs_parser("").parse_args(["--folder", "taken"]).folder == elsewhere / "taken"
