"""Measure what the starting weights bring against random ones: same images, same steps.

    python3 bench/bench_start.py CASE ... [--labels N ...] [--seeds N ...] [--backbone FOLDER]

A CASE is a style of practice captchas (lines, outline, scattered), or a folder of captchas that
its owner published, taken in as by new_project.py. Trains on N of its labelled images, and reads
others: 2,000 of a style, a fixed tenth of a folder. 0 labels: what the starting weights read
untrained.

--backbone names a folder as model/backbone, for weights that have not seen the styles. Writes each
measurement to bench/start_results.json and the table to docs/*/results.md. Without a CASE the table
is written again.
"""

import argparse
import dataclasses
import datetime
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from bench.bench_public_sets import hold_back
from bench.lib.pages import write_tables
from bench.lib.results import grouped, median_accuracy, read_results, write_results
from bench.lib.rows import OTHERS
from bench.lib.run_folders import draw, lay_out, runs_parser
from cnnlib import console
from cnnlib.config import BACKBONE, RANDOM, SampleConfig
from cnnlib.console import SilentReporter
from cnnlib.dataset.image_set import ImageSet, load_images
from cnnlib.dataset.verification import Rules
from cnnlib.errors import ConfigError
from cnnlib.importing.labelled_folder import read_labelled_folder
from cnnlib.importing.project import Project
from cnnlib.networks import starting_weights
from cnnlib.networks.session import open_session, session_options
from cnnlib.paths import PROJECT_ROOT, ProjectPath, resolve_input_path
from cnnlib.training import TrainModel
from cnnlib.training.forecast import count_wrong
from cnnlib.training.saving import ModelSaver
from cnnlib.training.scoring import Scorer

RESULTS = PROJECT_ROOT / "bench" / "start_results.json"
MARKER = "start results"
STYLES = ("lines", "outline", "scattered")  # that the evaluation's starting weights have not seen
STEPS = {100: 400, 200: 500, 500: 600, 1000: 1000, 5000: 1500}  # by the number of labels
STEERING = 50  # labelled images more, which choose the best weights
POOL, FRESH = 6000, 2000  # images of a style
QUIET = SilentReporter()
HEADS = {
    "en": "| captcha | labels | steps | random start | shipped weights |",
    "zh": "| 验证码 | 标注数 | 步数 | 随机权重 | 随附权重 |",
}
UNTRAINED = {"en": "untrained", "zh": "未训练"}


@dataclass(frozen=True)
class Case:
    """A kind of captcha: its config, images to learn from in a random order, and fresh ones."""

    name: str
    config: SampleConfig
    pool: ImageSet
    fresh: ImageSet


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = cases_parser(__doc__)
    parser.add_argument("--labels", type=int, nargs="+", default=[0, *STEPS], metavar="N")
    parser.add_argument("--steps", type=int, metavar="N")
    parser.add_argument("--starts", nargs="+", default=[RANDOM, BACKBONE], metavar="START")
    args = parser.parse_args(argv)
    if args.backbone:
        use_backbone(args.backbone)
    for name in args.cases:
        case = find_case(name, args.folder)
        for labels in args.labels:
            for seed in args.seeds:
                for start in args.starts:
                    measure(case, labels, args.steps, seed, start)
        write_table()
    write_table()
    return 0


def cases_parser(manual: str | None) -> argparse.ArgumentParser:
    """Return the parser of a bench on cases: seeds, and the weights that trainings start from."""
    parser = runs_parser(manual)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N")
    parser.add_argument("--backbone", type=resolve_input_path, metavar="FOLDER")
    return parser


def use_backbone(folder: Path) -> None:
    """Let trainings start from the weights of a folder; raises ConfigError where it has none."""
    if not (folder / starting_weights.DESCRIPTION_FILE).exists():
        raise ConfigError(f"{folder} has no {starting_weights.DESCRIPTION_FILE}: name another")
    starting_weights.BACKBONE_DIR = folder


def write_table() -> None:
    results = list(read_results(RESULTS).values())
    table = write_tables(MARKER, HEADS, lambda language: lines(results, UNTRAINED[language]))
    console.say(table)


