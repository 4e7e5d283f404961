"""Train with the labels that are new, and put the new weights in place if they are not worse.

    python3 label_loop.py [--config conf/sample_config.json] [--cycle-stop N]

One round of the loop of webserver_label_images.py, whose button does the same. Verifies what is new
in origin_image_dir and new_image_dir and adds it to the training set; the first time a part of it
becomes the test set, which then stays as it is. Trains in labelling_dir with all labels. Reads the
test set with the old weights and the new ones, compares them (McNemar's test), and replaces those
in model_save_dir unless the new ones are worse; a recognition API that is running loads them.
Ctrl-C and SIGTERM save and leave (exit code 130); the same command goes on from there.
"""

import sys
from collections.abc import Sequence

from cnnlib import console
from cnnlib.config import SAMPLE_CONFIG, load_sample_config
from cnnlib.labelling.rounds import run_round


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument(
        "--cycle-stop", type=console.at_least_one, metavar="N", help="training steps of this round"
    )
    args = parser.parse_args(argv)
    config = load_sample_config(args.config, cycle_stop=args.cycle_stop)
    if run_round(config) is None:
        console.say(f"go on with: python3 label_loop.py --config {args.config}")
        return console.EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
