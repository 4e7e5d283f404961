"""Measure what 500 images of a kind that a model gets wrong bring, and what they cost it.

    python3 bench/bench_more_images.py [--folder FOLDER]

Goes on from the row `5k`, seed 0, of bench_training.py in FOLDER, which must be measured. The new
kind is the same captcha in another typeface. 500 of them are put into new_image_dir, split, and
trained on, together with the old ones; before and after, the model reads 5,000 fresh images of the
old kind and 2,000 of the new one. Writes bench/more_images.json and the table in both READMEs.
"""

import dataclasses
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import matplotlib

from bench.bench_training import ROWS, lay_out, runs_parser
from bench.demo_results import replace_between_markers
from cnnlib import console, metrics
from cnnlib.config import (
    PROJECT_ROOT,
    ProjectPath,
    SampleConfig,
    load_captcha_config,
)
from cnnlib.dataset import verify_and_split
from cnnlib.errors import CaptchaError
from cnnlib.evaluation import TestBatch
from cnnlib.files import replacing
from cnnlib.training import TrainModel
from gen_image.generator import draw_samples

RESULTS = PROJECT_ROOT / "bench" / "more_images.json"
MARKER = "more images"
ADDED, TESTED, STEPS = 500, 2000, 1000
TYPEFACE = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSerif-Bold.ttf"
WORDS = {
    "README.md": ("| | the old kind | the new kind |", "before",
                  "with 500 images of the new kind, 1,000 steps later",
                  "{:.1%} ({:.1%} to {:.1%})"),
    "README.zh-CN.md": ("| | 原来的验证码 | 新的验证码 |", "之前",
                        "加入 500 张新图片，再训练 1,000 步后", "{:.1%}（{:.1%} 至 {:.1%}）"),
}


def copied(folder: Path) -> SampleConfig:
    """Copy images and model of the row, and return the config of the copy."""
    name = "more-images"
    source = lay_out(ROWS["5k"], folder, 0, "5k")
    if not (source.model_save_dir.full / "model.json").exists():
        raise CaptchaError(f"no model in {source.model_save_dir}: run python3 "
                           "bench/bench_training.py 5k first")
    target = folder / name
    shutil.rmtree(target, ignore_errors=True)
    changed = {}
    for kind in ("train", "test"):
        shutil.copytree(getattr(source, f"{kind}_image_dir").full, target / kind)
    shutil.copytree(source.model_save_dir.full, target / "model")
    for kind in ("origin", "new", "train", "test"):
        changed[f"{kind}_image_dir"] = ProjectPath(target / kind)
    return dataclasses.replace(source, model_save_dir=ProjectPath(target / "model"),
                               log_dir=ProjectPath(target / "logs"), cycle_stop=STEPS, **changed)


def draw_new_kind(folder: Path, count: int) -> None:
    draw_samples(load_captcha_config(
        PROJECT_ROOT / "conf/captcha_config.json", root_dir=str(folder), count=count,
        fonts=[str(TYPEFACE)]))


def shares(config: SampleConfig, folders: Mapping[str, Path]) -> dict[str, list[float]]:
    """Return the share of right answers in each folder, with its interval."""
    found = {}
    for kind, folder in folders.items():
        result = TestBatch(folder, config.char_set, config.model_save_dir).test_batch()
        found[kind] = [result.image_accuracy, *metrics.wilson_interval(result.right, result.total)]
    return found


def measure(folder: Path) -> dict[str, Any]:
    old = lay_out(ROWS["5k"], folder, 0, "5k").train_image_dir.full.with_name("fresh")
    config = copied(folder)
    tested = {"old": old, "new": folder / "more-images/fresh"}
    draw_new_kind(config.new_image_dir.full, ADDED)
    draw_new_kind(tested["new"], TESTED)
    before = shares(config, tested)
    verify_and_split(config)
    if TrainModel.from_config(config).train_cnn().interrupted:
        raise KeyboardInterrupt
    return {"before": before, "after": shares(config, tested)}


def table(measured: Mapping[str, Any], words: tuple[str, str, str, str]) -> str:
    head, *titles, interval = words
    lines = [head, "|---|---|---|"]
    for when, title in zip(("before", "after"), titles, strict=True):
        cells = [interval.format(*measured[when][kind]) for kind in ("old", "new")]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    measured = measure(runs_parser(__doc__).parse_args(argv).folder)
    with replacing(RESULTS) as temporary:
        temporary.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    for page, words in WORDS.items():
        replace_between_markers(PROJECT_ROOT / page, MARKER, table(measured, words))
    console.say(table(measured, WORDS["README.md"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
