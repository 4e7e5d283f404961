"""Compare the formats of export_model.py: size, time of an image and of 32, accuracy, start.

    python3 bench/bench_formats.py [--config conf/pretrained_config.json] [--images 1000]

Draws captchas, exports the model in each format and precision, and lets each file read them in a
process of its own, with one thread. The first answer is counted from the start of that process,
with all that it imports. Texts are compared with those of the Recognizer in float32. Nothing else
should run meanwhile. Writes bench/formats_results.json and the table in docs/*/results.md.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image

from bench.lib.pages import write_tables
from bench.lib.practice import drawn_images
from bench.lib.results import write_results
from cnnlib import console
from cnnlib.config import SampleConfig, load_sample_config
from cnnlib.console import SilentReporter
from cnnlib.dataset.labels import file_name
from cnnlib.exporting.export import export_model
from cnnlib.paths import PROJECT_ROOT, ProjectPath

RESULTS = PROJECT_ROOT / "bench" / "formats_results.json"
MARKER = "formats results"
EXPORTS = (
    ("onnx", "float32"),
    ("onnx", "float16"),
    ("onnx", "int8"),
    ("savedmodel", "float32"),
    ("tflite", "float32"),
    ("tflite", "float16"),
    ("tflite", "int8"),
)
CALIBRATING = 200  # images
HEADS = {
    "en": "| format | size | one image | 32 images | first answer after | right | other texts |",
    "zh": "| 格式 | 大小 | 1 张图片 | 32 张图片 | 首个结果 | 正确 | 与原模型不同的文本 |",
}
LINES = {
    "en": "| {name} | {mb:.1f} MB | {ms_1:.2f} ms | {ms_32:.1f} ms | {first_s:.1f} s | {right:.1%} "
    "| {differing} of {images:,} |",
    "zh": "| {name} | {mb:.1f} MB | {ms_1:.2f} 毫秒 | {ms_32:.1f} 毫秒 | {first_s:.1f} 秒 | "
    "{right:.1%} | {images:,} 个中 {differing} 个 |",
}


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, "conf/pretrained_config.json")
    parser.add_argument("--images", type=console.at_least_one, default=1000, metavar="N")
    args = parser.parse_args(argv)
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        config = with_drawn_images(load_sample_config(args.config), args.images, Path(folder))
        for kind, precision in EXPORTS:
            name = f"{kind}, {precision}"
            results[name] = measure(config, kind, precision, Path(folder))
            console.say(f"{name}: {results[name]}")
    write_results(RESULTS, results)
    console.say(write_tables(MARKER, HEADS, lambda language: lines(results, language)))
    return 0


def with_drawn_images(config: SampleConfig, count: int, folder: Path) -> SampleConfig:
    """Draw images to test with, and others to calibrate int8, in folders of their own."""
    images = drawn_images(config, count + CALIBRATING)
    np.save(folder / "images.npy", images.pixels[:count])
    labels = images.labels(config.char_set)
    for i, label in enumerate(labels):
        part = folder / ("test" if i < count else "train")
        part.mkdir(exist_ok=True)
        Image.fromarray(images.pixels[i]).save(part / file_name(label, "png", str(i)))
    return dataclasses.replace(
        config,
        test_image_dir=ProjectPath(folder / "test"),
        train_image_dir=ProjectPath(folder / "train"),
    )


def measure(config: SampleConfig, kind: str, precision: str, folder: Path) -> dict[str, Any]:
    output = folder / f"{kind}-{precision}"
    export = export_model(config, kind, precision, output=output, reporter=SilentReporter())
    began = time.time()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench.lib.format_process"),
            *(kind, str(output), str(folder / "images.npy")),
        ],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures = json.loads(done.stdout)
    return {
        "mb": export.megabytes,
        "images": export.comparison.captchas,
        "differing": export.comparison.differing,
        "right": export.comparison.file_accuracy,
        "first_s": figures.pop("first_answer") - began,
        **figures,
    }


def lines(results: Mapping[str, Mapping[str, Any]], language: str) -> Iterator[str]:
    for name, run in results.items():
        yield LINES[language].format(name=name, **run)


if __name__ == "__main__":
    sys.exit(main())
