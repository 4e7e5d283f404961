"""Measure bulk recognition: its speed against `predict` alone, its memory, and Ray.

    python3 bench/bench_bulk.py [--config conf/pretrained_config.json] [--images 20000]
                                [--rounds 5] [--names N [N ...]] [--skip speed|memory|ray ...]
                                [--runtimes tensorflow|onnx ...]

Draws captchas into a folder. In turns, round by round: opens them and gives them to `predict`, and
does what recognize_batch.py does with the folder, from listing it to the whole CSV file; for each
runtime that is installed. The ratio is the median of the rounds' ratios. With Ray, where it is
installed, the same with 1 and 2 workers of one core each. For the memory, folders with that many
names (20,000 and 2,000,000; links to some tiny images) are read in a process of its own by a
stand-in that answers at once. Writes bench/bulk_results.json and the tables in docs/*/results.md.
Nothing else should run meanwhile.
"""

import argparse
import functools
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image

from bench.lib.child import measured_in_child
from bench.lib.pages import markdown_table, replace_in_pages
from bench.lib.results import read_results, write_results
from bench.lib.timing import seconds_of
from cnnlib import console
from cnnlib.bulk import BulkResult, recognize_bulk
from cnnlib.bulk.ray_workers import RayWorkers
from cnnlib.bulk.work_folder import WorkFolder
from cnnlib.bulk.workers import ThreadWorkers, Workers
from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.config import ONNX, TENSORFLOW, SampleConfig, load_sample_config
from cnnlib.console import SilentReporter
from cnnlib.packages import is_installed
from cnnlib.paths import PROJECT_ROOT
from cnnlib.runtimes import recognizer_of
from cnnlib.text_reader import TextReader

RESULTS = PROJECT_ROOT / "bench" / "bulk_results.json"
RUNTIMES = {TENSORFLOW: "tensorflow", ONNX: "onnxruntime"}  # and what each needs
IMAGES_PER_CALL = 512  # of predict: each is an open file
RAY_WORKERS = (1, 2)
RAY_ROUNDS = 3
LINKS = 30_000  # to one file: some file systems allow no more than 65,000
TINY = CaptchaSpec(min_captcha=1, max_captcha=1, image_width=8, image_height=8, char_set=("0", "1"))
SPEED, MEMORY, RAY = PARTS = ("speed", "memory", "ray")
HEADS = {
    SPEED: {
        "en": "| recognises | `predict` alone | a bulk run | ratio, its median |",
        "zh": "| 识别所用的库 | 仅 `predict` | 批量识别 | 比值的中位数 |",
    },
    MEMORY: {
        "en": "| names | listing them | the list on disk | memory at most |",
        "zh": "| 文件名数 | 列出的时间 | 列表占用的磁盘 | 最大内存 |",
    },
    RAY: {
        "en": "| workers of one core | images a second |",
        "zh": "| 单核工作进程 | 每秒图片数 |",
    },
}
LINES = {
    SPEED: {
        "en": "| {name} | {predict:,.0f} a second | {bulk:,.0f} a second "
        "| {ratio:.2f}, {rounds} rounds of {images:,} images |",
        "zh": "| {name} | 每秒 {predict:,.0f} 张 | 每秒 {bulk:,.0f} 张 "
        "| {ratio:.2f}，{rounds} 轮，每轮 {images:,} 张图片 |",
    },
    MEMORY: {
        "en": "| {name:,} | {listing_s:.1f} s | {order_mb:.1f} MB | {memory_mb:.0f} MB |",
        "zh": "| {name:,} | {listing_s:.1f} 秒 | {order_mb:.1f} MB | {memory_mb:.0f} MB |",
    },
    RAY: {"en": "| {name} | {bulk:,.0f} |", "zh": "| {name} | {bulk:,.0f} |"},
}


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, "conf/pretrained_config.json")
    parser.add_argument("--images", type=console.at_least_one, default=20_000, metavar="N")
    parser.add_argument("--rounds", type=console.at_least_one, default=5, metavar="N")
    parser.add_argument(
        "--names", type=console.at_least_one, nargs="+", default=[20_000, 2_000_000], metavar="N"
    )
    parser.add_argument("--runtimes", choices=RUNTIMES, nargs="+", default=[*RUNTIMES])
    parser.add_argument("--skip", choices=PARTS, nargs="+", default=[], help="leave these out")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        console.say(json.dumps(measure_memory(args.child)))
        return 0
    results = read_results(RESULTS)
    with tempfile.TemporaryDirectory() as folder:
        config = load_sample_config(args.config)
        images = Path(folder) / "images"
        draw(config, args.images, images)
        if SPEED not in args.skip:
            measured = measure_speed(config, images, args.runtimes, args.rounds)
            for row in measured.values():
                row |= {"images": args.images, "rounds": args.rounds}
            results[SPEED] = results.get(SPEED, {}) | measured
        if RAY not in args.skip and is_installed("ray"):
            results[RAY] = measure_ray(config, images)
    if MEMORY not in args.skip:
        results[MEMORY] = {str(count): memory_in_child(count) for count in args.names}
    write_results(RESULTS, results)
    for part in filter(results.__contains__, PARTS):
        texts = {language: table(results, part, language) for language in HEADS[part]}
        replace_in_pages(f"bulk {part}", texts)
        console.say(texts["en"])
    return 0


