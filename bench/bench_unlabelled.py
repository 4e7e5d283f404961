"""Measure what images without labels bring to a training with few labels.

    python3 bench/bench_unlabelled.py CASE ... [--seeds N ...] [--backbone FOLDER] [--folder FOLDER]

A CASE is a style of practice captchas. Trains with 500 labels, with these and 10,000 images without
labels, and with 10,000 labels, for as many steps each, and reads 2,000 fresh images. Shown is also
which share of the way from 500 labels to 10,000 the images without labels go.

--backbone names a folder as model/backbone, for weights that have not seen the styles. Writes each
training to bench/unlabelled_results.json and the table to docs/*/results.md. Without a CASE the
table is written again.
"""

import dataclasses
import datetime
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from bench.bench_start import Case, cases_parser, style, use_backbone
from bench.lib.pages import write_tables
from bench.lib.results import grouped, median_accuracy, read_results, write_results
from cnnlib import console
from cnnlib.console import SilentReporter
from cnnlib.dataset.labels import UNKNOWN_ID
from cnnlib.paths import PROJECT_ROOT
from cnnlib.training.forecast import count_wrong

RESULTS = PROJECT_ROOT / "bench" / "unlabelled_results.json"
MARKER = "unlabelled results"
LABELS, UNLABELLED, STEERING = 500, 10_000, 50  # the last are labels that choose the best weights
STEPS = 1500
FEW, WITH_UNLABELLED, MANY = "few", "with unlabelled", "many"
HEADS = {
    "en": "| captcha | 500 labels | and 10,000 images without | 10,000 labels | of the way "
    "| time, of that with 500 labels |",
    "zh": "| 验证码 | 500 个标签 | 另加 10,000 张无标签图片 | 10,000 个标签 | 弥补的差距 "
    "| 用时（相对于 500 个标签） |",
}


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    args = cases_parser(__doc__).parse_args(argv)
    if args.backbone:
        use_backbone(args.backbone)
    for name in args.cases:
        case = style(name, args.folder, STEERING + LABELS + UNLABELLED)
        for seed in args.seeds:
            for kind in (FEW, WITH_UNLABELLED, MANY):
                measure(case, seed, kind)
        write_table()
    write_table()
    return 0


def measure(case: Case, seed: int, kind: str) -> None:
    """Measure one training and write it down; nothing where it is known."""
    key = f"{case.name}, seed {seed}, {kind}"
    results = read_results(RESULTS)
    if key in results:
        return
    order = np.random.default_rng(seed).permutation(len(case.pool))
    test, labelled, rest = np.split(order, [STEERING, STEERING + LABELS])
    train = case.pool.take(order[STEERING:] if kind == MANY else labelled)
    unlabelled = case.pool.take(rest)
    unlabelled.char_ids[:] = UNKNOWN_ID
    began_s = time.monotonic()
    wrong = count_wrong(
        dataclasses.replace(
            case.config,
            cycle_save=10**6,
            seed=seed,
            start="backbone",
            test_time_augmentation=False,
        ),
        train,
        case.pool.take(test),
        case.fresh,
        len(train),
        STEPS,
        SilentReporter(),
        unlabelled if kind == WITH_UNLABELLED else None,
    )
    right = len(case.fresh) - wrong
    console.say(f"{key}: {right / len(case.fresh):.2%}")
    results[key] = {
        "case": case.name,
        "seed": seed,
        "kind": kind,
        "fresh": len(case.fresh),
        "right": right,
        "steps": STEPS,
        "seconds": round(time.monotonic() - began_s),
        "date": datetime.date.today().isoformat(),
    }
    write_results(RESULTS, results)


def write_table() -> None:
    results = list(read_results(RESULTS).values())
    console.say(write_tables(MARKER, HEADS, lambda language: lines(results)))


def lines(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each case of which all kinds are measured; medians of seeds."""
    for (case,), runs in grouped(results, ("case",), "kind"):
        if len(runs) < 3:
            continue
        few, both, many = (
            float(np.median([run["right"] / run["fresh"] for run in runs[kind]]))
            for kind in (FEW, WITH_UNLABELLED, MANY)
        )
        seconds = [
            float(np.median([run["seconds"] for run in runs[kind]]))
            for kind in (FEW, WITH_UNLABELLED)
        ]
        cells = [median_accuracy(runs[kind]) for kind in (FEW, WITH_UNLABELLED, MANY)]
        way = (both - few) / max(many - few, 1e-9)
        yield f"| `{case}` | {' | '.join(cells)} | {way:.0%} | {seconds[1] / seconds[0]:.2f} |"


if __name__ == "__main__":
    sys.exit(main())
