"""A Flask application that reads an upload and recognises nothing.

bench_serving.py compares the recognition API with it: on waitress by `python3 -m
bench.lib.empty_app PORT`, on gunicorn as `bench.lib.empty_app:create_app()`; both from the
project's folder.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack

from flask import Flask, request

from cnnlib import console
from cnnlib.serving.waitress_server import Server

THREADS = 16


def create_app() -> Flask:
    app = Flask(__name__)
    app.extensions["service"] = ExitStack()  # deploy/gunicorn.conf.py closes it

    @app.post("/b")
    def read() -> dict[str, int]:
        return {"bytes": len(request.files["image_file"].read())}

    return app


if __name__ == "__main__":
    server = Server(create_app(), port=int(sys.argv[1]), threads=THREADS)
    console.say(f"listening on {server.url}/b")
    server.run_until_signal()
