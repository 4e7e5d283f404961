"""Measure what many classes cost: 36 characters, and 500 and 3,755 common Chinese ones.

    python3 bench/bench_alphabets.py [--steps N]

Two characters on an image of 120x60. For each alphabet, in a process of its own: takes training
steps of 128 on drawn images, saves, and recognises. Prints milliseconds of a step and of an image,
the anonymous memory of the process after its training steps (RssAnon; Linux), and the size of the
model. Draws with Debian's fonts-wqy-microhei. Nothing else should run.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.bench_pipeline import anonymous_mb, step_times
from bench.bench_serving import median_ms
from bench.chinese import CHINESE_FONT, COMMON_CHINESE, LEVEL_1
from bench.practice import drawn_images
from cnnlib import console
from cnnlib.config import PROJECT_ROOT, ProjectPath, load_sample_config
from cnnlib.recognizer import Recognizer
from cnnlib.training import TrainModel

DRAWN = 1000
ALPHABETS = {"36": "0123456789abcdefghijklmnopqrstuvwxyz", "500": COMMON_CHINESE[:500],
             "3755": LEVEL_1}


def measure(alphabet: str, steps: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        config = dataclasses.replace(
            load_sample_config(PROJECT_ROOT / "conf/sample_config.json"),
            char_set=tuple(ALPHABETS[alphabet]), max_captcha=2, min_captcha=2, image_width=120,
            model_save_dir=ProjectPath(folder), log_dir=ProjectPath(folder), acc_stop=1.0)
        images = drawn_images(config, DRAWN, fonts=[CHINESE_FONT])
        _, step_ms = step_times(TrainModel.from_config(config), images, steps)
        anonymous = anonymous_mb()
        # A run of one step, for the file and the recogniser.
        config = dataclasses.replace(config, cycle_stop=1)
        TrainModel.from_config(config).try_on(images, images, len(images))
        best = sum(file.stat().st_size for file in Path(folder).glob("best-*"))
        recognizer = Recognizer.from_config(config)
        image_ms, *_ = median_ms(lambda: recognizer.predict_pixels(images.pixels[:1]))
    return {"characters": len(config.char_set), "step_ms": step_ms, "anonymous_mb": anonymous,
            "best_mb": best / 1e6, "image_ms": image_ms}


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=console.at_least_one, default=40, metavar="N",
                        help="of each alphabet, after those that set things up")
    parser.add_argument("--child", choices=ALPHABETS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        console.say(json.dumps(measure(args.child, args.steps)))
        return 0
    console.say("| characters | step of 128, ms | RssAnon MB | weights MB | an image, ms |\n"
                "|---|---|---|---|---|")
    for alphabet in ALPHABETS:
        out = subprocess.run(
            [sys.executable, __file__, "--child", alphabet, "--steps", str(args.steps)],
            stdout=subprocess.PIPE, text=True, check=True).stdout
        row = json.loads(out.splitlines()[-1])
        console.say(f"| {row['characters']:,} | {row['step_ms']:.0f} | {row['anonymous_mb']:.0f} | "
                    f"{row['best_mb']:.1f} | {row['image_ms']:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
