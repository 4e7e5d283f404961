"""Say what is wrong with the labelled images and with the model, and what to do about it.

    python3 doctor.py [--config conf/sample_config.json]
    python3 doctor.py --forecast [--steps N] [--config conf/sample_config.json]

Looks at the images in train_image_dir and test_image_dir: the same picture under two labels, test
images that were trained on, blank images, characters that are missing or rare, a test set that is
too small. Where there is a model it then recognises all of them, and lists the labels that it
doubts, which may be wrong, and the characters that it confuses. The doubtful ones are drawn to
doubtful.png in model_save_dir; decoded images are kept in .decoded beside theirs.

--forecast trains on a quarter and on a half of the images, each for N steps (default: a fifth of
cycle_stop), and estimates what twice the images would bring. It leaves the model alone.
"""

import sys
from collections.abc import Sequence

from cnnlib import console, dataset, evaluation, image_set
from cnnlib.config import SAMPLE_CONFIG, load_sample_config
from cnnlib.doctor import examine
from cnnlib.forecast import forecast, print_forecast
from cnnlib.model_folder import ModelFolder


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument("--forecast", action="store_true", help="what twice the images would bring")
    parser.add_argument("--steps", type=console.at_least_one, metavar="N",
                        help="training steps of each part (default: a fifth of cycle_stop)")
    args = parser.parse_args(argv)
    config = load_sample_config(args.config)
    train, test = (image_set.load_images(folder, dataset.rules_of(config), cached=True)
                   for folder in (config.train_image_dir, config.test_image_dir))
    console.say(f"{len(train)} images for training, {len(test)} for testing")
    for line in examine(train, test, config.char_set) or ["nothing is wrong with them"]:
        console.say(f"- {line}")
    if args.forecast:
        print_forecast(forecast(config, train, test, args.steps or max(1, config.cycle_stop // 5)))
    elif ModelFolder(config.model_save_dir).read():
        evaluation.doubt(config, train, test)
    else:
        console.say(f"no model in {config.model_save_dir} yet: once there is one, this command "
                    "lists labels that it doubts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
