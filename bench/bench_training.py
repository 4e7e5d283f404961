"""Measure how accurate a training gets: rows of cases, each on images drawn for it.

    python3 bench/bench_training.py ROW [ROW ...] [--seed N] [--folder FOLDER]
    python3 bench/bench_training.py --all
    python3 bench/bench_training.py --others
    python3 bench/bench_training.py --hard
    python3 bench/bench_training.py --ablation

For each row: draws its images, splits them, trains from random weights (rows that say so from
shipped ones), then draws 5,000 more images and recognises each once. All choices (best step,
temperature) are made within the row's own images. A row with a teacher trains that first, unless
its model is there. Ctrl-C keeps what is done; the same command goes on from there.
Writes bench/training_results.json, the tables in docs/en/results.md and docs/zh/results.md, and the
plot readme_image/accuracy.png. FOLDER (bench/runs, 100 to 700 MB for each set of images) holds
images and models until it is removed.
"""

import argparse
import dataclasses
import datetime
import statistics
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.lib import ablation
from bench.lib.chinese import CHINESE_FONT
from bench.lib.machine import matrix_peak
from bench.lib.pages import replace_in_pages
from bench.lib.results import read_results, write_results
from bench.lib.rows import ABLATION, HARD, OTHERS, ROWS, Row, definition, is_of, needs
from bench.lib.run_folders import draw, lay_out, prepare, runs_parser
from bench.lib.training_tables import RESULTS, TABLES, WORDS, plot, table
from bootstrap.machine import processor
from cnnlib import console
from cnnlib.config import SampleConfig
from cnnlib.evaluation import TestBatch
from cnnlib.evaluation.batch_test import BatchResult
from cnnlib.networks.model_folder import ModelFolder, ModelInfo
from cnnlib.paths import PROJECT_ROOT, ProjectPath
from cnnlib.training import TrainModel
from cnnlib.training.history import HISTORY_FILE, read_rows
from cnnlib.training.reports import TrainingResult

PICTURE = PROJECT_ROOT / "readme_image" / "accuracy.png"
FRESH = 5_000


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    known = ROWS | OTHERS | HARD | ABLATION
    parser = runs_parser(__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(known))
    parser.add_argument("--all", action="store_true", help="every row")
    parser.add_argument("--others", action="store_true", help="other lengths, styles, alphabets")
    parser.add_argument("--hard", action="store_true", help="what helps with hard captchas")
    parser.add_argument("--ablation", action="store_true", help="the rows of the ablation")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    args = parser.parse_args(argv)
    names = chosen_names(args, known)
    if not names or set(names) - set(known):
        parser.error(f"name rows, of {', '.join(known)}, or --all")
    if "chinese" in names and not Path(CHINESE_FONT).exists():
        console.warn(f"row chinese is left out: no {CHINESE_FONT} (fonts-wqy-microhei)")
        names.remove("chinese")
    with ablation.registered():
        return measure_rows({name: known[name] for name in names}, args.folder, args.seed)


def chosen_names(args: argparse.Namespace, known: Mapping[str, Row]) -> list[str]:
    if args.all:
        return list(known)
    groups = ((args.others, OTHERS), (args.hard, HARD), (args.ablation, ABLATION))
    return [*args.rows, *(name for wanted, rows in groups if wanted for name in rows)]


def measure_rows(rows: Mapping[str, Row], folder: Path, seed: int) -> int:
    """Measure what is not measured yet, write it down after each row; return the exit code."""
    matrix_peak(repeats=1)  # a first session with all threads: a recogniser's would have one
    results = read_results(RESULTS)
    for name, row in rows.items():
        run = f"{name}, seed {seed}"
        if run not in results or not is_of(results[run], row):
            console.say(f"== {run}")
            measured = measure(name, row, folder, seed)
            if measured is None:
                return console.EXIT_INTERRUPTED
            results[run] = measured
            write_results(RESULTS, results)
        write_pages(results)
    for table_rows in TABLES.values():
        console.say(table(table_rows, results, WORDS["en"]))
    return 0


def write_pages(results: Mapping[str, Mapping[str, Any]]) -> None:
    for marker, rows in TABLES.items():
        replace_in_pages(
            marker,
            {language: table(rows, results, words) for language, words in WORDS.items()},
        )
    plot(results, PICTURE)


def measure(name: str, row: Row, folder: Path, seed: int) -> dict[str, Any] | None:
    """Train and test one row; None where the training was interrupted."""
    if row.teacher:
        taught = train(row.teacher, ROWS[row.teacher], folder, seed)
        if taught and taught.interrupted:
            return None
    trained = train(name, row, folder, seed)
    if trained and trained.interrupted:
        return None
    config = lay_out(row, folder, seed, name)
    result, tested = read_fresh(config), ModelFolder(config.model_save_dir).read_required()
    return {
        **definition(row),
        "seed": seed,
        **accuracy(result),
        **read_once(config, tested),
        "steps": tested.run.step,
        "best_step": tested.step,
        **speed(row, config, trained, tested.run.step),
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "libraries": {name: metadata.version(name) for name in ("tensorflow", "captcha")},
    }


def read_fresh(config: SampleConfig) -> BatchResult:
    """Let the model of a row read fresh images; these are drawn where they are missing."""
    fresh = config.train_image_dir.full.with_name("fresh")
    draw(config, fresh, FRESH)
    config = dataclasses.replace(config, test_image_dir=ProjectPath(fresh))
    return TestBatch.from_config(config).test_batch()


def read_once(config: SampleConfig, model: ModelInfo) -> dict[str, int]:
    """Return how many fresh images are right without test-time augmentation, if there is any."""
    if not model.augmented:
        return {}
    once = dataclasses.replace(config, test_time_augmentation=False)
    return {"right_once": read_fresh(once).right}


def train(name: str, row: Row, folder: Path, seed: int) -> TrainingResult | None:
    """Draw a row's images and train its model, unless that is done: then return None."""
    model = TrainModel.from_config(prepare(row, folder, seed, name))
    info = model.folder.read()
    return None if info and info.run.done else model.train_cnn()


def accuracy(result: BatchResult) -> dict[str, Any]:
    of_case_alone = sum(w.label.lower() == w.prediction.text.lower() for w in result.wrong)
    return {
        "fresh": result.total,
        "right": result.right,
        "right_with_case_ignored": result.right + of_case_alone,
        "char_accuracy": result.char_accuracy,
        "calibration_error": result.calibration_error,
        "coverage": [dataclasses.asdict(line) for line in result.coverage],
    }


def speed(
    row: Row, config: SampleConfig, trained: TrainingResult | None, steps: int
) -> dict[str, Any]:
    """Return times and operations a second; the time in all only where it was one go."""
    history = read_rows(config.model_save_dir.full / HISTORY_FILE)
    images_per_s = statistics.median(line["images_per_second"] for line in history)
    in_one_go = trained is not None and trained.steps == steps
    flop = 3 * needs(row).flop + (needs(ROWS[row.teacher]).flop if row.teacher else 0)
    return {
        "training_s": round(trained.seconds) if trained and in_one_go else None,
        "training_flops": round(flop * images_per_s),
        "matrix_peak_flops": round(matrix_peak()),
    }


if __name__ == "__main__":
    sys.exit(main())
