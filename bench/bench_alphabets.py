"""Measure what many classes cost: 36 characters, and 500 and 3,755 common Chinese ones.

    python3 bench/bench_alphabets.py [--steps N]

Two characters on an image of 120x60. For each alphabet, in a process of its own: takes training
steps of 128 on drawn images, saves, and recognises. Prints milliseconds of a step and of an image,
the anonymous memory of the process after its training steps (RssAnon; Linux), and the size of the
model. Draws with Debian's fonts-wqy-microhei. Nothing else should run meanwhile.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.lib.child import measured_in_child
from bench.lib.chinese import CHINESE_FONT, COMMON_CHINESE, LEVEL_1
from bench.lib.machine import anonymous_mb
from bench.lib.pages import markdown_table
from bench.lib.practice import drawn_images
from bench.lib.rows import BASE36
from bench.lib.step_times import step_times
from bench.lib.timing import median_ms
from cnnlib import console
from cnnlib.config import SAMPLE_CONFIG, SampleConfig, load_sample_config
from cnnlib.paths import PROJECT_ROOT, ProjectPath
from cnnlib.recognizer import Recognizer
from cnnlib.training import TrainModel

IMAGES = 1000
ALPHABETS = {"36": BASE36, "500": COMMON_CHINESE[:500], "3755": LEVEL_1}
HEAD = "| characters | step of 128, ms | RssAnon MB | weights MB | an image, ms |"
LINE = "| {characters:,} | {step_ms:.0f} | {anonymous_mb:.0f} | {best_mb:.1f} | {image_ms:.2f} |"


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__)
    parser.add_argument(
        "--steps",
        type=console.at_least_one,
        default=40,
        metavar="N",
        help="of each alphabet, after those that set things up",
    )
    parser.add_argument("--child", choices=ALPHABETS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        console.say(json.dumps(measure(args.child, args.steps)))
        return 0
    measured = [measure_in_child(alphabet, args.steps) for alphabet in ALPHABETS]
    console.say(markdown_table(HEAD, (LINE.format(**figures) for figures in measured)))
    return 0


def measure_in_child(alphabet: str, steps: int) -> dict[str, float]:
    return measured_in_child(__file__, alphabet, "--steps", str(steps))


def measure(alphabet: str, steps: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        config = config_of(ALPHABETS[alphabet], folder)
        images = drawn_images(config, IMAGES, fonts=[CHINESE_FONT])
        _, step_ms = step_times(TrainModel.from_config(config), images, steps)
        anonymous = anonymous_mb()
        # A run of one step, for the file and the recogniser.
        config = dataclasses.replace(config, cycle_stop=1)
        TrainModel.from_config(config).train_subset(images, images, len(images))
        best = sum(file.stat().st_size for file in Path(folder).glob("best-*"))
        with Recognizer.from_config(config) as recognizer:
            [image_ms] = median_ms(lambda: recognizer.predict_pixels(images.pixels[:1]))
    return {
        "characters": len(config.char_set),
        "step_ms": step_ms,
        "anonymous_mb": anonymous,
        "best_mb": best / 1e6,
        "image_ms": image_ms,
    }


def config_of(characters: str, folder: str) -> SampleConfig:
    return dataclasses.replace(
        load_sample_config(PROJECT_ROOT / SAMPLE_CONFIG),
        char_set=tuple(characters),
        max_captcha=2,
        min_captcha=2,
        image_width=120,
        model_save_dir=ProjectPath(folder),
        log_dir=ProjectPath(folder),
        acc_stop=1.0,
    )


if __name__ == "__main__":
    sys.exit(main())
