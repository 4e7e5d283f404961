"""Say what is wrong with the labelled images and with the model, and what to do about it.

    python3 doctor.py [--config conf/sample_config.json] [--runtime auto|tensorflow|onnx]
    python3 doctor.py --forecast [--steps N] [--config conf/sample_config.json]
    python3 doctor.py --cross-validate [--steps N] [--config conf/sample_config.json]

Checks the images in train_image_dir and test_image_dir: the same picture under two labels, test
images that were trained on, blank images, characters that are missing or rare, a test set that is
too small. Where there is a model it then recognises all of them, and lists the labels that it
doubts, which may be wrong, and the characters that it confuses. The doubtful ones are drawn to
doubtful.png in model_save_dir; decoded images are kept in the folder .decoded next to theirs.

--forecast trains on a quarter and on a half of the images, each for N steps (default: a fifth of
cycle_stop), and estimates how much twice the images would help. --cross-validate is for sets that
are small: it trains five times on four fifths of all images, each for N steps, and reads the fifth
that was held back, so that all images together say how well this captcha is read. Both leave the
model alone.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from cnnlib import console, plots
from cnnlib.config import RUNTIME_NAMES, SAMPLE_CONFIG, SampleConfig, load_sample_config
from cnnlib.dataset.image_set import ImageSet, load_images
from cnnlib.dataset.verification import Rules
from cnnlib.errors import MissingPackageError
from cnnlib.evaluation.batch_test import confusions_in_words
from cnnlib.evaluation.checks import check_images
from cnnlib.evaluation.label_audit import DoubtfulLabel, audit_labels
from cnnlib.evaluation.metrics import confusions
from cnnlib.networks.model_folder import ModelFolder
from cnnlib.packages import require
from cnnlib.runtimes import load_recognizer

MAX_LISTED_LABELS = 20  # doubtful labels of a folder
FOLDS = 5
DOUBTFUL_FILE = "doubtful.png"


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument(
        "--forecast", action="store_true", help="how much twice the images would help"
    )
    parser.add_argument(
        "--cross-validate", action="store_true", help="measure on all images, in five trainings"
    )
    parser.add_argument(
        "--steps",
        type=console.at_least_one,
        metavar="N",
        help="training steps of each part (default: a fifth of cycle_stop)",
    )
    console.add_runtime(parser, RUNTIME_NAMES)
    args = parser.parse_args(argv)
    if args.forecast or args.cross_validate:
        require("tensorflow")
    config = load_sample_config(args.config, runtime=args.runtime)
    rules = Rules.from_config(config)
    train, test = (
        load_images(folder, rules, cached=True)
        for folder in (config.train_image_dir, config.test_image_dir)
    )
    console.say(f"{len(train)} images for training, {len(test)} for testing")
    for line in check_images(train, test, config.char_set) or ["nothing is wrong with them"]:
        console.say(f"- {line}")
    steps = args.steps or max(1, config.cycle_stop // 5)
    if args.cross_validate:
        from cnnlib.training.cross_validation import cross_validate

        console.say(cross_validate(config, [train, test], FOLDS, steps).summary())
    elif args.forecast:
        from cnnlib.training import forecast

        for line in forecast.summary(forecast.forecast(config, train, test, steps)):
            console.say(line)
    elif (folder := ModelFolder(config.model_save_dir)).read() or folder.has_export():
        audit(config, train, test)
    else:
        console.say(
            f"no model in {config.model_save_dir} yet: once there is one, this command "
            "lists labels that it doubts"
        )
    return 0


def audit(config: SampleConfig, train: ImageSet, test: ImageSet) -> None:
    """Print and draw the doubtful labels of both sets, and the confusions of the test set."""
    shown: list[DoubtfulLabel] = []
    pairs: list[tuple[str, str]] = []  # of the last set, that for testing
    with load_recognizer(config) as recognizer:
        for images, folder in ((train, config.train_image_dir), (test, config.test_image_dir)):
            found = audit_labels(recognizer, images)
            doubtful = found.doubtful
            console.say(
                f"{len(doubtful)} labels are doubtful in {folder}"
                + (
                    f", the {MAX_LISTED_LABELS} most doubtful:"
                    if len(doubtful) > MAX_LISTED_LABELS
                    else ""
                )
            )
            for item in doubtful[:MAX_LISTED_LABELS]:
                console.say(f"  {item.name}: read as {item.answer}")
            shown += doubtful[:MAX_LISTED_LABELS]
            pairs = found.pairs
    confused = confusions(pairs)
    if confused:
        console.say(
            f"confused in the test set: {confusions_in_words(confused)}. "
            "More images with these characters help most"
        )
    if shown:
        try:
            draw(shown, config.model_save_dir.full / DOUBTFUL_FILE)
        except MissingPackageError as error:  # as where requirements-serve.txt alone is installed
            console.warn(f"no picture: {error}")


def draw(doubtful: Sequence[DoubtfulLabel], picture: Path) -> None:
    titles = [f"{item.label}? or {item.answer}" for item in doubtful]
    plots.image_grid([item.pixels for item in doubtful], titles, picture)
    console.say(f"look at them: {picture}. Rename those whose label is wrong, and train again")


if __name__ == "__main__":
    sys.exit(main())
