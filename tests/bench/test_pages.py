"""Tables in the documentation: written between their markers, and true to what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import bench_more_images, bench_pipeline, demo_results
from bench.lib import ablation, pages, serving_tables, training_tables
from bench.lib.pages import PAGES, replace_between_markers, text_between_markers
from bench.lib.results import read_results
from cnnlib.errors import CaptchaError
from cnnlib.paths import PROJECT_ROOT

RESULT = {
    "accuracy_percent": 98.04,
    "tested": 1000,
    "online_right": 9,
    "online_total": 10,
    "images": 20000,
    "step": 1200,
    "date": "2026-01-02",
    "processor": "Zx 80",
    "cores": 2,
    "system": "Linux",
    "python": "3.12.1",
    "libraries": {"tensorflow": "2.21.0"},
    "seconds": {"draw": 60.4, "train": 300.0},
}


@pytest.mark.parametrize("language", PAGES)
def test_the_results_replace_only_what_is_between_the_markers(
    language: str, tmp_path: Path
) -> None:
    text = PAGES[language].read_text(encoding="utf-8")
    page = tmp_path / "results.md"
    page.write_text(text, encoding="utf-8")
    table = demo_results.table(RESULT, demo_results.WORDS[language])
    replace_between_markers(page, demo_results.MARKER, table)
    written = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition("<!-- demo results -->\n")
    assert written.startswith(before + begin + "|")
    assert written.endswith(rest.partition("<!-- end of demo results -->")[2])
    assert "98.0 %" in written and "20,000" in written and "Zx 80" in written
    assert text_between_markers(page, demo_results.MARKER) == table
    assert [file.name for file in tmp_path.iterdir()] == ["results.md"]


def test_the_demo_writes_both_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for language in PAGES:
        page = tmp_path / f"{language}.md"
        page.write_text("<!-- demo results -->\n<!-- end of demo results -->\n", encoding="utf-8")
        monkeypatch.setitem(pages.PAGES, language, page)
    result = tmp_path / "demo_result.json"
    result.write_text(json.dumps(RESULT), encoding="utf-8")
    assert demo_results.main(["--result", str(result)]) == 0
    assert "| drawing 20,000 captchas | 60 s |" in (tmp_path / "en.md").read_text("utf-8")
    assert "| 批量验证 | 未一次完成，无数据 |" in (tmp_path / "zh.md").read_text("utf-8")


def test_a_missing_marker_is_named(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- what -->\n", encoding="utf-8")
    with pytest.raises(CaptchaError, match=r"page\.md: the lines <!-- what --> and <!-- end of wh"):
        replace_between_markers(page, "what", "table\n")
    assert page.read_text(encoding="utf-8") == "<!-- what -->\n"


@pytest.mark.parametrize("language", PAGES)
def test_the_pages_show_what_was_measured(language: str) -> None:
    bench = PROJECT_ROOT / "bench"
    training = read_results(training_tables.RESULTS)
    serving = read_results(bench / "serving_results.json")
    pipeline = read_results(bench / "pipeline_results.json")
    more_images = read_results(bench / "more_images.json")
    shown = {
        "serving results": serving_tables.table(language, serving),
        "pipeline results": bench_pipeline.table(pipeline, bench_pipeline.WORDS[language]),
        "more images": bench_more_images.table(more_images, bench_more_images.WORDS[language]),
    }
    with ablation.registered():
        for marker, rows in training_tables.TABLES.items():
            words = training_tables.WORDS[language]
            shown[marker] = training_tables.table(rows, training, words)
    for marker, table in shown.items():
        assert text_between_markers(PAGES[language], marker) == table
