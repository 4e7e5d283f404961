"""A bench in small: that it measures what it says, goes on, and writes the tables."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bench import bench_training
from bench.lib import pages
from bench.lib.results import read_results
from bench.lib.rows import ROWS, Row
from bench.lib.training_tables import TABLES, WORDS


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Row:
    """A row of seconds; results and pages are in a folder of the test's own."""
    row = Row(60, 10, "01", 1, 30, batch=8, network="cnn5", height=20)
    monkeypatch.setitem(ROWS, "tiny", row)
    monkeypatch.setattr(bench_training, "FRESH", 30)
    monkeypatch.setattr(bench_training, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(bench_training, "PICTURE", tmp_path / "accuracy.png")
    for language in WORDS:
        page = tmp_path / f"{language}.md"
        tables = (f"<!-- {marker} -->\nold\n<!-- end of {marker} -->\n" for marker in TABLES)
        page.write_text("before\n" + "after\n".join(tables), encoding="utf-8")
        monkeypatch.setitem(pages.PAGES, language, page)
    return row


def test_a_row_is_measured_once_and_written_to_both_pages(
    tiny: Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["tiny", "--folder", str(tmp_path / "runs")]
    assert bench_training.main(arguments) == 0
    [result] = read_results(tmp_path / "results.json").values()
    assert result["case"] == tiny.case()
    assert (result["steps"], result["fresh"]) == (10, 30)
    assert 0 <= result["right"] <= result["right_with_case_ignored"] <= 30
    assert result["training_s"] > 0
    assert result["training_flops"] > 0 and result["matrix_peak_flops"] > 0
    cases = {"en": "`tiny`: cnn5, 1 of 2", "zh": "`tiny`：cnn5，1 个字符，2 类"}
    for language, case in cases.items():
        text = (tmp_path / f"{language}.md").read_text("utf-8")
        assert text.startswith(f"before\n<!-- training results -->\n{WORDS[language]['head']}\n")
        assert f"| {case} | 60 | 10 x 8 |" in text and "old" not in text
    capsys.readouterr()
    assert bench_training.main(arguments) == 0
    assert "次训练" not in capsys.readouterr().out  # nothing is measured twice


def test_a_teacher_is_trained_first_where_it_is_missing(
    tiny: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(ROWS, "tiny-taught", dataclasses.replace(tiny, teacher="tiny"))
    arguments = ["--folder", str(tmp_path / "runs"), "--seed", "1"]
    assert bench_training.main(["tiny-taught", *arguments]) == 0
    [model] = (tmp_path / "runs").glob("tiny-1-*/model")
    said = capsys.readouterr().out
    assert said.count("第10次训练") == 2 and said.count(f"\nteacher   {model} (") == 1
    [result] = read_results(tmp_path / "results.json").values()
    assert result["case"]["teacher"] == "tiny" and result["teacher"]["case"] == tiny.case()
    assert bench_training.main(["tiny", *arguments]) == 0
    assert "第10次训练" not in capsys.readouterr().out  # its model is there already


def test_the_fresh_images_are_others_than_those_of_the_training(tiny: Row, tmp_path: Path) -> None:
    assert bench_training.main(["tiny", "--folder", str(tmp_path / "runs")]) == 0
    [images] = (tmp_path / "runs").glob("60x2x1x30-0*")
    names = {kind: names_in(images / kind) for kind in ("train", "test", "fresh")}
    assert {kind: len(found) for kind, found in names.items()} == {
        "train": 57,
        "test": 3,
        "fresh": 30,
    }
    assert not names["fresh"] & (names["train"] | names["test"])


def test_an_unknown_row_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench_training.main(["tiny?"])
    assert "name rows, of 20k, 20k-short" in capsys.readouterr().err


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
