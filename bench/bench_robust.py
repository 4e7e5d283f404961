"""Measure whether trainings leave chance, whatever the captcha and the seed.

    python3 bench/bench_robust.py [CASE ...] [--seeds N ...] [--starts START ...]

Eight kinds of captcha, each trained with several seeds for a tenth of its usual steps. A training
has left chance where, of the test images, more than twice as many characters are right as the most
frequent one of each position would have, in one of its last three reports. A START is
random, backbone, or 3.0.0: random with that version's recipe. Writes each run to
bench/robust_results.json, a table to docs/*/results.md and the curves to readme_image/robust.png.
Without a CASE the table and the picture are written again, with --all every case is measured.
"""

import dataclasses
import datetime
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from matplotlib.figure import Figure

from bench.lib.pages import write_tables
from bench.lib.results import read_results, write_results
from bench.lib.rows import OTHERS, ROWS, Row
from bench.lib.run_folders import draw, lay_out, runs_parser
from cnnlib import console, plots
from cnnlib.config import BACKBONE, RANDOM
from cnnlib.console import SilentReporter
from cnnlib.dataset.image_set import ImageSet, load_images
from cnnlib.dataset.verification import Rules
from cnnlib.paths import PROJECT_ROOT, ProjectPath
from cnnlib.training import TrainModel
from cnnlib.training.history import HISTORY_FILE, read_rows
from cnnlib.training.monitor import chance_accuracy
from cnnlib.training.recipes import RECIPES

RESULTS = PROJECT_ROOT / "bench" / "robust_results.json"
PICTURE = PROJECT_ROOT / "readme_image" / "robust.png"
MARKER = "robust results"
CASES = {
    "20k": ROWS["20k"],
    "1k": ROWS["1k"],
    "strip": OTHERS["strip"],
    "scattered": OTHERS["scattered"],
    "hard": OTHERS["hard"],
    "62-classes": ROWS["62-classes"],
    "chinese": OTHERS["chinese"],
    "10-characters": Row(20_000, 4000, length=10, width=300),
}
DRAWN = 6000  # images at most: a tenth of the steps sees each of them some six times
TESTED = 200
LEFT_CHANCE = 2.0
VERSION_3 = "3.0.0"
VERSION_3_RECIPE = dataclasses.replace(
    RECIPES["default"], clip_norm=0.0, adam_beta2=0.999, least_warm_up=0, doubt_at=()
)
COLOURS = {VERSION_3: "tab:gray", RANDOM: "tab:orange", BACKBONE: "tab:blue"}
HEADS = {
    "en": "| captcha | steps | 3.0.0's recipe left chance | random weights | shipped weights |",
    "zh": "| 验证码 | 步数 | 以 3.0.0 的训练方法脱离随机猜测 | 从随机权重开始 | 从随附权重开始 |",
}


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = runs_parser(__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--all", action="store_true", help="every case")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(6)), metavar="N")
    parser.add_argument("--starts", nargs="+", default=list(COLOURS), metavar="START")
    args = parser.parse_args(argv)
    names = list(CASES) if args.all else args.cases
    if set(names) - set(CASES):
        parser.error(f"name cases, of {', '.join(CASES)}, or --all")
    for name in names:
        train, test = images_of(name, args.folder)
        for seed in args.seeds:
            for start in args.starts:
                measure(name, train, test, seed, start, args.folder)
    results = list(read_results(RESULTS).values())
    table = write_tables(MARKER, HEADS, lambda language: lines(results))
    draw_curves(results)
    console.say(table)
    return 0


def images_of(name: str, folder: Path) -> tuple[ImageSet, ImageSet]:
    """Return images to train on and to test with; drawn where they are not there yet."""
    row = dataclasses.replace(CASES[name], images=min(DRAWN, CASES[name].images))
    config = lay_out(row, folder / "robust", 0, name)
    draw(config, config.origin_image_dir.full, row.images)
    images = load_images(ProjectPath(config.origin_image_dir.full), Rules.from_config(config))
    order = np.random.default_rng(0).permutation(len(images))
    return images.take(order[TESTED:]), images.take(order[:TESTED])


def measure(
    name: str, train: ImageSet, test: ImageSet, seed: int, start: str, folder: Path
) -> None:
    """Train and write down; nothing where it is known."""
    row = CASES[name]
    key, steps = f"{name}, seed {seed}, {start}", row.steps // 10
    results = read_results(RESULTS)
    if key in results:
        return
    scratch = folder / "robust-model"
    shutil.rmtree(scratch, ignore_errors=True)
    first = RANDOM if start == VERSION_3 else start
    config = lay_out(dataclasses.replace(row, start=first), folder / "robust", 0, name)
    config = dataclasses.replace(
        config,
        model_save_dir=ProjectPath(scratch),
        log_dir=ProjectPath(scratch),
        cycle_stop=steps,
        seed=seed,
    )
    model = TrainModel.from_config(config, reporter=SilentReporter())
    # As in the whole run: how images are distorted and spliced depends on how often each is seen.
    whole = max(1, round(len(train) / 10))
    recipe = {"default": VERSION_3_RECIPE} if start == VERSION_3 else {}
    with mock.patch.dict(RECIPES, recipe):
        if model.train_subset(train, test, whole).interrupted:
            raise KeyboardInterrupt
    history = read_rows(scratch / HISTORY_FILE)
    curve = [round(line["accuracy/test_characters"], 3) for line in history]
    chance = chance_accuracy(train.char_ids)
    results[key] = {
        "case": name,
        "seed": seed,
        "start": start,
        "steps": steps,
        "chance": round(chance, 4),
        "left": max(curve[-3:]) > LEFT_CHANCE * chance,
        "curve": curve,
        "date": datetime.date.today().isoformat(),
    }
    write_results(RESULTS, results)
    console.say(f"{key}: {'left chance' if results[key]['left'] else 'AT CHANCE'}, {curve[-1]}")


def lines(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each case, and the sums."""
    totals = {start: [0, 0] for start in COLOURS}
    for name, row in CASES.items():
        cells = []
        for start, total in totals.items():
            runs = [r["left"] for r in results if (r["case"], r["start"]) == (name, start)]
            total[0], total[1] = total[0] + sum(runs), total[1] + len(runs)
            cells.append(f"{sum(runs)} of {len(runs)}" if runs else "-")
        if set(cells) != {"-"}:
            yield f"| `{name}` | {row.steps // 10} | {' | '.join(cells)} |"
    sums = [f"**{left} of {runs}**" for left, runs in totals.values()]
    yield f"| | | {' | '.join(sums)} |"


def draw_curves(results: Sequence[Mapping[str, Any]]) -> None:
    """Draw the share of right characters over the steps, a panel for each case."""
    if not results:
        return
    figure = Figure(figsize=(12, 5.5), layout="constrained")
    for axes, name in zip(figure.subplots(2, 4, sharey=True).flat, CASES, strict=True):
        for run in results:
            if run["case"] == name:
                steps = 10 * (1 + np.arange(len(run["curve"])))
                axes.plot(steps, run["curve"], COLOURS[run["start"]], linewidth=0.8)
        axes.set(title=name, ylim=(0, 1))
        axes.grid(alpha=0.3)
    figure.supxlabel("steps; shipped weights (blue), random weights (orange), 3.0.0 (gray)")
    figure.supylabel("characters of test images right")
    plots.save_png(figure, PICTURE)


if __name__ == "__main__":
    sys.exit(main())
