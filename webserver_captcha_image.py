"""Serve practice captchas: each GET of http://127.0.0.1:6100/captcha/ answers a fresh one.

    python3 webserver_captcha_image.py [--config conf/captcha_config.json] [--host 127.0.0.1]
                                       [--port 6100] [--show-answers]

Reads the config: size, length, characters, fonts, style. Writes nothing. --show-answers adds the
text to each answer, percent-encoded, as header X-Captcha-Text, so that clients can count right
answers.
Stops on Ctrl-C and SIGTERM.
"""

import sys
from collections.abc import Sequence

from cnnlib import console
from cnnlib.config import CAPTCHA_CONFIG, load_captcha_config
from cnnlib.serving.app import create_captcha_app
from cnnlib.serving.waitress_server import LOCALHOST, Server


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, CAPTCHA_CONFIG)
    parser.add_argument("--host", default=LOCALHOST, help="address to listen on")
    parser.add_argument("--port", type=int, default=6100, metavar="N", help="0 takes a free one")
    parser.add_argument("--show-answers", action="store_true", help="add header X-Captcha-Text")
    args = parser.parse_args(argv)
    from gen_image.generator import CaptchaGenerator  # its libraries are not in every installation

    generator = CaptchaGenerator(load_captcha_config(args.config))
    app = create_captcha_app(generator, show_answers=args.show_answers)
    server = Server(app, args.host, args.port)
    console.say(f"listening on {server.url}/captcha/")
    server.run_until_signal()
    return 0


if __name__ == "__main__":
    sys.exit(main())
