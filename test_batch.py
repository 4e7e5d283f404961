"""Test the trained model on the images in test_image_dir.

    python3 test_batch.py [--config conf/sample_config.json] [--total N] [--save-errors FOLDER]
                          [--runtime auto|tensorflow|onnx]

Prints the accuracy of whole images and of characters, the 95 % interval, which characters were
confused, and the least certain wrong answers. Writes nothing, but for copies of the wrong
images to the folder that --save-errors names, from the working directory.
"""

import sys
from collections.abc import Sequence

from cnnlib import console
from cnnlib.config import RUNTIME_NAMES, SAMPLE_CONFIG, load_sample_config
from cnnlib.evaluation import TestBatch
from cnnlib.paths import resolve_output_path

__all__ = ["TestBatch", "main"]


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument(
        "--total",
        type=console.at_least_one,
        metavar="N",
        help="this many images, chosen at random (default: all)",
    )
    parser.add_argument(
        "--save-errors",
        type=resolve_output_path,
        metavar="FOLDER",
        help="copy the wrong images there",
    )
    console.add_runtime(parser, RUNTIME_NAMES)
    args = parser.parse_args(argv)
    config = load_sample_config(args.config, runtime=args.runtime)
    test = TestBatch.from_config(config, args.total)
    result = test.test_batch()
    if args.save_errors:
        test.save_errors(result, args.save_errors)
    return 0


if __name__ == "__main__":
    sys.exit(main())
