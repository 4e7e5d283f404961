"""Ask the recognition API about images on this machine.

    python3 recognize_local.py [IMAGE ...] [--config conf/sample_config.json] [--api-url URL]

Reads the images named, or one of test_image_dir chosen by chance. Prints the answer for each, how
sure the API is, how long it took and, where the file name carries a label, whether it is right.
Writes each image to local_image_dir, named after the answer. Exit code 1 where one was refused.
webserver_recognize_api.py must be running.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from cnnlib import console, dataset, encoding
from cnnlib.client import Client, tally
from cnnlib.config import SAMPLE_CONFIG, existing_path, load_sample_config
from cnnlib.errors import ApiError, SampleError


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument("images", nargs="*", metavar="IMAGE", type=existing_path)
    parser.add_argument("--api-url", metavar="URL", help="address of the API")
    args = parser.parse_args(argv)
    config = load_sample_config(args.config, api_url=args.api_url)
    images = args.images or [dataset.random_image(config.test_image_dir)]
    results: list[bool | None] = []
    with Client(config.api_url) as client:
        for image in images:
            data = dataset.read_bytes(image)
            try:
                answer = client.recognize(data, image.name)
            except ApiError as error:
                console.warn(f"{image}: {error}")
                continue
            right = matches_label(image, answer.value)
            results.append(right)
            console.say(f"{image}: {answer}" + {None: "", True: ", right", False: ", wrong"}[right])
            encoding.store_image(data, config.local_image_dir, answer.value,
                                 image.suffix.lstrip(".") or config.image_suffix)
    console.say(tally(results, len(images)))
    return int(len(results) < len(images))


def matches_label(image: Path, value: str) -> bool | None:
    """Tell whether the answer is what the file name says; None where the name says nothing."""
    try:
        return encoding.label_of(image.name) == value
    except SampleError:
        return None


if __name__ == "__main__":
    sys.exit(main())
