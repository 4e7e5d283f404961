"""Recognise images in bulk: folders, archives, lists of files and URLs; millions of them.

    python3 recognize_batch.py INPUT ... --output answers.csv|answers.jsonl|answers.parquet
                               [--config conf/sample_config.json] [--overwrite]
                               [--runtime auto|tensorflow|onnx] [--ray [ADDRESS]] [--workers N]

INPUT is a folder, with all folders in it; a tar or ZIP archive, which is not unpacked; an image; or
a list, a text file with a path (relative to the list's folder) or a URL a line. Writes a row for
each image: file, text, confidence, error. An image that cannot be read is a row with an error.
Ctrl-C, a kill or a power cut ends nothing: the same command goes on, until the output is whole.
What it needs for that is in OUTPUT.unfinished meanwhile. --ray recognises with processes of Ray: on
this machine, or those of the cluster at ADDRESS. See docs/en/bulk.md.
"""

import argparse
import signal
import sys
from collections.abc import Sequence

from cnnlib import console
from cnnlib.bulk import recognize_bulk
from cnnlib.bulk.ray_workers import HERE, RayWorkers
from cnnlib.bulk.workers import ThreadWorkers, Workers
from cnnlib.config import RUNTIME_NAMES, SAMPLE_CONFIG, load_sample_config
from cnnlib.paths import resolve_output_path


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    config = load_sample_config(args.config, runtime=args.runtime)

    def open_workers() -> Workers:
        if args.ray:
            return RayWorkers(config, args.ray, args.workers)
        return ThreadWorkers.from_config(config, args.workers)

    result = recognize_bulk(args.inputs, args.output, open_workers, overwrite=args.overwrite)
    rate = f", {result.images / result.seconds:,.0f} a second" if result.images else ""
    console.say(f"{result.output}: {result.rows:,} images{rate}")
    if result.errors:
        console.say(f"{result.errors:,} of them could not be read: the column error says why")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument("inputs", nargs="+", metavar="INPUT")
    parser.add_argument(
        "--output",
        required=True,
        type=resolve_output_path,
        metavar="FILE",
        help="its name ends in .csv, .jsonl or .parquet",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace FILE, once the new one is whole"
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const=HERE,
        metavar="ADDRESS",
        help="with Ray; without an address on this machine",
    )
    parser.add_argument(
        "--workers",
        type=console.at_least_one,
        metavar="N",
        help="threads, or processes of Ray (default: one a core)",
    )
    console.add_runtime(parser, RUNTIME_NAMES)
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is done is on the disk
    sys.exit(main())
