"""Measure whether training waits for its images, and what a large set takes of time and memory.

    python3 bench/bench_pipeline.py [--images N [N ...]] [--steps N]

For each number of images (20,000 and 200,000), in a process of its own: decodes them, maps them a
second time, then takes training steps in turns, on batches as training gets them (shuffled, read
from the cache, mixed, prepared by a thread) and on one batch that stays in memory. Prints seconds,
the ratio of the two, and the anonymous memory of the process (RssAnon; Linux), and writes them to
bench/pipeline_results.json and into README.md and README.zh-CN.md. 1,000 images are drawn; the
others are links to them, each decoded as a file of its own. Nothing else should run.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import tensorflow.compat.v1 as tf

from bench.demo_results import replace_between_markers
from cnnlib import console, dataset, doctor, encoding, image_set
from cnnlib.config import (
    PROJECT_ROOT,
    ProjectPath,
    load_captcha_config,
    load_sample_config,
    read_json,
)
from cnnlib.feed import Batch, Feed
from cnnlib.files import replacing
from cnnlib.image_set import ImageSet
from cnnlib.network import session_options
from cnnlib.training import TrainModel
from cnnlib.training_loop import TrainingLoop
from gen_image.generator import draw_samples

RESULTS = PROJECT_ROOT / "bench" / "pipeline_results.json"
MARKER = "pipeline results"
TABLES = {
    "README.md": ("| images | decoding, first time | every further time | checks | a step | "
                  "against one on a batch in memory | memory of its own |",
                  "| {images:,} | {decode_s:.1f} s | {mapped_s:.1f} s | {examine_s:.1f} s | "
                  "{pipeline_ms:.0f} ms | {ratio:.2f} times | {anonymous_mb:.0f} MB |"),
    "README.zh-CN.md": ("| 图片数 | 首次解码 | 以后每次 | 检查 | 每步 | "
                        "与内存中固定一批之比 | 进程自身占用内存 |",
                        "| {images:,} | {decode_s:.1f} 秒 | {mapped_s:.1f} 秒 | {examine_s:.1f} 秒 "
                        "| {pipeline_ms:.0f} 毫秒 | {ratio:.2f} 倍 | {anonymous_mb:.0f} MB |"),
}
DRAWN = 1000
BLOCK = 10  # steps of one kind at a time
MB = 1024


def lay_out(folder: Path, count: int) -> None:
    """Draw images, and link them under further names."""
    draw_samples(load_captcha_config(PROJECT_ROOT / "conf/captcha_config.json",
                                     root_dir=str(folder), count=DRAWN))
    drawn = sorted(folder.iterdir())
    for i in range(DRAWN, count):
        source = drawn[i % DRAWN]
        label = encoding.label_of(source.name)
        os.link(source, folder / f"{label}_{i}.png")


def measure(folder: Path, steps: int) -> dict[str, float]:
    """Load the images of a folder twice, and train on them."""
    config = load_sample_config(PROJECT_ROOT / "conf/sample_config.json")

    def load() -> tuple[float, ImageSet]:
        began = time.perf_counter()
        images = image_set.load_images(folder, dataset.rules_of(config), cached=True)
        return time.perf_counter() - began, images

    decode_s, _ = load()
    mapped_s, images = load()
    began = time.perf_counter()
    doctor.examine(images, images, config.char_set)  # as training does
    examine_s = (time.perf_counter() - began) / 2  # they are both sets here
    with tempfile.TemporaryDirectory() as model_dir:
        model = TrainModel(folder, folder, config.char_set, model_dir, 10 * steps, 1.0, steps,
                           "png", config.train_batch_size, config.test_batch_size,
                           image_height=config.image_height, image_width=config.image_width,
                           max_captcha=config.max_captcha, log_dir=model_dir)
        pipeline_ms, constant_ms = step_times(model, images, steps)
    return {"images": len(images), "decode_s": decode_s, "mapped_s": mapped_s,
            "examine_s": examine_s, "pipeline_ms": pipeline_ms, "constant_ms": constant_ms,
            "anonymous_mb": anonymous_mb()}


def step_times(model: TrainModel, images: ImageSet, steps: int) -> tuple[float, float]:
    """Return the median milliseconds of a step, on batches as they come and on one batch."""
    model._distortion = 1.0
    model._build()
    with tf.Session(graph=model.graph, config=session_options()) as session:
        session.run(model.initializer)
        loop = TrainingLoop(model, session, images, images)
        feed = Feed(images, model.train_batch_size, model.cycle_stop, 0, True,
                    np.random.default_rng(0))
        feed.cuts = np.tile(np.arange(1, model.max_captcha) * model.image_width
                             // model.max_captcha, (len(images), 1))
        times: dict[bool, list[float]] = {True: [], False: []}
        with image_set.ahead(feed.batches()) as batches:
            constant = next(batches)
            for step in range(2 * steps + BLOCK):
                fed = step // BLOCK % 2 == 0
                began = time.perf_counter()
                batch: Batch = next(batches) if fed else constant
                loop._step(batch, 1e-3)
                if step >= BLOCK:  # the first steps set things up
                    times[fed].append(time.perf_counter() - began)
    return 1000 * statistics.median(times[True]), 1000 * statistics.median(times[False])


def anonymous_mb(pid: int | str = "self") -> float:
    """Return the memory that a process has of its own; NaN where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        return int(status.split("RssAnon:")[1].split()[0]) / MB
    except (OSError, IndexError):
        return float("nan")


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=console.at_least_one, nargs="+", metavar="N",
                        default=[20_000, 200_000])
    parser.add_argument("--steps", type=console.at_least_one, default=60, metavar="N",
                        help="of each kind")
    parser.add_argument("--child", type=ProjectPath, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        console.say(json.dumps(measure(args.child.full, args.steps)))
        return 0
    results = read_json(RESULTS) if RESULTS.exists() else {}
    for count in args.images:
        with tempfile.TemporaryDirectory(dir=PROJECT_ROOT / "sample") as folder:
            images = Path(folder) / "images"
            images.mkdir()
            lay_out(images, count)
            out = subprocess.run(
                [sys.executable, __file__, "--child", images, "--steps", str(args.steps)],
                stdout=subprocess.PIPE, text=True, check=True).stdout
        results[str(count)] = json.loads(out.splitlines()[-1])
        console.say(table(*TABLES["README.md"], {str(count): results[str(count)]}))
    with replacing(RESULTS) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for page, words in TABLES.items():
        replace_between_markers(PROJECT_ROOT / page, MARKER, table(*words, results))
    return 0


def table(head: str, line: str, results: Mapping[str, Mapping[str, float]]) -> str:
    """Return the measurements as a Markdown table, the fewest images first."""
    rows = [line.format(ratio=row["pipeline_ms"] / row["constant_ms"], **row)
            for row in sorted(results.values(), key=lambda row: row["images"])]
    return "\n".join([head, "|" + "---|" * (head.count("|") - 1), *rows]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