# --- cases ---


def find_case(name: str, folder: Path) -> Case:
    return style(name, folder) if name in STYLES else published(name, folder)


def style(name: str, folder: Path, pool: int = POOL) -> Case:
    row = dataclasses.replace(OTHERS[name], images=pool)
    config = lay_out(row, folder, 0, f"start-{name}")
    places = config.origin_image_dir.full, config.train_image_dir.full.with_name("fresh")
    images = []
    for place, count in zip(places, (pool, FRESH), strict=True):
        draw(config, place, count)
        images.append(load_images(ProjectPath(place), Rules.from_config(config)))
    return Case(name, config, *images)


def published(name: str, folder: Path) -> Case:
    root = resolve_input_path(name).resolve()
    found = read_labelled_folder(root)
    kept, back = hold_back(found)
    held_back = dataclasses.replace(
        found, source=dataclasses.replace(found.source, images=list(back)), labels=back
    )
    projects = [Project(f"start-{root.name}{part}", folder / "public_sets") for part in ("", "-f")]
    for project, part in zip(projects, (kept, held_back), strict=True):
        shutil.rmtree(project.folder, ignore_errors=True)  # images of an earlier run
        _, seen = project.copy_images(part, None, QUIET)
        project.write_config(seen)
    config, rules = projects[0].config(), Rules.from_config(projects[0].config())
    pool, fresh = (load_images(project.config().origin_image_dir, rules) for project in projects)
    return Case(root.name, config, pool, fresh)


# --- measurements ---


def measure(case: Case, labels: int, steps: int | None, seed: int, start: str) -> None:
    """Measure and write down; nothing where it is known, or the images are too few."""
    steps = (steps or STEPS.get(labels, 1000)) if labels else 0
    key = f"{case.name}, {labels} labels, {steps} steps, seed {seed}, {start}"
    results = read_results(RESULTS)
    if key in results or labels + STEERING > len(case.pool) or (not labels and start == RANDOM):
        return
    config = dataclasses.replace(
        case.config, cycle_save=10**6, seed=seed, start=start, test_time_augmentation=False
    )
    order = np.random.default_rng(seed).permutation(len(case.pool))
    test = case.pool.take(order[:STEERING])
    train = case.pool.take(order[STEERING : STEERING + max(1, labels)])
    if labels:
        wrong = count_wrong(config, train, test, case.fresh, len(train), steps, QUIET)
        right = len(case.fresh) - wrong
    else:
        right = round(len(case.fresh) * untrained_accuracy(config, train, test, case.fresh))
    console.say(f"{key}: {right / len(case.fresh):.2%}")
    results[key] = {
        "case": case.name,
        "labels": labels,
        "steps": steps,
        "seed": seed,
        "start": start,
        "fresh": len(case.fresh),
        "right": right,
        "date": datetime.date.today().isoformat(),
    }
    write_results(RESULTS, results)


def untrained_accuracy(
    config: SampleConfig, train: ImageSet, test: ImageSet, fresh: ImageSet
) -> float:
    """Return the share of images that the starting weights read without any training."""
    with tempfile.TemporaryDirectory() as folder:
        nowhere = dataclasses.replace(config, model_save_dir=ProjectPath(folder))
        model = TrainModel.from_config(nowhere, reporter=QUIET)
        graph = model.build_graph(len(train))
        with open_session(graph.graph, session_options()) as session:
            scorer = Scorer(graph, session, config.spec.has_end_class)
            ModelSaver(model, graph, session, scorer, model.options, test).restore(None)
            return scorer.score_all(fresh).image_accuracy


# --- the table ---


def lines(results: Sequence[Mapping[str, Any]], untrained: str) -> Iterator[str]:
    """Yield a line for each case, number of labels and of steps; medians of seeds."""
    for (case, labels, steps), runs in grouped(results, ("case", "labels", "steps"), "start"):
        cells = (median_accuracy(runs.get(start, [])) for start in (RANDOM, BACKBONE))
        yield f"| `{case}` | {labels:,} | {steps or untrained} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
