"""Measure how well the forecast of doctor.py holds.

    python3 bench/bench_forecast.py [--images N] [--steps N]

Forecasts from N drawn images (1,900: trainings on 475 and 950) what N and 2 N bring, then trains on
N and on 2 N for as many steps, and recognises 2,000 fresh images. Prints what was expected next to
what was measured; changes nothing in the project.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from bench.lib.pages import markdown_table
from bench.lib.practice import drawn_images
from cnnlib import console
from cnnlib.config import SAMPLE_CONFIG, load_sample_config
from cnnlib.paths import PROJECT_ROOT, ProjectPath
from cnnlib.training.forecast import MAX_TESTED, forecast, measure_part, summary

TEST_IMAGES = 100  # that choose the best step, as a user with few images would have


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__)
    parser.add_argument("--images", type=console.at_least_one, default=1900, metavar="N")
    parser.add_argument("--steps", type=console.at_least_one, default=400, metavar="N")
    args = parser.parse_args(argv)
    count, steps = args.images, args.steps
    config = dataclasses.replace(
        load_sample_config(PROJECT_ROOT / SAMPLE_CONFIG, seed=0),
        train_image_dir=ProjectPath("the drawn images"),
    )
    drawn = drawn_images(config, TEST_IMAGES + 2 * count + MAX_TESTED)
    order = np.arange(len(drawn))
    test, order = drawn.take(order[:TEST_IMAGES]), order[TEST_IMAGES:]
    made = forecast(config, drawn.take(order[:count]), test, steps)
    lines = []
    for doublings in (1, 2):
        size = count * doublings
        part = measure_part(config, drawn, test, order, size, count, steps)
        expected, measured = 1 - made.expected_wrong(doublings), 1 - part.share_wrong
        lines.append(f"| {size:,} | {expected:.1%} | {measured:.1%} |")
    console.say(markdown_table("| images | right, expected | right, measured |", lines))
    for line in summary(made):
        console.say(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
