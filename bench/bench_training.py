"""Measure how accurate a training gets: rows of cases, each on images drawn for it.

    python3 bench/bench_training.py ROW [ROW ...] [--seed N] [--folder FOLDER]
    python3 bench/bench_training.py --all
    python3 bench/bench_training.py --others
    python3 bench/bench_training.py --ablation

For each row: draws its images, splits them, trains from random weights, then draws 5,000 images
more and recognises each once. All choices (best step, temperature) are made within the row's own
images. Ctrl-C leaves what is done; the same command goes on from there.
Writes bench/training_results.json, the tables in README.md and README.zh-CN.md, and the plot
readme_image/accuracy.png. FOLDER (bench/runs, 100 to 700 MB for each set of images) holds images
and models until it is removed.
"""

import argparse
import dataclasses
import datetime
import functools
import hashlib
import json
import statistics
import string
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import tensorflow.compat.v1 as tf
from matplotlib.figure import Figure

import quickstart
from bench import ablation
from bench.chinese import CHINESE_FONT, COMMON_CHINESE
from bench.demo_results import replace_between_markers
from cnnlib import (
    augmentation,
    console,
    encoding,
    feed,
    metrics,
    mixing,
    plots,
    reporting,
    training,
)
from cnnlib.architectures import Cost, cost
from cnnlib.config import (
    PROJECT_ROOT,
    ProjectPath,
    SampleConfig,
    existing_path,
    load_captcha_config,
    load_sample_config,
    read_json,
)
from cnnlib.dataset import verify_and_split
from cnnlib.evaluation import TestBatch
from cnnlib.files import replacing
from cnnlib.network import session_options
from cnnlib.training import RECIPES, TrainModel
from gen_image import styles
from gen_image.generator import draw_samples

RESULTS = PROJECT_ROOT / "bench" / "training_results.json"
PICTURE = "readme_image/accuracy.png"
FRESH = 5_000
BASE36 = string.digits + string.ascii_lowercase


