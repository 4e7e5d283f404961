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

from cnnlib import console, doctor, image_set
from cnnlib.config import PROJECT_ROOT, ProjectPath, load_captcha_config, load_sample_config
from cnnlib.recognizer import Recognizer
from cnnlib.training import NEVER, TrainModel
from gen_image.generator import draw_samples

TEST, WRONG, BATCH = 1000, 0.01, 64


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=console.at_least_one, default=20_000, metavar="N")
    parser.add_argument("--steps", type=console.at_least_one, default=1200, metavar="N")
    args = parser.parse_args(argv)
    config = load_sample_config(PROJECT_ROOT / "conf/sample_config.json", seed=0)
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        draw_samples(load_captcha_config(PROJECT_ROOT / "conf/captcha_config.json",
                                         root_dir=str(images), count=args.images + TEST))
        drawn = image_set.load_images(images, config.image_width, config.image_height,
                                      config.char_set, config.max_captcha)
        rng = np.random.default_rng(0)
        order = rng.permutation(len(drawn))
        train, test = drawn.take(order[TEST:]), drawn.take(order[:TEST])
        wrong = rng.permutation(len(train))[:round(WRONG * len(train))]
        # The labels of other images: one character at least differs.
        train.char_ids[wrong] = train.char_ids[np.roll(wrong, 1)]
        model = TrainModel.from_config(dataclasses.replace(
            config, model_save_dir=ProjectPath(Path(folder) / "model"),
            log_dir=ProjectPath(folder), cycle_stop=args.steps, acc_stop=NEVER,
            train_batch_size=BATCH))
        if model.try_on(train, test, len(train)).interrupted:
            return console.EXIT_INTERRUPTED
        recognizer = Recognizer(config.image_height, config.image_width, config.max_captcha,
                                config.char_set, Path(folder) / "model")
        found = doctor.doubtful_labels(doctor.likelihoods(
            recognizer.probabilities(train.pixels), train.char_ids))
    right = len(set(found) & set(wrong.tolist()))
    console.say(f"{len(wrong)} wrong labels among {len(train)}: {len(found)} doubted, {right} of "
                f"them wrong ({right / len(wrong):.1%} of the wrong ones)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
