"""Ask the recognition API about images on this machine.

    python3 recognize_local.py [IMAGE or FOLDER ...] [--concurrency K]
                               [--config conf/sample_config.json] [--api-url URL]
                               [--runtime auto|tensorflow|onnx]

Reads the images named, and those of the folders named; else one of test_image_dir chosen by chance.
Prints for each image the answer, its confidence, the time it took and, where the file name has a
label, whether it is right; at the end how many were. Writes each image to local_image_dir, named
after the answer. Exit code 1 where one was refused, or could not be read or written. Ctrl-C ends it
early (exit code 130). webserver_recognize_api.py must be running; with --runtime auto, tensorflow
or onnx this program recognises by itself.
"""

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from cnnlib import console
from cnnlib.client.api_client import Client, recognize_all, tally
from cnnlib.config import RUNTIME_NAMES, SAMPLE_CONFIG, load_sample_config
from cnnlib.dataset.answered_images import AnsweredImages
from cnnlib.dataset.folders import image_files, random_image
from cnnlib.dataset.labels import FolderLabels
from cnnlib.dataset.verification import Rules
from cnnlib.errors import CaptchaError, SampleError
from cnnlib.in_process import InProcess
from cnnlib.paths import ProjectPath, resolve_input_path

VERDICTS = {None: "", True: ", right", False: ", wrong"}


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    config = load_sample_config(args.config, api_url=args.api_url, runtime=args.runtime)
    images = image_files(args.images or [random_image(config.test_image_dir)])
    rules = Rules.from_config(config)
    kept = AnsweredImages(config.local_image_dir, config.label_separator)
    results: list[bool | None] = []
    interrupted = False
    with InProcess(config) if args.runtime else Client(config.api_url) as client:
        answers = recognize_all(client, images, min(args.concurrency, len(images)))
        try:
            for image, data, answer in console.progress(answers, "asking", len(images)):
                if isinstance(answer, CaptchaError):
                    console.warn(f"{image}: {answer}")
                    continue
                right = matches_label(image, answer.value, rules)
                results.append(right)
                console.say(f"{image}: {answer}{VERDICTS[right]}")
                kept.keep(data, answer.value, image.suffix.lstrip(".") or config.image_suffix[0])
        except KeyboardInterrupt:
            interrupted = True
            console.warn("interrupted; what was answered so far:")
    console.say(tally(results, len(images)))
    if interrupted:
        return console.EXIT_INTERRUPTED
    return int(len(results) < len(images) or kept.has_failed)


def _parser() -> argparse.ArgumentParser:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument("images", nargs="*", metavar="IMAGE", type=resolve_input_path)
    parser.add_argument(
        "--concurrency",
        type=console.at_least_one,
        default=8,
        metavar="K",
        help="requests at a time (default: 8)",
    )
    parser.add_argument("--api-url", metavar="URL", help="address of the API")
    console.add_runtime(parser, RUNTIME_NAMES, "recognise in this process, without the API")
    return parser


def matches_label(image: Path, value: str, rules: Rules) -> bool | None:
    """Return whether the answer is the label; None where neither labels.csv nor the name has it."""
    try:
        return labels_in(image.parent, rules).label(image.name) == rules.spec.normalize(value)
    except SampleError:
        return None


@functools.cache
def labels_in(folder: Path, rules: Rules) -> FolderLabels:
    return rules.labels(ProjectPath(folder))


if __name__ == "__main__":
    sys.exit(main())
