"""Verify the labelled images and split them into training and test set.

    python3 verify_and_split_data.py [--config conf/sample_config.json] [--seed N]

Reads origin_image_dir, then new_image_dir. A file that cannot be used stays there and is listed
with the reason. The other images are moved: 95 % to train_image_dir, 5 % to test_image_dir, chosen
at random by the seed. It can be stopped and run again at any moment, and run again when more
images have come into new_image_dir.
"""

import sys
from collections.abc import Sequence

from cnnlib import console
from cnnlib.config import SAMPLE_CONFIG, load_sample_config
from cnnlib.dataset import split, verify, verify_and_split

__all__ = ["main", "split", "verify"]


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="chooses the test images (default: that of the config)",
    )
    args = parser.parse_args(argv)
    config = load_sample_config(args.config, seed=args.seed)
    verify_and_split(config, config.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
