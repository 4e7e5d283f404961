"""A bench in small: that it measures what it says, goes on, and writes the tables."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from bench import bench_training
from bench.bench_training import OTHERS, ROWS, Row
from cnnlib.config import PROJECT_ROOT, STYLES, load_captcha_config, read_json


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A row of seconds; results and pages are in a folder of the test's own."""
    row = Row(60, 10, "01", 1, 30, batch=8, network="cnn5")
    monkeypatch.setitem(ROWS, "tiny", row)
    monkeypatch.setattr(bench_training, "FRESH", 30)
    monkeypatch.setattr(bench_training, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(bench_training, "PROJECT_ROOT", tmp_path)
    shutil.copytree(PROJECT_ROOT / "conf", tmp_path / "conf")
    for page in bench_training.WORDS:
        (tmp_path / page).write_text("before\n<!-- training results -->\nold\n"
                                     "<!-- end of training results -->\nafter\n"
                                     "<!-- other captchas -->\n<!-- end of other captchas -->\n"
                                     "<!-- ablation results -->\n"
                                     "<!-- end of ablation results -->\n", "utf-8")
    return row


def test_a_row_is_measured_once_and_written_to_both_pages(tiny, tmp_path, capsys):
    arguments = ["tiny", "--folder", str(tmp_path / "runs")]
    assert bench_training.main(arguments) == 0
    [result] = read_json(tmp_path / "results.json").values()
    assert result["case"] == tiny.case()
    assert (result["steps"], result["fresh"]) == (10, 30)
    assert 0 <= result["right"] <= result["right_with_case_ignored"] <= 30
    assert result["training_flops"] > 0 and result["matrix_peak_flops"] > 0
    runs = tmp_path / "runs" / "60x2x1x30-0"
    assert len(list((runs / "train").iterdir())) == 57
    assert len(list((runs / "test").iterdir())) == 3
    names = {path.name for folder in ("train", "test") for path in (runs / folder).iterdir()}
    assert not names & {path.name for path in (runs / "fresh").iterdir()}
    for page, words in bench_training.WORDS.items():
        text = (tmp_path / page).read_text("utf-8")
        assert text.startswith(f"before\n<!-- training results -->\n{words['head']}\n|---|")
        case = {"README.md": "`tiny`: cnn5, 1 of 2"}.get(page, "`tiny`：cnn5，1 个字符，2 类")
        assert f"| {case} | 60 | 10 x 8 |" in text and "old" not in text
    capsys.readouterr()
    assert bench_training.main(arguments) == 0
    assert "次训练" not in capsys.readouterr().out  # nothing is measured twice


def test_the_median_of_the_seeds_is_shown():
    row = ROWS["digits"]
    runs = {f"seed {seed}": bench_training.definition(row) | {
        "right": right, "right_with_case_ignored": right,
        "fresh": 5000, "steps": 500, "training_s": 60, "training_flops": 3e10,
        "matrix_peak_flops": 6e10} for seed, right in enumerate((4990, 4500, 4950))}
    shown = bench_training.table(ROWS, runs, bench_training.WORDS["README.md"]).splitlines()
    assert len(shown) == 3 and "| 50% | 99.00% (98.7% to 99.2%), 3 seeds |" in shown[2]


def test_a_result_of_another_recipe_is_not_shown():
    row = ROWS["digits"]
    old = bench_training.definition(row) | {"right": 1, "right_with_case_ignored": 1}
    assert bench_training.median_run(row, {"old": old}) == old
    assert bench_training.is_of(old, row)
    recipe = old["recipe"] | {"warm_up": 0.5}
    assert bench_training.median_run(row, {"old": old | {"recipe": recipe}}) is None
    augmentation = old["augmentation"] | {"OVERLAP": 0.0}
    assert bench_training.median_run(row, {"old": old | {"augmentation": augmentation}}) is None


def test_unknown_row_names_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        bench_training.main(["tiny?"])
    assert "name rows, of 20k, 20k-short" in capsys.readouterr().err


def test_rows_of_before_stay_known_when_rows_of_other_kinds_come(tmp_path):
    """Fields that came later stand in a case only where they say something."""
    assert "style" not in ROWS["20k"].case()
    assert dataclasses.replace(ROWS["20k"], style="wave").case()["style"] == "wave"
    places = {str(bench_training.lay_out(row, tmp_path, 0, "x").train_image_dir)
              for row in (ROWS["20k"], OTHERS["wave"], OTHERS["4-to-6"], OTHERS["chinese"])}
    assert len(places) == 4


PRACTICE = sorted(PROJECT_ROOT.glob("conf/practice/*.json"))


@pytest.mark.parametrize("path", PRACTICE, ids=lambda path: path.stem)
def test_a_practice_configuration_draws_what_was_measured(path, tmp_path):
    config = load_captcha_config(path)
    row = OTHERS[path.stem]
    assert config.root_dir.full == PROJECT_ROOT / "sample/practice" / path.stem
    drawn = bench_training.lay_out(row, tmp_path, 0, path.stem).model_save_dir.full.parent
    measured = load_captcha_config(drawn / "conf/captcha_config.json", root_dir=config.root_dir)
    assert measured == dataclasses.replace(config, count=measured.count)


def test_every_style_has_its_practice_configuration():
    assert {load_captcha_config(path).style for path in PRACTICE} == set(STYLES)
