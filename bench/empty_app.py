"""A Flask application that reads an upload and answers nothing of use: what bench_serving.py
compares the recognition API with.

    python3 bench/empty_app.py PORT
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from flask import Flask, request

from cnnlib.server import Server


def create_app() -> Flask:
    app = Flask(__name__)

    @app.post("/b")
    def read() -> dict[str, int]:
        return {"bytes": len(request.files["image_file"].read())}

    return app


if __name__ == "__main__":
    server = Server(create_app(), port=int(sys.argv[1]), threads=16)
    print("listening on", server.url, flush=True)
    server.run_until_signal()
