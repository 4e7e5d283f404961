"""Measure whether training waits for its images, and what a large set takes of time and memory.

    python3 bench/bench_pipeline.py [--images N [N ...]] [--steps N]

For each number of images (20,000 and 200,000), in a process of its own: decodes them, maps them a
second time, then takes training steps in turns, on batches as training gets them (shuffled, read
from the cache, spliced, prepared by a thread) and on one batch that stays in memory. Prints
seconds, the ratio of the two, and the anonymous memory of the process (RssAnon; Linux), and writes
them to bench/pipeline_results.json and into docs/en/results.md and docs/zh/results.md. 1,000 images
are drawn; the others are links to them, each decoded as a file of its own. Nothing else should run
meanwhile.
"""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.lib.child import measured_in_child
from bench.lib.machine import anonymous_mb
from bench.lib.pages import markdown_table, replace_in_pages
from bench.lib.results import read_results, write_results
from bench.lib.step_times import step_times
from bench.lib.timing import seconds_of
from cnnlib import console
from cnnlib.config import (
    CAPTCHA_CONFIG,
    SAMPLE_CONFIG,
    SampleConfig,
    load_captcha_config,
    load_sample_config,
)
from cnnlib.dataset.image_set import ImageSet, load_images
from cnnlib.dataset.labels import label_of
from cnnlib.dataset.verification import Rules
from cnnlib.evaluation.checks import check_images
from cnnlib.paths import PROJECT_ROOT, ProjectPath
from cnnlib.training import TrainModel
from gen_image.generator import draw_samples

RESULTS = PROJECT_ROOT / "bench" / "pipeline_results.json"
MARKER = "pipeline results"
WORDS = {
    "en": {
        "head": "| images | decoding, first time | every further time | checks | a step | "
        "against one on a batch in memory | memory of its own |",
        "line": "| {images:,} | {decode_s:.1f} s | {mapped_s:.1f} s | {examine_s:.1f} s | "
        "{pipeline_ms:.0f} ms | {ratio:.2f} times | {anonymous_mb:.0f} MB |",
    },
    "zh": {
        "head": "| 图片数 | 首次解码 | 以后每次 | 检查 | 每步 | "
        "与内存中固定一批之比 | 进程自身占用内存 |",
        "line": "| {images:,} | {decode_s:.1f} 秒 | {mapped_s:.1f} 秒 | {examine_s:.1f} 秒 | "
        "{pipeline_ms:.0f} 毫秒 | {ratio:.2f} 倍 | {anonymous_mb:.0f} MB |",
    },
}
DRAWN = 1000


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__)
    parser.add_argument(
        "--images",
        type=console.at_least_one,
        nargs="+",
        metavar="N",
        default=[20_000, 200_000],
    )
    parser.add_argument(
        "--steps", type=console.at_least_one, default=60, metavar="N", help="of each kind"
    )
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        console.say(json.dumps(measure(args.child, args.steps)))
        return 0
    results = read_results(RESULTS)
    for count in args.images:
        results[str(count)] = measure_in_child(count, args.steps)
        console.say(table({str(count): results[str(count)]}, WORDS["en"]))
    write_results(RESULTS, results)
    replace_in_pages(MARKER, {language: table(results, words) for language, words in WORDS.items()})
    return 0


def measure_in_child(count: int, steps: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=PROJECT_ROOT / "sample") as folder:
        images = Path(folder) / "images"
        lay_out(images, count)
        return measured_in_child(__file__, str(images), "--steps", str(steps))


def lay_out(folder: Path, count: int) -> None:
    """Draw images, and link them under further names."""
    draw_samples(
        load_captcha_config(PROJECT_ROOT / CAPTCHA_CONFIG, root_dir=str(folder), count=DRAWN)
    )
    drawn = sorted(folder.iterdir())
    for i in range(DRAWN, count):
        source = drawn[i % DRAWN]
        os.link(source, folder / f"{label_of(source.name)}_{i}.png")


def measure(folder: Path, steps: int) -> dict[str, float]:
    """Load the images of a folder twice, and train on them."""
    config = load_sample_config(PROJECT_ROOT / SAMPLE_CONFIG)
    decode_s, _ = timed_load(folder, config)
    mapped_s, images = timed_load(folder, config)
    examine_s = seconds_of(lambda: check_images(images, images, config.char_set))
    with tempfile.TemporaryDirectory() as model_dir:
        config = dataclasses.replace(
            config,
            model_save_dir=ProjectPath(model_dir),
            log_dir=ProjectPath(model_dir),
            cycle_stop=10 * steps,
        )
        pipeline_ms, constant_ms = step_times(TrainModel.from_config(config), images, steps)
    return {
        "images": len(images),
        "decode_s": decode_s,
        "mapped_s": mapped_s,
        "examine_s": examine_s / 2,  # the images were both sets
        "pipeline_ms": pipeline_ms,
        "constant_ms": constant_ms,
        "anonymous_mb": anonymous_mb(),
    }


def timed_load(folder: Path, config: SampleConfig) -> tuple[float, ImageSet]:
    began_s = time.perf_counter()
    images = load_images(folder, Rules.from_config(config), cached=True)
    return time.perf_counter() - began_s, images


def table(results: Mapping[str, Mapping[str, float]], words: Mapping[str, str]) -> str:
    """Return the measurements as a Markdown table, the fewest images first."""
    rows = sorted(results.values(), key=lambda row: row["images"])
    return markdown_table(
        words["head"],
        (
            words["line"].format(ratio=row["pipeline_ms"] / row["constant_ms"], **row)
            for row in rows
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
