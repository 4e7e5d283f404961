"""Serve a page to label images, at http://127.0.0.1:6200/

    python3 webserver_label_images.py [FOLDER ...] [--config conf/sample_config.json]
                                      [--host 127.0.0.1] [--port 6200]

Shows the images of the folders, by default unlabelled_image_dir, api_image_dir, online_image_dir
and local_image_dir, with what the model in model_save_dir reads: Enter accepts, typing corrects.
An image that is labelled moves to new_image_dir, named after its label; everything can be undone,
also after a restart. A button trains with what is new (label_loop.py), and another view tries the
model. It works without a model, too: train a first one with some 200 labels.
Listens on this machine alone. --host 0.0.0.0 lets others in, who need the token that is printed.
Stops on Ctrl-C and SIGTERM; a training that runs goes on.
"""

import secrets
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from cnnlib import console
from cnnlib.config import SAMPLE_CONFIG, SampleConfig, load_sample_config
from cnnlib.errors import ConfigError
from cnnlib.labelling.app import create_label_app
from cnnlib.labelling.desk import LabellingDesk
from cnnlib.labelling.round_files import RoundFiles
from cnnlib.paths import resolve_input_path
from cnnlib.serving.logs import log_to_stderr
from cnnlib.serving.waitress_server import LOCALHOST, Server


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument("folders", nargs="*", type=resolve_input_path, metavar="FOLDER")
    parser.add_argument("--host", default=LOCALHOST, help="address to listen on")
    parser.add_argument("--port", type=int, default=6200, metavar="N", help="0 takes a free one")
    args = parser.parse_args(argv)
    config = load_sample_config(args.config)
    check_folders(args.folders, config)
    folders = [folder.resolve() for folder in args.folders] or [
        folder.full
        for folder in (
            config.unlabelled_image_dir,
            config.api_image_dir,
            config.online_image_dir,
            config.local_image_dir,
        )
    ]
    log_to_stderr()
    is_local = args.host in (LOCALHOST, "localhost", "::1")
    token = "" if is_local else secrets.token_urlsafe(16)
    rounds = RoundFiles(config.labelling_dir.full)
    with (
        rounds.served(),
        closing(LabellingDesk(config, resolve_input_path(args.config), folders)) as desk,
    ):
        server = Server(create_label_app(desk, rounds, access_token=token), args.host, args.port)
        desk.start()
        console.say("images are taken from " + ", ".join(map(str, folders)))
        console.say(f"label them at {server.url}/" + (f"?token={token}" if token else ""))
        server.run_until_signal()
    return 0


def check_folders(folders: Sequence[Path], config: SampleConfig) -> None:
    """Raise ConfigError for what is not a folder of images without labels."""
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder} is not a folder: name a folder of images")
        for key in ("origin_image_dir", "new_image_dir", "train_image_dir", "test_image_dir"):
            if folder.resolve() == getattr(config, key).full.resolve():
                raise ConfigError(f"{folder} is {key}, whose images have labels: name another")


if __name__ == "__main__":
    sys.exit(main())