@dataclasses.dataclass(frozen=True)
class Row:
    """A case to measure."""

    images: int
    steps: int
    characters: str = BASE36
    length: int = 4
    width: int = 100
    batch: int = 128
    network: str = "resnet_attention"
    recipe: str = "default"
    ignore_case: bool = False  # shown is the share that is right with case ignored
    height: int = 60
    min_length: int = 0
    style: str = "captcha"
    fonts: tuple[str, ...] = ()
    drawn_height: int = 0  # where images are scaled to `height`
    resize: str = ""
    channels: int = 1

    def case(self) -> dict[str, Any]:
        """Return what tells it from others; fields that came later only where they matter."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        values = dataclasses.asdict(self)
        later = list(values)[list(values).index("height"):]
        return {name: value for name, value in values.items()
                if name not in later or value != defaults[name]}


ROWS = {
    "20k": Row(20_000, 3000),
    "20k-short": Row(20_000, 1200),
    # With the looks for characters to mix, as much computing as 3,000 steps without.
    "5k": Row(5_000, 2850),
    "1k": Row(1_000, 2950),
    "100k": Row(100_000, 6000),
    "62-classes": Row(20_000, 4000, string.digits + string.ascii_letters, 6, 160,
                      ignore_case=True),
    "digits": Row(1_000, 500, string.digits),
    "specification": Row(20_000, 3000, network="cnn5", recipe="specification"),
}
_STYLE = Row(20_000, 3000)
OTHERS = {
    "4-to-6": Row(20_000, 3000, min_length=4, length=6, width=160),
    "4-to-6-1k": Row(1_000, 2950, min_length=4, length=6, width=160),
    "strip": Row(20_000, 3000, min_length=4, length=8, width=240, height=48, style="strip",
                 drawn_height=80, resize="pad"),
    "strip-stretched": Row(20_000, 3000, min_length=4, length=8, width=240, height=48,
                           style="strip", drawn_height=80, resize="stretch"),
    "pycapt": Row(20_000, 3000, width=160, height=40, style="pycapt"),
    "chinese": Row(20_000, 4000, COMMON_CHINESE[:500], 2, 120, fonts=(CHINESE_FONT,)),
    **{style: dataclasses.replace(_STYLE, style=style) for style in styles.STYLES
       if style != "strip"},
    **{f"{style}-in-colour": dataclasses.replace(_STYLE, style=style, channels=3)
       for style in ("colours", "hard")},
    "hard-wide": dataclasses.replace(_STYLE, style="hard", network="resnet_attention_wide"),
}
_ABLATION = Row(20_000, 1200, batch=64)
ABLATION = {
    "whole": _ABLATION,
    "dense-head": dataclasses.replace(_ABLATION, network="without_attention"),
    "no-shortcuts": dataclasses.replace(_ABLATION, network="without_shortcuts"),
    "no-batch-norm": dataclasses.replace(_ABLATION, network="without_norm"),
    "low-rate": dataclasses.replace(_ABLATION, recipe="low_rate"),
    "no-augmentation": dataclasses.replace(_ABLATION, recipe="without_augmentation"),
    "sigmoid-loss": dataclasses.replace(_ABLATION, recipe="sigmoid_loss"),
    "no-smoothing": dataclasses.replace(_ABLATION, recipe="without_smoothing"),
}
# By their markers in README.
TABLES = {"training results": ROWS, "other captchas": OTHERS, "ablation results": ABLATION}
WORDS = {
    "README.md": {
        "head": "| case | images | steps x batch | MFLOP an image | training | share of matrix "
                "peak | right of 5,000 fresh images, 95 % interval |",
        "case": "`{}`: {}, {} of {}", "lengths": "{} to {}", "minutes": "{:.1f} min",
        "not in one go": "not in one go", "right": "{:.2%} ({:.1%} to {:.1%})",
        "seeds": ", {} seeds", "exact": "; exact case {:.2%}"},
    "README.zh-CN.md": {
        "head": "| 情形 | 图片数 | 步数 x 批大小 | 每张图片 MFLOP | 训练时间 | "
                "占矩阵乘法峰值 | 5,000 张全新图片的整图准确率，95 % 区间 |",
        "case": "`{}`：{}，{} 个字符，{} 类", "lengths": "{} 至 {}", "minutes": "{:.1f} 分钟",
        "not in one go": "分几次完成", "right": "{:.2%}（{:.1%} 至 {:.1%}）",
        "seeds": "，{} 个种子", "exact": "；区分大小写 {:.2%}"},
}


@functools.cache
def definition(row: Row) -> dict[str, Any]:
    """Return what a measurement depends on; it is measured anew when that changes."""
    recipe = dataclasses.asdict(RECIPES[row.recipe])
    recipe["peak_rate"] = recipe.pop("peak_rates")[row.network]  # those of others do not matter
    modules = (augmentation, feed, mixing, training) if recipe["augment"] else ()
    numbers = {name: value for module in modules for name, value in vars(module).items()
               if name.isupper() and isinstance(value, int | float | tuple)
               and name not in vars(encoding)}  # which they import from there
    values = {"case": row.case(), "recipe": recipe, "augmentation": numbers,
              "network": dataclasses.asdict(needs(row))}
    return dict(json.loads(json.dumps(values)))  # as it is read again


def needs(row: Row) -> Cost:
    ends = 0 < row.min_length < row.length
    return cost(row.network, row.height, row.width, row.length, len(row.characters) + ends,
                row.channels)


def is_of(run: Mapping[str, Any], row: Row) -> bool:
    """Tell whether a result is one of this row, as it is defined today."""
    return dict(run) | definition(row) == run


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:8]


def lay_out(row: Row, folder: Path, seed: int, name: str) -> SampleConfig:
    """Write the configs of a row, and return the one of the samples.

    Rows of equal images and seed share them.
    """
    run = folder / f"{name}-{seed}-{_digest(definition(row))}"
    drawn = {"characters": row.characters, "char_count": row.length, "width": row.width,
             "height": row.drawn_height or row.height, "min_char_count": row.min_length,
             "style": row.style, "fonts": list(row.fonts)}
    shared = f"{row.images}x{len(row.characters)}x{row.length}x{row.width}-{seed}"
    if row.case() != dataclasses.replace(row, style="captcha", min_length=0, fonts=(),
                                         drawn_height=0, height=60).case():
        shared += f"-{_digest(drawn)}"
    sample = read_json(PROJECT_ROOT / "conf/sample_config.json") | {
        f"{kind}_image_dir": str(folder / shared / kind)
        for kind in ("origin", "new", "train", "test")} | {
        "char_set": row.characters, "min_captcha": row.min_length, "max_captcha": row.length,
        "image_width": row.width, "image_height": row.height, "image_channels": row.channels,
        "resize": row.resize or False,
        "cycle_stop": row.steps, "acc_stop": 1.0, "train_batch_size": row.batch, "seed": seed}
    captcha = read_json(PROJECT_ROOT / "conf/captcha_config.json") | drawn
    for file, values in (("sample_config", sample), ("captcha_config", captcha)):
        with replacing(run / "conf" / f"{file}.json") as temporary:
            temporary.write_text(json.dumps(values), encoding="utf-8")
    # The ablation's networks and recipes are none that conf/ knows.
    return dataclasses.replace(load_sample_config(run / "conf/sample_config.json"),
                               network=row.network, recipe=row.recipe)


def draw(config: SampleConfig, target: Path, count: int) -> None:
    """Draw to `target` until it holds so many images, counting those that were split from it."""
    places = [target]
    if target == config.origin_image_dir.full:
        places += [config.train_image_dir.full, config.test_image_dir.full]
    there = sum(1 for place in places for _ in place.glob("*.png"))
    conf = config.model_save_dir.full.parent / "conf"
    draw_samples(load_captcha_config(conf / "captcha_config.json", root_dir=str(target),
                                     count=max(0, count - there)))


def measure(name: str, row: Row, folder: Path, seed: int) -> dict[str, Any] | None:
    """Train and test one row; None where the training was interrupted."""
    config = lay_out(row, folder, seed, name)
    draw(config, config.origin_image_dir.full, row.images)
    verify_and_split(config, seed)
    model = TrainModel.from_config(config)
    info = model.folder.read()
    trained = None
    if not (info and info.run.done):
        trained = model.train_cnn()
        if trained.interrupted:
            return None
    fresh = config.train_image_dir.full.with_name("fresh")
    draw(config, fresh, FRESH)
    test = TestBatch.from_config(dataclasses.replace(config, test_image_dir=ProjectPath(fresh)))
    result = test.test_batch()
    folded = sum(w.label.lower() == w.prediction.text.lower() for w in result.wrong)
    history = reporting.read_rows(config.model_save_dir.full / reporting.HISTORY)
    images_per_s = statistics.median(line["images_per_second"] for line in history)
    steps = test.recognizer.info.run.step
    return definition(row) | {
        "seed": seed, "fresh": result.total,
        "right": result.right, "right_with_case_ignored": result.right + folded,
        "char_accuracy": result.char_accuracy, "steps": steps,
        "calibration_error": result.calibration_error,
        "coverage": [dataclasses.asdict(line) for line in result.coverage],
        "best_step": test.recognizer.info.step,
        "training_s": round(trained.seconds) if trained and trained.steps == steps else None,
        "training_flops": round(3 * needs(row).flop * images_per_s),
        "matrix_peak_flops": round(matrix_peak()),
        "date": datetime.date.today().isoformat(), "processor": quickstart.processor(),
        "libraries": {name: metadata.version(name) for name in ("tensorflow", "captcha")}}


def matrix_peak(size: int = 2048, repeats: int = 7) -> float:
    """Return the median floating-point operations a second of a matrix product."""
    with tf.Graph().as_default(), tf.Session(config=session_options()) as session:
        factor = tf.placeholder(tf.float32, [size, size])
        # The sum is fetched, so that no part of the product can be left out.
        product = tf.reduce_sum(tf.matmul(tf.matmul(factor, factor), factor))
        values = np.random.default_rng(0).random((size, size), np.float32)
        seconds = []
        for _ in range(repeats):
            began = time.perf_counter()
            session.run(product, {factor: values})
            seconds.append(time.perf_counter() - began)
    return 2 * 2 * size**3 / statistics.median(seconds)


def median_run(row: Row, results: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the run of a row whose accuracy is the median of its seeds, the lower of two."""
    runs = sorted((run for run in results.values() if is_of(run, row)),
                  key=lambda run: run[_counted(row)])
    return runs[(len(runs) - 1) // 2] if runs else None


def _counted(row: Row) -> str:
    return "right_with_case_ignored" if row.ignore_case else "right"


def table(rows: Mapping[str, Row], results: Mapping[str, Mapping[str, Any]],
          words: Mapping[str, str]) -> str:
    """Return the measured rows as a Markdown table; the median of a row's seeds."""
    lines = [words["head"], "|" + "---|" * (words["head"].count("|") - 1)]
    for name, row in rows.items():
        run = median_run(row, results)
        if run is None:
            continue
        key = _counted(row)
        right = words["right"].format(run[key] / run["fresh"],
                                      *metrics.wilson_interval(run[key], run["fresh"]))
        count = sum(is_of(other, row) for other in results.values())
        if count > 1:
            right += words["seeds"].format(count)
        if row.ignore_case:
            right += words["exact"].format(run["right"] / run["fresh"])
        lengths = words["lengths"] if row.min_length else "{1}"
        case = words["case"].format(name, row.network, lengths.format(row.min_length, row.length),
                                    len(row.characters))
        minutes = words["minutes"] if run["training_s"] else words["not in one go"]
        lines.append(
            f"| {case} | {row.images:,} | "
            f"{run['steps']:,} x {row.batch} | {run['network']['flop'] / 1e6:.0f} | "
            f"{minutes.format((run['training_s'] or 0) / 60)} | "
            f"{run['training_flops'] / run['matrix_peak_flops']:.0%} | {right} |")
    return "\n".join(lines) + "\n"


def curves(results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, list[Any]]]:
    """Return, over images and over minutes, the points of the default case: x, y, interval."""
    rows = {"images": [ROWS[name] for name in ("1k", "5k", "20k", "100k")],
            "minutes": [ABLATION["whole"], ROWS["20k-short"], ROWS["20k"]]}
    found: dict[str, dict[str, list[Any]]] = {}
    for axis, its_rows in rows.items():
        points = found[axis] = {"x": [], "right": [], "low": [], "high": []}
        for row in its_rows:
            run = median_run(row, results)
            if run and (axis == "images" or run["training_s"]):
                low, high = metrics.wilson_interval(run["right"], run["fresh"])
                points["x"].append(row.images if axis == "images" else run["training_s"] / 60)
                points["right"].append(run["right"] / run["fresh"])
                points["low"].append(low)
                points["high"].append(high)
    return found


