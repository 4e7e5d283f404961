"""Measure how well the forecast of doctor.py holds.

    python3 bench/bench_forecast.py [--images N] [--steps N]

Forecasts from N drawn images (1,900: trainings on 475 and 950) what N and 2 N bring, then trains on
N and on 2 N for as many steps, and reads 2,000 fresh images. Prints both beside each other; changes
nothing in the project.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from bench.practice import drawn_images
from cnnlib import console, forecast
from cnnlib.config import PROJECT_ROOT, ProjectPath, load_sample_config

TEST = 100  # images that choose the best step, as a user with so few would have


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=console.at_least_one, default=1900, metavar="N")
    parser.add_argument("--steps", type=console.at_least_one, default=400, metavar="N")
    args = parser.parse_args(argv)
    count = args.images
    config = load_sample_config(PROJECT_ROOT / "conf/sample_config.json", seed=0)
    drawn = drawn_images(config, TEST + 2 * count + forecast.TESTED)
    order = np.arange(len(drawn))
    test, order = drawn.take(order[:TEST]), order[TEST:]
    config = dataclasses.replace(config, train_image_dir=ProjectPath("the drawn images"))
    made = forecast.forecast(config, drawn.take(order[:count]), test, args.steps)
    console.say("| images | right, expected | right, measured |\n|---|---|---|")
    for doublings, size in ((1, count), (2, 2 * count)):
        part = forecast.measure_part(config, drawn, test, order, size, count, args.steps)
        console.say(f"| {size:,} | {1 - made.expected_wrong(doublings):.1%} | "
                    f"{1 - part.share_wrong:.1%} |")
    forecast.print_forecast(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
