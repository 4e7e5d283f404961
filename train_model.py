"""Train a recogniser on the labelled images, and save it.

    python3 train_model.py [--config conf/sample_config.json] [--fresh] [--cycle-stop N] [--seed N]
                           [--teacher MODEL_FOLDER]
    python3 train_model.py --recognize

Reads the images in train_image_dir and test_image_dir. Prints, every 10 steps, the share of right
characters and of wholly right images in the training batch and in some test images. Writes the
model, history.csv and accuracy.png to model_save_dir every cycle_save steps and at the end, and
curves for TensorBoard to log_dir.

It stops after cycle_stop steps, or when acc_stop of the test images are right. Ctrl-C and SIGTERM
save and leave (exit code 130); the same command goes on from there, as it does after a crash.
Started after its end, it trains the same weights further; --fresh starts over.
--teacher names a trained model of the same captcha, from whose probabilities the network learns,
too (docs/en/training.md, A smaller network).
--recognize answers one random training image, and draws it to recognized.png in model_save_dir.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnnlib import console
from cnnlib.config import SAMPLE_CONFIG, load_sample_config
from cnnlib.paths import resolve_input_path

if TYPE_CHECKING:
    from cnnlib.training import TrainModel

__all__ = ["TrainModel", "main"]


def __getattr__(name: str) -> type["TrainModel"]:
    """Load TrainModel where it is imported from here: its TensorFlow takes seconds."""
    if name != "TrainModel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cnnlib.training import TrainModel

    return TrainModel


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument("--fresh", action="store_true", help="start over from random weights")
    parser.add_argument("--cycle-stop", type=int, metavar="N", help="training steps of this run")
    parser.add_argument("--seed", type=int, metavar="N", help="order of images, first weights")
    parser.add_argument(
        "--teacher", type=resolve_input_path, metavar="MODEL_FOLDER", help="a model to learn from"
    )
    parser.add_argument("--recognize", action="store_true", help="answer one training image")
    args = parser.parse_args(argv)
    config = load_sample_config(
        args.config, cycle_stop=args.cycle_stop, seed=args.seed, teacher=args.teacher
    )
    from cnnlib.training import TrainModel

    model = TrainModel.from_config(config, fresh=args.fresh)
    if args.recognize:
        model.recognize_captcha()
        return 0
    if model.train_cnn().interrupted:
        return console.EXIT_INTERRUPTED
    console.say(f"next: python3 test_batch.py --config {args.config}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