def plot(results: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw accuracy against the number of images, and against the minutes of training.

    Nothing is drawn before there is a line to draw in both.
    """
    drawn = curves(results)
    if any(len(points["x"]) < 2 for points in drawn.values()):
        return
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (axis, points) in zip(panels, drawn.items(), strict=True):
        right = np.array(points["right"])
        axes.errorbar(points["x"], 100 * right, yerr=100 * np.abs(np.array(
            [right - points["low"], points["high"] - right])), marker="o", capsize=3)
        axes.grid(alpha=0.3)
        axes.set_xlabel({"images": "images (3,000 steps, or hardly fewer; 6,000 for 100,000)",
                         "minutes": "minutes of training (20,000 images)"}[axis])
    panels[0].set(ylabel="right of 5,000 fresh images, %", xscale="log")
    plots.save_png(figure, path)


def runs_parser(manual: str | None) -> argparse.ArgumentParser:
    """Return the parser of a bench that works in FOLDER, which holds images and models."""
    parser = argparse.ArgumentParser(description=manual,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=existing_path, metavar="FOLDER",
                        default=PROJECT_ROOT / "bench" / "runs")
    return parser


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    known = ROWS | OTHERS | ABLATION
    parser = runs_parser(__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(known))
    parser.add_argument("--all", action="store_true", help="every row")
    parser.add_argument("--others", action="store_true", help="other lengths, styles, alphabets")
    parser.add_argument("--ablation", action="store_true", help="the rows of the ablation")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    args = parser.parse_args(argv)
    names = list(known) if args.all else (
        args.rows + list(OTHERS if args.others else ()) + list(ABLATION if args.ablation else ()))
    if not names or set(names) - set(known):
        parser.error(f"name rows, of {', '.join(known)}, or --all")
    if "chinese" in names and not Path(CHINESE_FONT).exists():
        console.warn(f"row chinese is left out: no {CHINESE_FONT} (fonts-wqy-microhei)")
        names.remove("chinese")
    with ablation.registered():
        return measure_rows({name: known[name] for name in names}, args.folder, args.seed)


def measure_rows(rows: Mapping[str, Row], folder: Path, seed: int) -> int:
    """Measure what is not measured yet, write it down after each row; return the exit code."""
    matrix_peak(repeats=1)  # a first session with all threads: a recogniser's would have one
    results = read_json(RESULTS) if RESULTS.exists() else {}
    for name, row in rows.items():
        run = f"{name}, seed {seed}"
        if run not in results or not is_of(results[run], row):
            console.say(f"== {run}")
            measured = measure(name, row, folder, seed)
            if measured is None:
                return console.EXIT_INTERRUPTED
            results[run] = measured
            with replacing(RESULTS) as temporary:
                temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        for page, words in WORDS.items():
            for marker, its_rows in TABLES.items():
                replace_between_markers(PROJECT_ROOT / page, marker,
                                        table(its_rows, results, words))
        plot(results, PROJECT_ROOT / PICTURE)
    for its_rows in TABLES.values():
        console.say(table(its_rows, results, WORDS["README.md"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
