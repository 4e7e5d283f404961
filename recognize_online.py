"""Fetch captchas from an address, and have the recognition API answer them.

    python3 recognize_online.py [--times N] [--config conf/sample_config.json] [--remote-url URL]
                                [--api-url URL] [--runtime auto|tensorflow|onnx]

Fetches from remote_url. Prints for each captcha the answer, its confidence, the time it took and,
where the server shows the text (webserver_captcha_image.py --show-answers), whether it is right.
Writes each image to online_image_dir, named after the answer. Exit code 1 where one was refused, or
could not be written. webserver_recognize_api.py must be running, and a server at remote_url; with
--runtime auto, tensorflow or onnx this program recognises by itself.
"""

import argparse
import sys
from collections.abc import Sequence

from cnnlib import console
from cnnlib.client.api_client import Client, tally
from cnnlib.config import RUNTIME_NAMES, SAMPLE_CONFIG, load_sample_config
from cnnlib.dataset.answered_images import AnsweredImages
from cnnlib.errors import ApiError
from cnnlib.in_process import InProcess


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    config = load_sample_config(
        args.config, remote_url=args.remote_url, api_url=args.api_url, runtime=args.runtime
    )
    normalize = config.spec.normalize
    kept = AnsweredImages(config.online_image_dir, config.label_separator)
    results: list[bool | None] = []
    asked = InProcess(config) if args.runtime else Client(config.api_url)
    with Client(config.remote_url) as remote, asked as api:
        for _ in range(args.times):
            captcha = remote.fetch()
            try:
                answer = api.recognize(captcha.image)
            except ApiError as error:
                console.warn(str(error))
                continue
            right = None
            if captcha.text is not None:
                right = normalize(captcha.text) == normalize(answer.value)
            results.append(right)
            verdicts = {None: "", True: ", right", False: f", wrong: it is {captcha.text}"}
            console.say(f"{answer}{verdicts[right]}")
            kept.keep(captcha.image, answer.value, config.image_suffix[0])
    console.say(tally(results, args.times))
    return int(len(results) < args.times or kept.has_failed)


def _parser() -> argparse.ArgumentParser:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument(
        "--times",
        type=console.at_least_one,
        default=1,
        metavar="N",
        help="captchas to fetch (default: 1)",
    )
    parser.add_argument("--remote-url", metavar="URL", help="where captchas are fetched")
    parser.add_argument("--api-url", metavar="URL", help="address of the API")
    console.add_runtime(parser, RUNTIME_NAMES, "recognise in this process, without the API")
    return parser


if __name__ == "__main__":
    sys.exit(main())
