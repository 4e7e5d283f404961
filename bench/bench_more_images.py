"""Measure what 500 images of a kind that a model gets wrong bring, and what they cost it.

    python3 bench/bench_more_images.py [--folder FOLDER]

Goes on from the row `5k`, seed 0, of bench_training.py in FOLDER, which must be measured. The new
kind is the same captcha in another typeface. 500 of them are put into new_image_dir, split, and
trained on together with the old ones; before and after, the model recognises 5,000 fresh images of
the old kind and 2,000 of the new one. Writes bench/more_images.json and the table in
docs/en/results.md and docs/zh/results.md.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import matplotlib

from bench.lib.pages import markdown_table, replace_in_pages
from bench.lib.results import write_results
from bench.lib.rows import ROWS
from bench.lib.run_folders import lay_out, moved_to, runs_parser
from cnnlib import console
from cnnlib.config import CAPTCHA_CONFIG, SampleConfig, load_captcha_config
from cnnlib.dataset import verify_and_split
from cnnlib.errors import CaptchaError
from cnnlib.evaluation import TestBatch
from cnnlib.evaluation.metrics import wilson_interval
from cnnlib.networks.model_folder import ModelFolder
from cnnlib.paths import PROJECT_ROOT
from cnnlib.training import TrainModel
from gen_image.generator import draw_samples

RESULTS = PROJECT_ROOT / "bench" / "more_images.json"
MARKER = "more images"
ROW = "5k"
ADDED, FRESH, STEPS = 500, 2000, 1000
TYPEFACE = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSerif-Bold.ttf"
WORDS = {
    "en": {
        "head": "| | the old kind | the new kind |",
        "before": "before",
        "after": "with 500 images of the new kind, 1,000 steps later",
        "right": "{:.1%} ({:.1%} to {:.1%})",
    },
    "zh": {
        "head": "| | 原来的验证码 | 新的验证码 |",
        "before": "之前",
        "after": "加入 500 张新图片，再训练 1,000 步后",
        "right": "{:.1%}（{:.1%} 至 {:.1%}）",
    },
}


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    measured = measure(runs_parser(__doc__).parse_args(argv).folder)
    write_results(RESULTS, measured)
    tables = {language: table(measured, words) for language, words in WORDS.items()}
    replace_in_pages(MARKER, tables)
    console.say(tables["en"])
    return 0


def measure(folder: Path) -> dict[str, Any]:
    source = lay_out(ROWS[ROW], folder, 0, ROW)
    config = copied(source, folder / "more-images")
    fresh = {
        "old": source.train_image_dir.full.with_name("fresh"),
        "new": folder / "more-images" / "fresh",
    }
    draw_new_kind(config.new_image_dir.full, ADDED)
    draw_new_kind(fresh["new"], FRESH)
    before = shares(config, fresh)
    verify_and_split(config)
    if TrainModel.from_config(config).train_cnn().interrupted:
        raise KeyboardInterrupt
    return {"before": before, "after": shares(config, fresh)}


def copied(source: SampleConfig, target: Path) -> SampleConfig:
    """Copy images and model of the row, and return the config of the copy."""
    model = ModelFolder(source.model_save_dir)
    if model.read() is None:
        raise CaptchaError(f"no model in {model}: run python3 bench/bench_training.py {ROW} first")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source.train_image_dir, target / "train")
    shutil.copytree(source.test_image_dir, target / "test")
    shutil.copytree(source.model_save_dir, target / "model")
    return moved_to(source, target, cycle_stop=STEPS)


def draw_new_kind(folder: Path, count: int) -> None:
    draw_samples(
        load_captcha_config(
            PROJECT_ROOT / CAPTCHA_CONFIG, root_dir=str(folder), count=count, fonts=[str(TYPEFACE)]
        )
    )


def shares(config: SampleConfig, folders: Mapping[str, Path]) -> dict[str, list[float]]:
    """Return the share of right answers in each folder, with its interval."""
    found = {}
    for kind, folder in folders.items():
        result = TestBatch(folder, config.char_set, config.model_save_dir).test_batch()
        found[kind] = [result.image_accuracy, *wilson_interval(result.right, result.total)]
    return found


def table(measured: Mapping[str, Any], words: Mapping[str, str]) -> str:
    return markdown_table(words["head"], _lines(measured, words))


def _lines(measured: Mapping[str, Any], words: Mapping[str, str]) -> Iterator[str]:
    for when in ("before", "after"):
        old, new = (words["right"].format(*measured[when][kind]) for kind in ("old", "new"))
        yield f"| {words[when]} | {old} | {new} |"


if __name__ == "__main__":
    sys.exit(main())
