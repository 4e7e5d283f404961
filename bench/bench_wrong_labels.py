"""Measure what wrong labels cost, and how much of that leaving doubtful images out saves.

    python3 bench/bench_wrong_labels.py [--shares S ...] [--steps N] [--starts START ...]

Draws 5,000 images to learn and 5,000 fresh ones, gives 0, 1, 3 and 10 % of the first wrong labels
(half of them that of another image, half with one wrong character), and trains on them with and
without leaving out the images whose labels the network doubts. The test set has right labels.
Writes each training to bench/wrong_labels_results.json and the table to docs/*/results.md.
"""

import dataclasses
import datetime
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from bench.lib.pages import write_tables
from bench.lib.practice import drawn_images, mislabel
from bench.lib.results import grouped, median_accuracy, read_results, write_results
from cnnlib import console
from cnnlib.config import BACKBONE, SAMPLE_CONFIG, load_sample_config
from cnnlib.console import SilentReporter
from cnnlib.dataset.image_set import ImageSet
from cnnlib.paths import PROJECT_ROOT
from cnnlib.training.forecast import count_wrong
from cnnlib.training.recipes import RECIPES

RESULTS = PROJECT_ROOT / "bench" / "wrong_labels_results.json"
MARKER = "wrong labels"
LEARNED, STEERING, FRESH = 5000, 250, 5000
SHARES = (0.0, 0.01, 0.03, 0.1)
KEPT, LEFT_OUT = "kept", "left out"
HEADS = {
    "en": "| wrong labels | start | all images kept | doubtful ones left out |",
    "zh": "| 错误标签 | 起点 | 保留全部图片 | 剔除可疑图片 |",
}


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, metavar="S")
    parser.add_argument("--steps", type=console.at_least_one, default=1500, metavar="N")
    parser.add_argument("--starts", nargs="+", default=[BACKBONE], metavar="START")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    args = parser.parse_args(argv)
    config = load_sample_config(
        PROJECT_ROOT / SAMPLE_CONFIG, seed=args.seed, test_time_augmentation=False
    )
    order = np.arange(LEARNED + STEERING + FRESH)
    drawn = drawn_images(config, len(order))
    for share in args.shares:
        train = drawn.take(order[:LEARNED])
        mislabel(train, share, len(config.char_set))
        test, fresh = (drawn.take(part) for part in np.split(order[LEARNED:], [STEERING]))
        for start in args.starts:
            for doubtful in (KEPT, LEFT_OUT):
                key = f"{share:.0%}, {start}, {doubtful}, {args.steps} steps, seed {args.seed}"
                if key in read_results(RESULTS):
                    continue
                trial = dataclasses.replace(config, start=start)
                wrong = read_wrong(trial, train, test, fresh, args.steps, doubtful)
                console.say(f"{key}: {1 - wrong / FRESH:.2%} of {FRESH} right")
                write_down(key, share, start, doubtful, args.steps, wrong)
    results = list(read_results(RESULTS).values())
    table = write_tables(MARKER, HEADS, lambda language: lines(results))
    console.say(table)
    return 0


def read_wrong(
    config: Any, train: ImageSet, test: ImageSet, fresh: ImageSet, steps: int, doubtful: str
) -> int:
    """Train, and return how many of the fresh images are read wrong."""
    default = RECIPES["default"]
    recipe = default if doubtful == LEFT_OUT else dataclasses.replace(default, doubt_at=())
    with patch.dict(RECIPES, default=recipe):
        return count_wrong(config, train, test, fresh, len(train), steps, SilentReporter())


def write_down(key: str, share: float, start: str, doubtful: str, steps: int, wrong: int) -> None:
    results = read_results(RESULTS)
    results[key] = {
        "share": share,
        "start": start,
        "doubtful": doubtful,
        "steps": steps,
        "fresh": FRESH,
        "right": FRESH - wrong,
        "date": datetime.date.today().isoformat(),
    }
    write_results(RESULTS, results)


def lines(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each start and share; medians of seeds."""
    for (start, share), runs in grouped(results, ("start", "share"), "doubtful"):
        cells = (median_accuracy(runs.get(doubtful, []), 2) for doubtful in (KEPT, LEFT_OUT))
        yield f"| {share:.0%} | {start} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
