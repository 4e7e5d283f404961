"""Tables and curves of measured rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.lib.rows import ROWS, definition
from bench.lib.training_tables import WORDS, plot, table


def run_of(name: str, right: int = 4950, training_s: int | None = 60) -> dict[str, Any]:
    return definition(ROWS[name]) | {
        "right": right,
        "right_with_case_ignored": right + 20,
        "fresh": 5000,
        "steps": 500,
        "training_s": training_s,
        "training_flops": 3e10,
        "matrix_peak_flops": 6e10,
    }


def test_the_median_of_the_seeds_is_shown() -> None:
    runs = {f"seed {right}": run_of("digits", right) for right in (4990, 4500, 4950)}
    lines = table(ROWS, runs, WORDS["en"]).splitlines()
    assert len(lines) == 3
    assert "| 1.0 min | 50% | 99.00% (98.7% to 99.2%), 3 seeds |" in lines[2]


def test_a_row_where_case_is_ignored_shows_both_accuracies() -> None:
    [*_, line] = table(ROWS, {"x": run_of("62-classes")}, WORDS["en"]).splitlines()
    assert "| 99.40% (99.1% to 99.6%); exact case 99.00% |" in line


def test_a_row_of_an_earlier_recipe_says_so() -> None:
    run = run_of("digits")
    run["date"], run["recipe"]["weight_decay"] = "2026-11-27", 0.5
    text = table(ROWS, {"x": run}, WORDS["en"])
    assert "99.00% (98.7% to 99.2%); by an earlier recipe |" in text


def test_a_training_that_was_interrupted_has_no_time() -> None:
    text = table(ROWS, {"x": run_of("digits", training_s=None)}, WORDS["zh"])
    assert "| 分几次完成 |" in text


def test_the_plot_is_drawn_once_there_is_a_line_in_both_halves(tmp_path: Path) -> None:
    picture = tmp_path / "accuracy.png"
    runs = {"20k, seed 0": run_of("20k"), "5k, seed 0": run_of("5k")}
    plot(runs, picture)
    assert not picture.exists()
    plot(runs | {"20k-short, seed 0": run_of("20k-short")}, picture)
    assert picture.stat().st_size > 1000
