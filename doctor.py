"""Say what is wrong with the labelled images and with the model, and what to do about it.

    python3 doctor.py [--config conf/sample_config.json]
    python3 doctor.py --forecast [--steps N]

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

import numpy as np

from cnnlib import console, encoding, image_set, metrics, plots
from cnnlib.config import SAMPLE_CONFIG, SampleConfig, load_sample_config
from cnnlib.doctor import doubtful_labels, examine, likelihoods
from cnnlib.forecast import forecast, print_forecast
from cnnlib.image_set import ImageSet
from cnnlib.model_folder import ModelFolder
from cnnlib.recognizer import Recognizer

SHOWN = 20  # doubtful labels of a folder
CONFUSIONS = 10
AT_ONCE = 256  # images, between two steps of the progress bar
PICTURE = "doubtful.png"


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument("--forecast", action="store_true", help="what twice the images would bring")
    parser.add_argument("--steps", type=console.at_least_one, metavar="N",
                        help="training steps of each part (default: a fifth of cycle_stop)")
    args = parser.parse_args(argv)
    config = load_sample_config(args.config)
    train, test = (image_set.load_images(
        folder, config.image_width, config.image_height, config.char_set, config.max_captcha,
        config.image_suffix, cached=True)
        for folder in (config.train_image_dir, config.test_image_dir))
    console.say(f"{len(train)} images for training, {len(test)} for testing")
    for line in examine(train, test, config.char_set) or ["nothing is wrong with them"]:
        console.say(f"- {line}")
    if args.forecast:
        print_forecast(forecast(config, train, test, args.steps or max(1, config.cycle_stop // 5)))
    elif ModelFolder(config.model_save_dir).read():
        doubt(config, train, test)
    else:
        console.say(f"no model in {config.model_save_dir} yet: once there is one, this command "
                    "lists labels that it doubts")
    return 0


def doubt(config: SampleConfig, train: ImageSet, test: ImageSet) -> None:
    """Recognise all images; print and draw those whose label is doubtful, and the confusions."""
    recognizer = Recognizer.from_config(config)
    doubtful: list[tuple[str, np.ndarray]] = []
    for images, folder in ((train, config.train_image_dir), (test, config.test_image_dir)):
        answers, likelihood = [], []
        for start in console.progress(range(0, len(images), AT_ONCE), "recognising"):
            part = slice(start, start + AT_ONCE)
            probabilities = recognizer.probabilities(images.pixels[part])
            answers += [encoding.ids_to_label(ids, config.char_set)
                        for ids in probabilities.argmax(axis=-1)]
            likelihood.append(likelihoods(probabilities, images.char_ids[part]))
        labels = [encoding.ids_to_label(ids, config.char_set) for ids in images.char_ids]
        found = doubtful_labels(np.concatenate(likelihood))
        console.say(f"{len(found)} labels are doubtful in {folder}"
                    + (f", the {SHOWN} most doubtful:" if len(found) > SHOWN else ""))
        for i in found[:SHOWN]:
            console.say(f"  {images.names[i]}: read as {answers[i]}")
            doubtful.append((f"{labels[i]}? or {answers[i]}", images.pixels[i]))
    if doubtful:
        picture = config.model_save_dir.full / PICTURE
        plots.image_grid([pixels for _, pixels in doubtful], [title for title, _ in doubtful],
                         picture)
        console.say(f"look at them: {picture}. Rename those whose label is wrong, and train again")
    pairs = metrics.confusions(zip(labels, answers, strict=True))
    if pairs:
        console.say("confused in the test set: " + ", ".join(
            f"{true} read as {read} ({count})" for true, read, count in pairs[:CONFUSIONS])
            + ". More images with these characters help most")


if __name__ == "__main__":
    sys.exit(main())
