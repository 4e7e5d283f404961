"""Train the model of the row `100k` of bench_training.py further, test it, and ship it.

    python3 bench/ship_pretrained.py [--folder FOLDER]

The row, seed 0, must be measured in FOLDER. Its weights are trained as long again, on as many other
images, and tested on 10,000 fresh ones. Writes the best weights to model/pretrained, which is part
of the project, with their export to ONNX, compared on the same images;
bench/pretrained_results.json, the lines in docs/en/results.md and docs/zh/results.md, and the
images with wrong answers as readme_image/pretrained_errors.png. Stopped and run again, it goes on
from there.
"""

import dataclasses
import datetime
import shutil
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from bench.lib.pages import replace_in_pages
from bench.lib.results import write_results
from bench.lib.rows import ROWS, Row
from bench.lib.run_folders import conf_dir, draw, lay_out, moved_to, runs_parser
from cnnlib import console, plots
from cnnlib.config import SampleConfig, load_sample_config
from cnnlib.dataset import verify_and_split
from cnnlib.dataset.images import open_image, to_gray_or_rgb
from cnnlib.errors import CaptchaError
from cnnlib.evaluation import TestBatch
from cnnlib.evaluation.batch_test import BatchResult
from cnnlib.evaluation.metrics import confusions, wilson_interval
from cnnlib.exporting.export import export_model
from cnnlib.networks.model_folder import ModelFolder
from cnnlib.paths import PROJECT_ROOT, ProjectPath
from cnnlib.training import TrainModel

CONFIG = PROJECT_ROOT / "conf" / "pretrained_config.json"
RESULTS = PROJECT_ROOT / "bench" / "pretrained_results.json"
PICTURE = PROJECT_ROOT / "readme_image" / "pretrained_errors.png"
MARKER = "pretrained results"
ROW, FRESH, MAX_SHOWN = "100k", 10_000, 24
WORDS = {
    "en": "Of {fresh:,} captchas drawn for this afterwards it has {right:,} right, "
    "{share:.2%} ({low:.2%} to {high:.2%}). Trained by `python3 "
    "bench/bench_training.py 100k` and `python3 bench/ship_pretrained.py`: two runs "
    "of {steps:,} steps of {batch}, each on {images:,} images of captcha {captcha}; "
    "{date}.",
    "zh": "在训练之后另外绘制的 {fresh:,} 张验证码上读对 {right:,} 张，准确率 "
    "{share:.2%}（{low:.2%} 至 {high:.2%}）。由 `python3 "
    "bench/bench_training.py 100k` 和 `python3 "
    "bench/ship_pretrained.py` 训练得到：两次各 {steps:,} 步，批大小 "
    "{batch}，每次 {images:,} 张由 captcha {captcha} 绘制的图片；{date}。",
}


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    folder = runs_parser(__doc__).parse_args(argv).folder
    row = ROWS[ROW]
    source = lay_out(row, folder, 0, ROW)
    check_is_measured(source)
    config = copied(source, folder / "pretrained")
    draw(config, config.origin_image_dir.full, row.images)
    verify_and_split(config, config.seed)
    model = TrainModel.from_config(config)
    trained = model.folder.read_required().total_step >= 2 * row.steps
    if not trained and model.train_cnn().interrupted:
        return console.EXIT_INTERRUPTED
    fresh = folder / "pretrained" / "fresh"
    draw(config, fresh, FRESH)
    result = TestBatch(fresh, config.char_set, config.model_save_dir).test_batch()
    figures = figures_of(result, row)
    lines = {language: words.format(**figures) for language, words in WORDS.items()}
    ship(model.folder, lines["en"])
    shipped = dataclasses.replace(load_sample_config(CONFIG), test_image_dir=ProjectPath(fresh))
    console.say(export_model(shipped).comparison.summary())
    draw_errors(result, fresh)
    write_results(RESULTS, figures)
    replace_in_pages(MARKER, {language: f"{line}\n" for language, line in lines.items()})
    console.say(lines["en"])
    return 0


def check_is_measured(config: SampleConfig) -> None:
    model = ModelFolder(config.model_save_dir)
    info = model.read()
    if info is None or not info.run.done:
        raise CaptchaError(
            f"no finished model in {model}: run python3 bench/bench_training.py {ROW} first"
        )


def copied(source: SampleConfig, target: Path) -> SampleConfig:
    """Return the config of the further run, with a copy of the row's model to go on from."""
    shutil.copytree(conf_dir(source), target / "conf", dirs_exist_ok=True)
    if not (target / "model").exists():
        shutil.copytree(source.model_save_dir, target / "model")
    return moved_to(source, target)


def figures_of(result: BatchResult, row: Row) -> dict[str, Any]:
    low, high = wilson_interval(result.right, result.total)
    pairs = ((item.label, item.prediction.text) for item in result.wrong)
    return {
        "fresh": result.total,
        "right": result.right,
        "share": result.image_accuracy,
        "low": low,
        "high": high,
        "images": row.images,
        "steps": row.steps,
        "batch": row.batch,
        "captcha": metadata.version("captcha"),
        "date": datetime.date.today().isoformat(),
        "confusions": confusions(pairs)[:MAX_SHOWN],
    }


def ship(source: ModelFolder, origin: str) -> None:
    """Copy the best weights, and what model.json says of them."""
    info = source.read_required()
    target = ModelFolder(load_sample_config(CONFIG).model_save_dir)
    target.full.mkdir(parents=True, exist_ok=True)
    for file in source.full.glob(f"{info.best}.*"):
        shutil.copyfile(file, target.full / file.name)
    # No run goes on from here, but new ones may begin.
    target.commit(dataclasses.replace(info, last=info.best, origin=origin.replace("`", "")))


def draw_errors(result: BatchResult, folder: Path) -> None:
    """Draw the images with wrong answers, the least certain first."""
    wrong = result.wrong[:MAX_SHOWN]
    plots.image_grid(
        [np.array(to_gray_or_rgb(open_image(folder / item.name))) for item in wrong],
        [f"{item.label}, read as {item.prediction.text}" for item in wrong],
        PICTURE,
    )


if __name__ == "__main__":
    sys.exit(main())
