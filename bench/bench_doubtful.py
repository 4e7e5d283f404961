"""Measure how many wrong labels doctor.py finds, and how many right ones it doubts.

    python3 bench/bench_doubtful.py [--images N] [--steps N]

Draws N images (20,000), gives 1 % of them another label, trains on all (1,200 steps of 64) from
random weights, and lists the labels that the model doubts. Changes nothing in the project.
"""

import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from bench.lib.practice import drawn_images, mislabel
from cnnlib import console
from cnnlib.config import SAMPLE_CONFIG, load_sample_config
from cnnlib.evaluation.label_audit import audit_labels
from cnnlib.paths import PROJECT_ROOT, ProjectPath
from cnnlib.recognizer import Recognizer
from cnnlib.training import TrainModel

TEST_IMAGES, WRONG_SHARE, BATCH_SIZE = 1000, 0.01, 64


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__)
    parser.add_argument("--images", type=console.at_least_one, default=20_000, metavar="N")
    parser.add_argument("--steps", type=console.at_least_one, default=1200, metavar="N")
    args = parser.parse_args(argv)
    config = load_sample_config(PROJECT_ROOT / SAMPLE_CONFIG, seed=0)
    drawn = drawn_images(config, TEST_IMAGES + args.images)
    order = np.arange(len(drawn))
    test, train = drawn.take(order[:TEST_IMAGES]), drawn.take(order[TEST_IMAGES:])
    wrong = mislabel(train, WRONG_SHARE)
    with tempfile.TemporaryDirectory() as folder:
        config = dataclasses.replace(
            config,
            model_save_dir=ProjectPath(folder),
            log_dir=ProjectPath(folder),
            cycle_stop=args.steps,
            acc_stop=1.0,
            train_batch_size=BATCH_SIZE,
        )
        if TrainModel.from_config(config).train_subset(train, test, len(train)).interrupted:
            return console.EXIT_INTERRUPTED
        with Recognizer.from_config(config) as recognizer:
            doubtful = {label.name for label in audit_labels(recognizer, train).doubtful}
    right = len(doubtful & wrong)
    console.say(
        f"{len(wrong)} wrong labels among {len(train)}: {len(doubtful)} doubted, {right} of "
        f"them wrong ({right / len(wrong):.1%} of the wrong ones)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