def draw(config: SampleConfig, count: int, folder: Path) -> None:
    from bench.lib.practice import drawn_files  # the library that draws is not needed for memory

    labels, files = drawn_files(config, count)
    for i, (label, data) in enumerate(zip(labels, files, strict=True)):
        path = folder / f"{i % 10}" / f"{label}_{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def bulk(images: Path, open_workers: Callable[[], Workers]) -> BulkResult:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "answers.csv"
        return recognize_bulk([str(images)], output, open_workers, reporter=SilentReporter())


def rate_of(result: BulkResult) -> float:
    return result.images / result.seconds


# --- speed ---


def measure_speed(
    config: SampleConfig, images: Path, runtimes: Sequence[str], rounds: int
) -> dict[str, dict[str, float]]:
    """Return images a second of each runtime, by `predict` alone and by bulk runs in turns."""
    results = {}
    for runtime in runtimes:
        if not is_installed(RUNTIMES[runtime]):
            continue
        with recognizer_of(config.spec, config.model_save_dir, runtime) as reader:
            pairs = [
                (predict_rate(reader, images), bulk_rate(reader, images)) for _ in range(rounds + 1)
            ][1:]  # the first one warms the caches
        predict, bulks = zip(*pairs, strict=True)
        results[runtime] = {
            "predict": statistics.median(predict),
            "bulk": statistics.median(bulks),
            "ratio": statistics.median(b / p for p, b in pairs),
        }
        console.say(f"{runtime}: {results[runtime]}")
    return results


def predict_rate(reader: TextReader, folder: Path) -> float:
    files = sorted(folder.rglob("*.png"))

    def predict() -> None:
        for start in range(0, len(files), IMAGES_PER_CALL):
            with ExitStack() as opened:
                part = files[start : start + IMAGES_PER_CALL]
                reader.predict([opened.enter_context(Image.open(file)) for file in part])

    return len(files) / seconds_of(predict)


def bulk_rate(reader: TextReader, folder: Path) -> float:
    result: list[BulkResult] = []
    seconds = seconds_of(lambda: result.append(bulk(folder, lambda: ThreadWorkers(reader))))
    return result[0].images / seconds


def measure_ray(config: SampleConfig, images: Path) -> dict[str, dict[str, float]]:
    """Return images a second by the number of workers, once these have loaded the model."""
    rates: dict[int, list[float]] = {count: [] for count in RAY_WORKERS}
    for _ in range(RAY_ROUNDS):
        for count, measured in rates.items():
            result = bulk(images, functools.partial(RayWorkers, config, count=count))
            measured.append(rate_of(result))
    return {str(count): {"bulk": statistics.median(each)} for count, each in rates.items()}


# --- memory ---


class StandIn(TextReader):
    """Answers at once, so that millions of names take minutes."""

    def __init__(self) -> None:
        self.spec, self.char_set = TINY, TINY.char_set

    def close(self) -> None:
        pass

    def _run(self, pixels: np.ndarray) -> np.ndarray:
        return np.tile(np.array([0.75, 0.25], np.float32), (len(pixels), 1, 1))  # [n, P, C]


class Listed(SilentReporter):
    """Notes how long the listing took, and how large the list is on disk."""

    def __init__(self, order: Path) -> None:
        self._order, self._began_s = order, time.perf_counter()
        self.listing_s = self.order_mb = 0.0

    def progress(self, items: Any, title: str, total: int | None = None, unit: str = "") -> Any:
        if title == "recognising":
            self.listing_s = time.perf_counter() - self._began_s
            self.order_mb = self._order.stat().st_size / 1e6
        return super().progress(items, title, total, unit)


def memory_in_child(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        lay_out(Path(folder) / "images", count)
        result = measured_in_child(__file__, folder)
    console.say(f"{count:,} names: {result}")
    return result


def lay_out(folder: Path, count: int) -> None:
    """Make half of the names in one folder, the others in folders of 1,000."""
    folder.mkdir(parents=True)
    source = Path()
    for i in range(count):
        if i % LINKS == 0:
            source = folder.parent / f"image_{i}.png"
            Image.new("L", (8, 8), i % 256).save(source)
        below = folder / "flat" if i % 2 else folder / "nested" / f"{i // 20_000}" / f"{i // 2_000}"
        if i % 2_000 < 2:
            below.mkdir(parents=True, exist_ok=True)
        os.link(source, below / f"captcha_{i:08d}.png")


def measure_memory(folder: Path) -> dict[str, float]:
    work = WorkFolder(folder / "answers.csv", overwrite=False)
    reporter = Listed(work.order)
    result = recognize_bulk(
        [str(folder / "images")], work.output, lambda: ThreadWorkers(StandIn()), reporter=reporter
    )
    return {
        "rows": result.rows,
        "errors": result.errors,
        "seconds": result.seconds,
        "listing_s": reporter.listing_s,
        "order_mb": reporter.order_mb,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def table(results: Mapping[str, Any], part: str, language: str) -> str:
    rows = (
        LINES[part][language].format(name=int(name) if name.isdecimal() else name, **row)
        for name, row in results[part].items()
    )
    return markdown_table(HEADS[part][language], rows)


if __name__ == "__main__":
    sys.exit(main())
