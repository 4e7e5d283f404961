"""Train the model of the row `100k` of bench_training.py further, test it, and ship it.

    python3 bench/ship_pretrained.py [--folder FOLDER]

The row, seed 0, must be measured in FOLDER. Its weights are trained as long again, on as many other
images, and tested on 10,000 fresh ones. Writes the best weights to model/pretrained, which is part
of the project, bench/pretrained_results.json, the lines in README.md and README.zh-CN.md, and the
images that are read wrongly as readme_image/pretrained_errors.png. Stopped, it goes on when it is
run again.
"""

import dataclasses
import datetime
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from bench.bench_training import ROWS, Row, draw, lay_out, runs_parser
from bench.demo_results import replace_between_markers
from cnnlib import console, metrics, plots
from cnnlib.config import (
    PROJECT_ROOT,
    ProjectPath,
    SampleConfig,
    load_sample_config,
)
from cnnlib.dataset import verify_and_split
from cnnlib.encoding import flat, open_image
from cnnlib.errors import CaptchaError
from cnnlib.evaluation import BatchResult, TestBatch
from cnnlib.files import replacing
from cnnlib.model_folder import ModelFolder
from cnnlib.training import TrainModel

CONFIG = PROJECT_ROOT / "conf" / "pretrained_config.json"
RESULTS = PROJECT_ROOT / "bench" / "pretrained_results.json"
PICTURE = PROJECT_ROOT / "readme_image" / "pretrained_errors.png"
MARKER = "pretrained results"
ROW, FRESH, SHOWN = "100k", 10_000, 24
WORDS = {
    "README.md": "Of {fresh:,} captchas drawn for this afterwards it has {right:,} right, "
                 "{share:.2%} ({low:.2%} to {high:.2%}). Trained by `python3 "
                 "bench/bench_training.py 100k` and `python3 bench/ship_pretrained.py`: two runs "
                 "of {steps:,} steps of {batch}, each on {images:,} images of captcha {captcha}; "
                 "{date}.",
    "README.zh-CN.md": "在训练之后另外绘制的 {fresh:,} 张验证码上读对 {right:,} 张，准确率 "
                       "{share:.2%}（{low:.2%} 至 {high:.2%}）。由 `python3 "
                       "bench/bench_training.py 100k` 和 `python3 "
                       "bench/ship_pretrained.py` 训练得到：两次各 {steps:,} 步，批大小 "
                       "{batch}，每次 {images:,} 张由 captcha {captcha} 绘制的图片；{date}。",
}


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    args = runs_parser(__doc__).parse_args(argv)
    row = ROWS[ROW]
    trained = lay_out(row, args.folder, 0, ROW)
    info = ModelFolder(trained.model_save_dir).read()
    if info is None or not info.run.done:
        raise CaptchaError(f"{trained.model_save_dir} holds no finished model: run python3 "
                           f"bench/bench_training.py {ROW} first")
    config = laid_out(row, args.folder)
    draw(config, config.origin_image_dir.full, row.images)
    verify_and_split(config, config.seed)
    model = TrainModel.from_config(config)
    if model.folder.required().total_step < 2 * row.steps and model.train_cnn().interrupted:
        return console.EXIT_INTERRUPTED
    fresh = args.folder / "pretrained" / "fresh"
    draw(config, fresh, FRESH)
    result = TestBatch(fresh, config.char_set, config.model_save_dir).test_batch()
    low, high = metrics.wilson_interval(result.right, result.total)
    values = {"fresh": result.total, "right": result.right, "share": result.image_accuracy,
              "low": low, "high": high, "images": row.images, "steps": row.steps,
              "batch": row.batch, "captcha": metadata.version("captcha"),
              "date": datetime.date.today().isoformat(),
              "confusions": metrics.confusions((w.label, w.prediction.text)
                                               for w in result.wrong)[:SHOWN]}
    ship(model.folder, values)
    show(result, fresh)
    with replacing(RESULTS) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    for page, words in WORDS.items():
        replace_between_markers(PROJECT_ROOT / page, MARKER, words.format(**values) + "\n")
    console.say(WORDS["README.md"].format(**values))
    return 0


def laid_out(row: Row, folder: Path) -> SampleConfig:
    """Return the config of the further run, with a copy of the row's model to go on from."""
    config = lay_out(row, folder, 0, ROW)
    places = {f"{kind}_image_dir": ProjectPath(folder / "pretrained" / kind)
              for kind in ("origin", "new", "train", "test")}
    model_dir = folder / "pretrained" / "model"
    shutil.copytree(config.model_save_dir.full.parent / "conf", folder / "pretrained" / "conf",
                    dirs_exist_ok=True)
    if not model_dir.exists():
        shutil.copytree(config.model_save_dir.full, model_dir)
    return dataclasses.replace(config, model_save_dir=ProjectPath(model_dir),
                               log_dir=ProjectPath(folder / "pretrained" / "logs"), **places)


def ship(source: ModelFolder, values: Mapping[str, Any]) -> None:
    """Copy the best weights, and what model.json says of them."""
    info = source.required()
    target = ModelFolder(load_sample_config(CONFIG).model_save_dir)
    target.full.mkdir(parents=True, exist_ok=True)
    for file in source.full.glob(f"{info.best}.*"):
        shutil.copyfile(file, target.full / file.name)
    target.commit(dataclasses.replace(
        info, last=info.best,  # no run goes on from here, but new ones may begin
        origin=WORDS["README.md"].format(**values).replace("`", "")))


def show(result: BatchResult, folder: Path) -> None:
    """Draw the images that were read wrongly, the least certain first."""
    wrong = result.wrong[:SHOWN]
    plots.image_grid([np.array(flat(open_image(folder / item.name))) for item in wrong],
                     [f"{item.label}, read as {item.prediction.text}" for item in wrong], PICTURE)


if __name__ == "__main__":
    sys.exit(main())
