"""Draw the picture of the API's page, with answers of the ready model.

    python3 readme_image/draw_page.py

Needs Chromium and playwright. Writes readme_image/api_page.png.
"""

import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.lib.practice import drawn_files
from cnnlib import console
from cnnlib.config import load_sample_config
from cnnlib.files import replacing
from cnnlib.paths import PROJECT_ROOT
from cnnlib.recognizer import Recognizer
from cnnlib.serving.app import create_recognize_app
from cnnlib.serving.waitress_server import Server
from tests.serving.browser import use_page

PICTURE = PROJECT_ROOT / "readme_image" / "api_page.png"
IMAGES = 3


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    console.parser(__doc__).parse_args(argv)
    config = load_sample_config(PROJECT_ROOT / "conf" / "pretrained_config.json")
    labels, files = drawn_files(config, IMAGES)
    app = create_recognize_app({"default": Recognizer.from_config(config)})
    with closing(app.extensions["service"]):
        server = Server(app, port=8080)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            with replacing(PICTURE) as temporary:
                use_page(f"{server.url}/", list(zip(labels, files, strict=True)), temporary)
        finally:
            server.stop()
            thread.join()
    console.say(f"written: {PICTURE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
