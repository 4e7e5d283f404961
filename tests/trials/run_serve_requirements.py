"""Serve with requirements-serve.txt alone: a fresh environment, the API, and a captcha.

    python3 tests/trials/run_serve_requirements.py [--python PROGRAM]

Makes a virtual environment in a temporary folder, installs requirements-serve.txt into it, and
starts the API with the shipped model. Prints how large the environment is, how long the API takes
until its first answer, its memory, and the answer to a drawn captcha, which must be the one that
TensorFlow gives. Takes half a minute; exit code 1 if anything fails.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.lib.load import form, post
from bench.lib.machine import anonymous_mb
from bench.lib.practice import drawn_files
from cnnlib.config import load_sample_config
from cnnlib.dataset.images import open_image
from cnnlib.paths import PROJECT_ROOT
from cnnlib.recognizer import Recognizer

CONFIG = "conf/pretrained_config.json"


def serve(python: Path, image: bytes) -> str:
    """Start the API, ask it about an image, and return the text."""
    command = [
        str(python),
        "webserver_recognize_api.py",
        "--config",
        CONFIG,
        "--port",
        "0",
        "--no-save",
    ]
    began_s = time.perf_counter()
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True) as api:
        try:
            assert api.stdout, "it is a pipe"
            url = api.stdout.readline().split()[-1]
            answer = json.loads(post(url, form(image)))
            print(f"first answer after {time.perf_counter() - began_s:.2f} s")
            print(f"memory of its own: {anonymous_mb(api.pid):.0f} MB")
            return str(answer["value"])
        finally:
            api.terminate()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", default=sys.executable, metavar="PROGRAM")
    args = parser.parse_args()
    config = load_sample_config(CONFIG)
    [_], [image] = drawn_files(config, 1)
    with Recognizer.from_config(config) as recognizer:
        expected = recognizer.rec_image(open_image(image))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([args.python, "-m", "venv", folder], check=True)
        python = Path(folder, "bin", "python")
        requirements = PROJECT_ROOT / "requirements-serve.txt"
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", requirements], check=True)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        print(f"the environment has {size / 1e6:.0f} MB, with pip")
        text = serve(python, image)
    print(f"reads {text}; TensorFlow reads {expected}")
    return int(text != expected)


if __name__ == "__main__":
    sys.exit(main())
