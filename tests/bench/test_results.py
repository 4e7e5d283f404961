"""Runs of several seeds in a table of results."""

from __future__ import annotations

from bench.lib.results import grouped, median_accuracy


def run(start: str, share: float, right: int) -> dict[str, object]:
    return {"start": start, "share": share, "right": right, "fresh": 1000}


def test_runs_are_grouped_by_row_and_column() -> None:
    runs = [run("b", 0.1, 1), run("a", 0.1, 2), run("b", 0.0, 3), run("b", 0.1, 4)]
    assert grouped(runs, ["share"], "start") == [
        ((0.0,), {"b": [runs[2]]}),
        ((0.1,), {"b": [runs[0], runs[3]], "a": [runs[1]]}),
    ]


def test_the_median_of_seeds_is_shown_with_its_interval() -> None:
    runs = [run("a", 0, right) for right in (900, 800, 972)]
    assert median_accuracy([]) == "-"
    assert median_accuracy(runs) == "90.0% (88.0% to 91.7%), 3 seeds"
    assert median_accuracy(runs[2:], 2) == "97.20% (96.0% to 98.1%)"
