"""Serve the recognition API: POST an image as `image_file` to http://127.0.0.1:6000/b

    python3 webserver_recognize_api.py [--config conf/sample_config.json] [--host 127.0.0.1]
                                       [--port 6000] [--no-save]
    curl -F image_file=@captcha.png http://127.0.0.1:6000/b
    gunicorn --workers 2 --threads 8 --bind 127.0.0.1:6000 'webserver_recognize_api:create_app()'

Reads the model in model_save_dir; further models are lines in `load_recognizers` below. Writes
each image to api_image_dir, named after the answer. Listens on this machine alone;
--host 0.0.0.0 lets others in. Stops on Ctrl-C and SIGTERM when the answers in flight are finished.
"""

import sys
from collections.abc import Sequence

from flask import Flask

from cnnlib import console, serving
from cnnlib.config import SAMPLE_CONFIG, AnyPath, SampleConfig, load_sample_config
from cnnlib.recognizer import Recognizer


def load_recognizers(config: SampleConfig) -> dict[str, Recognizer]:
    """Load the models to serve, by name: the first answers at /b, each at /b/<name>.

    A further model is one more line in the dictionary, with a config of its own, such as

        "shop": Recognizer.from_config(load_sample_config("conf/shop.json")),
    """
    return {
        "default": Recognizer.from_config(config),
    }


def create_app(config: AnyPath = SAMPLE_CONFIG, save: bool = True) -> Flask:
    """Make the WSGI application; it logs to stderr. `save`: write each image to api_image_dir."""
    serving.log_to_stderr()
    sample = load_sample_config(config)
    return serving.create_recognize_app(
        load_recognizers(sample), api_image_dir=sample.api_image_dir if save else None,
        image_suffix=sample.image_suffix)


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument("--host", default=serving.LOCALHOST, help="address to listen on")
    parser.add_argument("--port", type=int, default=6000, metavar="N", help="0 takes a free one")
    parser.add_argument("--no-save", action="store_true", help="keep no images")
    args = parser.parse_args(argv)
    server = serving.Server(create_app(args.config, not args.no_save), args.host, args.port)
    console.say(f"listening on {server.url}/b")
    server.run_until_signal()
    return 0


if __name__ == "__main__":
    sys.exit(main())
