"""Train on sets of captchas as their owners publish them, and read a tenth that was held back.

    python3 bench/bench_public_sets.py [FOLDER[=SOURCE] ...] [--seed N] [--work FOLDER]

Each folder goes in as by new_project.py, with nothing but what that proposes. A tenth of its
images, those whose SHA-256 is in the lowest tenth of its range, is held back from training and its
choices, and read at the end. SOURCE, such as a repository and its commit, is shown in the table.

Writes a row for each folder to bench/public_sets_results.json, the tables in docs/en/results.md and
docs/zh/results.md, and images and models below --work (default: bench/runs). The folders stay as
they are. Without a folder the tables are written again.
"""

import dataclasses
import datetime
import hashlib
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.lib.pages import markdown_table, replace_in_pages
from bench.lib.results import read_results, write_results
from bench.lib.run_folders import RUNS
from cnnlib import console
from cnnlib.captcha_spec import fold_case
from cnnlib.config import SampleConfig
from cnnlib.dataset.images import open_image
from cnnlib.dataset.splitting import verify_and_split
from cnnlib.errors import CaptchaError
from cnnlib.evaluation.metrics import wilson_interval
from cnnlib.importing.findings import findings
from cnnlib.importing.labelled_folder import LabelledFolder, read_labelled_folder
from cnnlib.importing.project import Project, describe_import
from cnnlib.importing.source_folder import SourceFolder
from cnnlib.paths import PROJECT_ROOT, resolve_input_path, resolve_output_path
from cnnlib.recognizer import Recognizer
from cnnlib.training import TrainModel

RESULTS = PROJECT_ROOT / "bench" / "public_sets_results.json"
MARKER = "public sets"
HELD_BACK = 0.1
HEADS = {
    "en": "| set | images | lengths | characters | size | training | right of those held back, "
    "95 % interval |",
    "zh": "| 数据集 | 图片 | 长度 | 字符数 | 尺寸 | 训练 | 保留图片的正确率，95 % 区间 |",
}


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__)
    parser.add_argument("folders", nargs="*", metavar="FOLDER[=SOURCE]")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--work", type=resolve_output_path, default=RUNS, metavar="FOLDER")
    args = parser.parse_args(argv)
    for text in args.folders:
        folder, _, source = text.partition("=")
        root = resolve_input_path(folder).resolve()
        row = measure(root, source or root.name, args.seed, args.work)
        if row is None:
            return console.EXIT_INTERRUPTED
        write_results(RESULTS, read_results(RESULTS) | {f"{root.name}, seed {args.seed}": row})
    texts = table(read_results(RESULTS))
    replace_in_pages(MARKER, texts)
    console.say(texts["en"])
    return 0


def measure(root: Path, source: str, seed: int, work: Path) -> dict[str, Any] | None:
    """Return a row of the table; None where the training was interrupted."""
    found = read_labelled_folder(root)
    kept, held_back = hold_back(found)
    name = f"{re.sub(r'[^A-Za-z0-9_-]+', '_', root.name)}-{seed}"
    project = Project(name, work / "public_sets")
    shutil.rmtree(project.folder, ignore_errors=True)  # images of an earlier run
    result, seen = project.copy_images(kept, None)
    values = project.write_config(seen)
    for line in (*describe_import(kept, result), *findings(seen, values)):
        console.say(f"- {line}")
    config = dataclasses.replace(project.config(), seed=seed)
    verify_and_split(config, seed)
    began_s = time.perf_counter()
    training = TrainModel.from_config(config, fresh=True).train_cnn()
    if training.interrupted:
        return None
    training_s = time.perf_counter() - began_s
    right = count_right(config, root, held_back)
    console.say(f"{root.name}: {right} of {len(held_back)} held back are right")
    return {
        "source": source,
        "images": len(found.labels),
        "lengths": [min(seen.lengths), max(seen.lengths)],
        "characters": len(config.char_set),
        "size": [config.image_width, config.image_height, config.image_channels],
        "steps": training.steps,
        "training_s": round(training_s),
        "held_back": len(held_back),
        "right": right,
        "date": datetime.date.today().isoformat(),
    }


def hold_back(found: LabelledFolder) -> tuple[LabelledFolder, dict[str, str]]:
    """Return the folder without a fixed tenth of its images, and the labels of these."""
    back = {name for name in found.source.images if is_held_back(found.source.path(name))}
    images = [name for name in found.source.images if name not in back]
    kept = {name: label for name, label in found.labels.items() if name not in back}
    source = SourceFolder(found.source.root, images, found.source.others, bytes=found.source.bytes)
    return (
        dataclasses.replace(found, source=source, labels=kept),
        {name: label for name, label in found.labels.items() if name in back},
    )


def is_held_back(file: Path) -> bool:
    digest = hashlib.sha256(file.read_bytes()).digest()
    return int.from_bytes(digest[:8], "big") < HELD_BACK * 2**64


def count_right(config: SampleConfig, root: Path, labels: Mapping[str, str]) -> int:
    """Return how many images are read as they are labelled; those that are refused are wrong."""
    fold = fold_case if config.ignore_case else str
    right = 0
    with Recognizer.from_config(config) as recognizer:
        for name, label in labels.items():
            try:
                right += recognizer.rec_image(open_image(root / name)) == fold(label)
            except CaptchaError as error:
                console.say(f"{name}: {error}")
    return right


def table(results: Mapping[str, Any]) -> dict[str, str]:
    """Return the table in each language."""
    rows = [row_text(row) for row in results.values()]
    return {language: markdown_table(head, rows) for language, head in HEADS.items()}


def row_text(row: Mapping[str, Any]) -> str:
    low, high = wilson_interval(row["right"], row["held_back"])
    shortest, longest = row["lengths"]
    width, height, channels = row["size"]
    return (
        f"| {row['source']} | {row['images']:,} | "
        f"{longest if shortest == longest else f'{shortest}-{longest}'} | {row['characters']} | "
        f"{width}x{height}{'x3' if channels == 3 else ''} | {row['steps']:,} steps, "
        f"{row['training_s'] / 60:.1f} min | {row['right'] / row['held_back']:.1%} of "
        f"{row['held_back']:,} ({low:.1%} to {high:.1%}) |"
    )


if __name__ == "__main__":
    sys.exit(main())
