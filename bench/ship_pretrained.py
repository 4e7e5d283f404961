"""Ship the model of the row `100k` of bench_training.py, after a test on 10,000 fresh images.

    python3 bench/ship_pretrained.py [--folder FOLDER]

The row, seed 0, must be measured in FOLDER. Writes its best weights to model/pretrained, which is
part of the project, bench/pretrained_results.json, the lines in README.md and README.zh-CN.md, and
the images that it reads wrongly as readme_image/pretrained_errors.png.
"""

import argparse
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

from bench.bench_training import ROWS, draw, lay_out
from bench.demo_results import replace_between_markers
from cnnlib import console, metrics, plots
from cnnlib.config import PROJECT_ROOT, existing_path, load_sample_config
from cnnlib.encoding import flat, open_image
from cnnlib.errors import CaptchaError
from cnnlib.evaluation import BatchResult, TestBatch
from cnnlib.files import replacing
from cnnlib.model_folder import ModelFolder

CONFIG = PROJECT_ROOT / "conf" / "pretrained_config.json"
RESULTS = PROJECT_ROOT / "bench" / "pretrained_results.json"
PICTURE = PROJECT_ROOT / "readme_image" / "pretrained_errors.png"
MARKER = "pretrained results"
ROW, FRESH, SHOWN = "100k", 10_000, 24
WORDS = {
    "README.md": "Of {fresh:,} captchas drawn for this afterwards it has {right:,} right, "
                 "{share:.2%} ({low:.2%} to {high:.2%}). Trained by `python3 "
                 "bench/bench_training.py 100k` ({images:,} images, {steps:,} steps of {batch}, "
                 "seed 0), with captcha {captcha}, on {date}.",
    "README.zh-CN.md": "在之后专门绘制的 {fresh:,} 张验证码中正确 {right:,} 张，{share:.2%}"
                       "（{low:.2%} 至 {high:.2%}）。由 `python3 bench/bench_training.py 100k` 训练"
                       "（{images:,} 张图片，{steps:,} 步，批大小 {batch}，种子 0），"
                       "captcha {captcha}，{date}。",
}


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=existing_path, metavar="FOLDER",
                        default=PROJECT_ROOT / "bench" / "runs")
    args = parser.parse_args(argv)
    row = ROWS[ROW]
    trained = lay_out(row, args.folder, 0, ROW)
    info = ModelFolder(trained.model_save_dir).read()
    if info is None or not info.run.done:
        raise CaptchaError(f"{trained.model_save_dir} holds no finished model: run python3 "
                           f"bench/bench_training.py {ROW} first")
    fresh = args.folder / "pretrained-fresh"
    draw(trained, fresh, FRESH)
    result = TestBatch(fresh, trained.char_set, trained.model_save_dir).test_batch()
    low, high = metrics.wilson_interval(result.right, result.total)
    values = {"fresh": result.total, "right": result.right, "share": result.image_accuracy,
              "low": low, "high": high, "images": row.images, "steps": info.run.step,
              "batch": row.batch, "captcha": metadata.version("captcha"),
              "date": datetime.date.today().isoformat(),
              "confusions": metrics.confusions((w.label, w.prediction.text)
                                               for w in result.wrong)[:SHOWN]}
    ship(ModelFolder(trained.model_save_dir), values)
    show(result, fresh)
    with replacing(RESULTS) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    for page, words in WORDS.items():
        replace_between_markers(PROJECT_ROOT / page, MARKER, words.format(**values) + "\n")
    console.say(WORDS["README.md"].format(**values))
    return 0


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
