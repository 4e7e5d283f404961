"""Measure how many wrong labels doctor.py finds, and how many right ones it doubts.

    python3 bench/bench_doubtful.py [--images N] [--steps N]

Draws N images (20,000), gives 1 % of them another label, trains on all (1,200 steps of 64) from
random weights, and lists the labels that the model doubts. Changes nothing in the project.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from bench.practice import drawn_images
from cnnlib import console, doctor
from cnnlib.config import PROJECT_ROOT, ProjectPath, load_sample_config
from cnnlib.recognizer import Recognizer
from cnnlib.training import TrainModel

TEST, WRONG, BATCH = 1000, 0.01, 64


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=console.at_least_one, default=20_000, metavar="N")
    parser.add_argument("--steps", type=console.at_least_one, default=1200, metavar="N")
    args = parser.parse_args(argv)
    config = load_sample_config(PROJECT_ROOT / "conf/sample_config.json", seed=0)
    drawn = drawn_images(config, TEST + args.images)
    test, train = (drawn.take(part) for part in np.split(np.arange(len(drawn)), [TEST]))
    wrong = np.arange(round(WRONG * len(train)))  # of the training images, which come at random
    train.char_ids[wrong] = train.char_ids[np.roll(wrong, 1)]  # the labels of other images
    with tempfile.TemporaryDirectory() as folder:
        config = dataclasses.replace(
            config, model_save_dir=ProjectPath(folder), log_dir=ProjectPath(folder),
            cycle_stop=args.steps, acc_stop=1.0, train_batch_size=BATCH)
        if TrainModel.from_config(config).try_on(train, test, len(train)).interrupted:
            return console.EXIT_INTERRUPTED
        found = doctor.doubtful_labels(doctor.likelihoods(
            Recognizer.from_config(config).probabilities(train.pixels), train.char_ids, ends=False))
    right = len(set(found) & set(wrong.tolist()))
    console.say(f"{len(wrong)} wrong labels among {len(train)}: {len(found)} doubted, {right} of "
                f"them wrong ({right / len(wrong):.1%} of the wrong ones)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
