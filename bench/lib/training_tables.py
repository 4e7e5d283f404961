"""What bench_training.py measured, as tables of both languages and as a plot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bench.lib.pages import markdown_table
from bench.lib.rows import ABLATION, HARD, OTHERS, ROWS, Row, is_of, is_of_earlier
from cnnlib import plots
from cnnlib.evaluation import metrics
from cnnlib.paths import PROJECT_ROOT

Run = Mapping[str, Any]  # one measurement
Runs = Mapping[str, Run]

RESULTS = PROJECT_ROOT / "bench" / "training_results.json"
TABLES = {  # by their markers
    "training results": ROWS,
    "other captchas": OTHERS,
    "hard captchas": HARD,
    "ablation results": ABLATION,
}
WORDS = {
    "en": {
        "head": "| case | images | steps x batch | MFLOP an image | training | share of matrix "
        "peak | right of 5,000 fresh images, 95 % interval |",
        "case": "`{}`: {}, {} of {}",
        "lengths": "{} to {}",
        "minutes": "{:.1f} min",
        "not in one go": "not in one go",
        "right": "{:.2%} ({:.1%} to {:.1%})",
        "seeds": ", {} seeds",
        "exact": "; exact case {:.2%}",
        "once": "; {:.2%} without test-time augmentation",
        "earlier": "; by an earlier recipe",
    },
    "zh": {
        "head": "| 情形 | 图片数 | 步数 x 批大小 | 每张图片 MFLOP | 训练时间 | "
        "占矩阵乘法峰值 | 5,000 张全新图片的整图准确率，95 % 区间 |",
        "case": "`{}`：{}，{} 个字符，{} 类",
        "lengths": "{} 至 {}",
        "minutes": "{:.1f} 分钟",
        "not in one go": "分几次完成",
        "right": "{:.2%}（{:.1%} 至 {:.1%}）",
        "seeds": "，{} 个种子",
        "exact": "；区分大小写 {:.2%}",
        "once": "；不用测试时增强 {:.2%}",
        "earlier": "；用较早的训练方案测量",
    },
}


# --- tables ---


def table(rows: Mapping[str, Row], results: Runs, words: Mapping[str, str]) -> str:
    """Return the measured rows as a Markdown table; the median of a row's seeds."""
    return markdown_table(words["head"], _lines(rows, results, words))


def median_run(row: Row, results: Runs) -> Run | None:
    """Return the run of a row whose accuracy is the median of its seeds, the lower of two."""
    runs = sorted(_runs(row, results), key=lambda run: run[_counted(row)])
    return runs[(len(runs) - 1) // 2] if runs else None


def _runs(row: Row, results: Runs) -> list[Run]:
    """Return the runs of a row; those of the newest earlier recipe where there are no others."""
    of_today = [run for run in results.values() if is_of(run, row)]
    earlier = [run for run in results.values() if is_of_earlier(run, row)]
    if of_today or not earlier:
        return of_today
    newest = max(earlier, key=lambda run: run["date"])
    return [run for run in earlier if run["recipe"] == newest["recipe"]]


def _lines(rows: Mapping[str, Row], results: Runs, words: Mapping[str, str]) -> Iterator[str]:
    for name, row in rows.items():
        run = median_run(row, results)
        if run is not None:
            yield _line(name, row, run, len(_runs(row, results)), words)


def _line(name: str, row: Row, run: Run, seeds: int, words: Mapping[str, str]) -> str:
    lengths = (words["lengths"] if row.min_length else "{1}").format(row.min_length, row.length)
    cells = (
        words["case"].format(name, row.network, lengths, len(row.characters)),
        f"{row.images:,}",
        f"{run['steps']:,} x {row.batch}",
        f"{run['network']['flop'] / 1e6:.0f}",
        words["minutes"].format(run["training_s"] / 60)
        if run["training_s"]
        else words["not in one go"],
        f"{run['training_flops'] / run['matrix_peak_flops']:.0%}",
        _accuracy(row, run, seeds, words),
    )
    return f"| {' | '.join(cells)} |"


def _accuracy(row: Row, run: Run, seeds: int, words: Mapping[str, str]) -> str:
    right, fresh = run[_counted(row)], run["fresh"]
    text = words["right"].format(right / fresh, *metrics.wilson_interval(right, fresh))
    if seeds > 1:
        text += words["seeds"].format(seeds)
    if row.ignore_case:
        text += words["exact"].format(run["right"] / fresh)
    if "right_once" in run:
        text += words["once"].format(run["right_once"] / fresh)
    if not is_of(run, row):
        text += words["earlier"]
    return text


def _counted(row: Row) -> str:
    return "right_with_case_ignored" if row.ignore_case else "right"


# --- the plot ---


@dataclass
class Curve:
    """Points of the default case: shares of right images over x, with their intervals."""

    x: list[float] = field(default_factory=list)
    right: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)

    def add(self, x: float, right: int, fresh: int) -> None:
        low, high = metrics.wilson_interval(right, fresh)
        self.x.append(x)
        self.right.append(right / fresh)
        self.low.append(low)
        self.high.append(high)


def curves(results: Runs) -> tuple[Curve, Curve]:
    """Return accuracy over the number of images, and over the minutes of training."""
    over_images, over_minutes = Curve(), Curve()
    for row, run in _measured([ROWS[name] for name in ("1k", "5k", "20k", "100k")], results):
        over_images.add(row.images, run["right"], run["fresh"])
    for _, run in _measured([ABLATION["whole"], ROWS["20k-short"], ROWS["20k"]], results):
        if run["training_s"]:
            over_minutes.add(run["training_s"] / 60, run["right"], run["fresh"])
    return over_images, over_minutes


def plot(results: Runs, path: Path) -> None:
    """Draw both curves; nothing before there is a line to draw in each."""
    over_images, over_minutes = curves(results)
    if min(len(over_images.x), len(over_minutes.x)) < 2:
        return
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw(left, over_images, "images (3,000 steps, or hardly fewer; 6,000 for 100,000)")
    _draw(right, over_minutes, "minutes of training (20,000 images)")
    left.set(ylabel="right of 5,000 fresh images, %", xscale="log")
    plots.save_png(figure, path)


def _measured(rows: Sequence[Row], results: Runs) -> Iterator[tuple[Row, Run]]:
    for row in rows:
        run = median_run(row, results)
        if run is not None:
            yield row, run


def _draw(axes: Any, curve: Curve, x_label: str) -> None:
    right = np.array(curve.right)
    errors = np.abs([right - curve.low, curve.high - right])
    axes.errorbar(curve.x, 100 * right, yerr=100 * errors, marker="o", capsize=3)
    axes.grid(alpha=0.3)
    axes.set_xlabel(x_label)
