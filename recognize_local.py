"""Ask the recognition API about images on this machine.

    python3 recognize_local.py [IMAGE or FOLDER ...] [--concurrency K]
                               [--config conf/sample_config.json] [--api-url URL]

Reads the images named, and those of the folders named; else one of test_image_dir chosen by chance.
Prints the answer for each, how sure the API is, how long it took and, where the file name carries a
label, whether it is right; at the end how many were. Writes each image to local_image_dir, named
after the answer. Exit code 1 where one was refused. Ctrl-C ends it early (exit code 130).
webserver_recognize_api.py must be running.
"""

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from cnnlib import client, console, dataset, encoding
from cnnlib.client import Client, tally
from cnnlib.config import SAMPLE_CONFIG, ProjectPath, existing_path, load_sample_config
from cnnlib.errors import ApiError, SampleError


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument("images", nargs="*", metavar="IMAGE", type=existing_path)
    parser.add_argument("--concurrency", type=console.at_least_one, default=8, metavar="K",
                        help="requests at a time (default: 8)")
    parser.add_argument("--api-url", metavar="URL", help="address of the API")
    args = parser.parse_args(argv)
    config = load_sample_config(args.config, api_url=args.api_url)
    images = dataset.image_files(args.images or [dataset.random_image(config.test_image_dir)])
    rules = dataset.rules_of(config)
    results: list[bool | None] = []
    interrupted = False
    with Client(config.api_url) as asked:
        answers = client.recognize_all(asked, images, min(args.concurrency, len(images)))
        try:
            for image, data, answer in console.progress(answers, "asking", len(images)):
                if isinstance(answer, ApiError):
                    console.warn(f"{image}: {answer}")
                    continue
                right = matches_label(image, answer.value, rules)
                results.append(right)
                console.say(f"{image}: {answer}"
                            + {None: "", True: ", right", False: ", wrong"}[right])
                encoding.store_image(data, config.local_image_dir, answer.value,
                                     image.suffix.lstrip(".") or config.image_suffix,
                                     separator=config.label_separator)
        except KeyboardInterrupt:
            interrupted = True
            console.warn("interrupted; what was answered so far:")
    console.say(tally(results, len(images)))
    return console.EXIT_INTERRUPTED if interrupted else int(len(results) < len(images))


@functools.cache
def listed_labels(folder: Path) -> dict[str, str]:
    return dataset.listed_labels(ProjectPath(folder))


def matches_label(image: Path, value: str, rules: dataset.Rules) -> bool | None:
    """Tell whether the answer is the label; None where neither labels.csv nor the name has one."""
    try:
        listed = listed_labels(image.parent).get(image.name)
        label = rules.label(image.name) if listed is None else rules.learned(listed)
        return label == rules.learned(value)
    except SampleError:
        return None


if __name__ == "__main__":
    sys.exit(main())
