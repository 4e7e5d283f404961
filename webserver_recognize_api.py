"""Serve the recognition API: POST an image as `image_file` to http://127.0.0.1:6000/b

    python3 webserver_recognize_api.py [--config conf/sample_config.json] [--host 127.0.0.1]
                                       [--port 6000] [--no-save] [--model NAME=CONFIG ...]
                                       [--api-key-file FILE] [--cors-origin ORIGIN] [--compat]
                                       [--runtime auto|tensorflow|onnx]
    curl -F image_file=@captcha.png http://127.0.0.1:6000/b

Reads the model in model_save_dir, and loads newer weights when a training saves them there.
Further models answer at /b/NAME; they are options --model, or lines in `load_recognizers` below.
Writes each image to api_image_dir, named after the answer. / is a page to try it in a browser,
which needs another port than 6000; /docs describes the API; /models, /health/ready, /metrics and
/openapi.json report on the server itself. Listens on this machine alone; --host 0.0.0.0 lets others
in. Stops on Ctrl-C and SIGTERM when the answers in flight are finished. For several processes
behind nginx see deploy/.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing

from flask import Flask

from cnnlib import console
from cnnlib.config import RUNTIME_NAMES, SAMPLE_CONFIG, SampleConfig, load_sample_config
from cnnlib.errors import ConfigError
from cnnlib.paths import AnyPath, resolve_input_path
from cnnlib.runtimes import load_recognizer
from cnnlib.serving.app import create_recognize_app
from cnnlib.serving.batching import MAX_BATCH_SIZE
from cnnlib.serving.keys import read_api_keys
from cnnlib.serving.logs import log_to_stderr
from cnnlib.serving.models import RecognizerLike
from cnnlib.serving.service import ServingOptions
from cnnlib.serving.waitress_server import LOCALHOST, Server

BLOCKED_PORTS = (6000, 6566, *range(6665, 6670), 6679, 6697)  # by browsers, above 1024; some


def load_recognizers(config: SampleConfig) -> dict[str, RecognizerLike]:
    """Load the models to serve, by name: the first answers at /b, each at /b/<name>.

    A further model is one more line in the dictionary, with a config of its own, such as

        "shop": load_recognizer(load_sample_config("conf/shop.json")),
    """
    return {
        "default": load_recognizer(config),
    }


def create_app(
    config: AnyPath = SAMPLE_CONFIG,
    save: bool = True,
    *,
    runtime: str | None = None,
    models: Sequence[tuple[str, str]] = (),
    api_key_file: AnyPath | None = None,
    cors_origin: str = "*",
    compat: bool = False,
    max_batch_size: int = MAX_BATCH_SIZE,
) -> Flask:
    """Make the WSGI application; it logs to stderr.

    `save`: write each image to api_image_dir. `runtime`: instead of that of the configs. `models`:
    names and configs of further models.
    `compat`: answer in.php and createTask too, for one process alone, which keeps their answers.
    `max_batch_size`: images in a run of the network; 1 recognises each alone. The number of runs at
    a time is that of the cores, or TF_NUM_INTEROP_THREADS, as for one of several workers.
    """
    log_to_stderr()
    sample = load_sample_config(config, runtime=runtime)
    options = ServingOptions(
        api_image_dir=sample.api_image_dir if save else None,
        image_suffix=sample.image_suffix[0],
        label_separator=sample.label_separator,
        api_image_limit=sample.api_image_limit,
        max_batch_size=max_batch_size,
        num_batch_threads=int(os.environ.get("TF_NUM_INTEROP_THREADS") or 0) or None,
        allow_origin=cors_origin,
        api_keys=read_api_keys(api_key_file) if api_key_file else (),
        hot_reload=True,
        compat=compat,
    )
    with ExitStack() as loaded:  # closes the models where the rest fails
        recognizers = load_recognizers(sample)
        for recognizer in recognizers.values():
            loaded.callback(recognizer.close)
        sums = [next(iter(recognizers))] if sample.arithmetic else []
        for name, path in models:
            if name in recognizers:
                raise ConfigError(f"two models are named {name}: give each its own with --model")
            further = load_sample_config(path, runtime=runtime)
            recognizers[name] = load_recognizer(further)
            loaded.callback(recognizers[name].close)
            sums += [name] if further.arithmetic else []
        app = create_recognize_app(recognizers, dataclasses.replace(options, arithmetic=sums))
        loaded.pop_all()  # the application closes them
    return app


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    app = create_app(
        args.config,
        not args.no_save,
        runtime=args.runtime,
        models=args.model,
        api_key_file=args.api_key_file,
        cors_origin=args.cors_origin,
        compat=args.compat,
    )
    with closing(app.extensions["service"]):
        server = Server(app, args.host, args.port)
        console.say(f"listening on {server.url}/b")
        port = int(server.url.rpartition(":")[2])
        console.say(
            f"browsers refuse port {port}: for the page to try it take another, --port 8080"
            if port in BLOCKED_PORTS
            else f"a page to try it: {server.url}/"
        )
        server.run_until_signal()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument("--host", default=LOCALHOST, help="address to listen on")
    parser.add_argument("--port", type=int, default=6000, metavar="N", help="0 takes a free one")
    console.add_runtime(parser, RUNTIME_NAMES)
    parser.add_argument("--no-save", action="store_true", help="keep no images")
    parser.add_argument(
        "--model",
        type=named_config,
        action="append",
        default=[],
        metavar="NAME=CONFIG",
        help="serve a further model at /b/NAME; repeatable",
    )
    parser.add_argument(
        "--api-key-file",
        type=resolve_input_path,
        metavar="FILE",
        help="ask callers for one of the keys in it, one a line",
    )
    parser.add_argument(
        "--cors-origin",
        default="*",
        metavar="ORIGIN",
        help="pages that may ask from another origin (default: all; '': none)",
    )
    parser.add_argument(
        "--compat",
        action="store_true",
        help="answer clients of 2captcha (in.php) and anti-captcha (createTask) too",
    )
    return parser


def named_config(text: str) -> tuple[str, str]:
    """Read an option such as shop=conf/shop.json; argparse shows the error."""
    name, _, path = text.partition("=")
    if not name or not path:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=CONFIG, such as shop=conf/shop.json"
        )
    return name, path


if __name__ == "__main__":
    sys.exit(main())
