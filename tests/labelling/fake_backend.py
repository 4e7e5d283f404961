"""A stand-in for the server of the labelling page: its interface, with images and labels in memory.

Tests read `posts` and `labels`, and put what shall go wrong into `refusals`.
"""

from __future__ import annotations

import base64
import functools
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import flask
from PIL import Image, ImageDraw, ImageFont
from werkzeug.serving import make_server

from cnnlib.paths import PROJECT_ROOT

PAGE = PROJECT_ROOT / "cnnlib" / "labelling"
TOKEN = "the token"
POLICY = "default-src 'self'; img-src 'self' data: blob:"
WORDS = ("ab3d", "7kmp", "q2wx", "9fhj", "tr5c", "u8vn", "e4ys", "g6db")
ACTIONS = ("label", "skip", "unreadable", "accept")  # what an undo takes back
COUNTED = (*ACTIONS, "undo", "relabel", "characters/accept")


@functools.cache
def drawn(text: str, width: int = 100, height: int = 60) -> bytes:
    """Draw a PNG with a text and a line through it."""
    image = Image.new("RGB", (width, height), "#eef3ea")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=height * 0.55)
    for k, character in enumerate(text):
        place = (width * (k + 0.2) / max(len(text), 1), height * (0.12 + 0.12 * (k % 2)))
        draw.text(place, character, "#35506e", font)
    draw.line((0, height * 0.7, width, height * 0.4), "#7a9bb0", 2)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


class FakeBackend:
    """Thirty images; the model reads each third character of each second image with doubt."""

    def __init__(self, images: int = 30, **state: Any) -> None:
        self.words = {k: WORDS[k % len(WORDS)] for k in range(1, images + 1)}
        self.labels: dict[int, str] = {}
        self.leased: set[int] = set()
        self.steps: list[dict[int, str | None]] = []
        self.posts: list[tuple[str, Any]] = []
        self.refusals: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self.earlier: dict[int, str] = {}  # labels of a first reading
        self.reads = "ab3d"  # what the model reads in fetched and uploaded images
        self.round: dict[str, Any] = {"running": False, "step": 0}
        self.rounds: list[dict[str, Any]] = []
        self.polls = 0
        self.state = {
            "name": "shop",
            "char_set": list("0123456789abcdefghijklmnopqrstuvwxyz"),
            "min_captcha": 4,
            "max_captcha": 4,
            "ignore_case": False,
            "width": 100,
            "height": 60,
            "model": {"step": 3000, "image_accuracy": 0.98, "images": 200},
            "images_per_hour": 1200,
            "agreement": {"same": 45, "of": 50, "low": 0.78, "high": 0.97},
            "second_readings": {"different": 1, "of": 20, "low": 0.0, "high": 0.2},
            "reading": {"done": images, "of": images},
            "practice": True,
            "remote": True,
            **state,
        }

    def item(self, k: int) -> dict[str, Any]:
        word = self.words[k]
        sure = [0.99] * len(word)
        if k % 2 and len(word) > 2:
            sure[2] = 0.4
        return {
            "id": k,
            "width": 100,
            "height": 60,
            "text": word,
            "confidence": min(sure),
            "char_confidences": sure,
        }

    def waiting(self) -> list[int]:
        return [k for k in self.words if k not in self.labels]

    def lease(self, count: int, held: list[int]) -> list[dict[str, Any]]:
        ids = [k for k in self.waiting() if k not in held][:count]
        return [self.item(k) for k in ids]

    def explained(self) -> dict[str, Any]:
        picture = base64.b64encode(drawn(self.reads)).decode()
        grid = [
            [[float(abs(x - 1 - 2 * k) < 2) / (1 + abs(y - 2)) for x in range(9)] for y in range(5)]
            for k in range(len(self.reads))
        ]
        sure = [0.97, 0.99, 0.62, 0.95]
        return {
            "text": self.reads, "confidence": 0.57, "image": f"data:image/png;base64,{picture}",
            "width": 100, "height": 60,
            "characters": [
                {"character": c, "confidence": sure[k % 4], "attention": grid[k],
                 "runners_up": [["8", 0.02], ["o", 0.01]]}
                for k, c in enumerate(self.reads)
            ],
        }  # fmt: skip

    def training(self) -> dict[str, Any]:
        """Answer /api/train; a running round is over after three looks."""
        self.polls += 1
        if self.round["running"]:
            self.round["step"] += 400
            if self.round["step"] > 1000:
                self.round = {"running": False, "step": 1000}
        step = {"step": self.round["step"], "steps": 1000, "phase": "train", "seconds": 75}
        return {
            "running": self.round["running"],
            "paused": bool(self.round.get("paused")),
            "round": step if self.round["running"] else None,
            "lines": ["step 400: loss 0.31", "step 500: loss 0.22"],
            "new_labels": 130,
            "rounds": self.rounds,
            "error": "",
        }

    def curve(self) -> flask.Response:
        if not self.round["running"]:
            flask.abort(404)
        return flask.Response(drawn("curve", 320, 240), mimetype="image/png")

    def counts(self) -> dict[str, int]:
        others = {"unreadable": 0, "unusable": 0, "duplicate": 0}
        return {"waiting": len(self.waiting()), "labelled": len(self.labels), **others}

    def described(self) -> dict[str, Any]:
        return {**self.state, "counts": self.counts(), "can_undo": bool(self.steps)}

    def answer(self, name: str, body: Any) -> dict[str, Any] | tuple[dict[str, Any], int]:
        """Answer a POST, or refuse it as a test wants it."""
        self.posts.append((name, body))
        if self.refusals.get(name):
            status, refusal = self.refusals[name].pop(0)
            return refusal, status
        answer = self.post(name, body)
        if name in COUNTED and isinstance(answer, dict):
            answer["counts"] = self.counts()
        return answer

    def post(self, name: str, body: Any) -> dict[str, Any] | tuple[dict[str, Any], int]:
        if name in ACTIONS:
            return self.act(name, body)
        if name in ("next", "many"):
            return {"items": self.lease(body["count"], body.get("held", []))}
        if name in ("train", "train/stop"):
            self.round = {"running": name == "train", "step": 0, "paused": name != "train"}
        if name == "fetch":
            return {**self.explained(), "answer": "ab3d" if body["from"] == "practice" else None}
        answers: dict[str, Callable[[], Any]] = {
            "undo": self.undo,
            "characters": lambda: self.characters(body["character"]),
            "characters/accept": lambda: {
                "confirmed": len(body["right"]),
                "labelled": 3,
                "step": None,
            },
            "try": self.explained,
        }
        return answers.get(name, dict)()

    def undo(self) -> dict[str, Any] | tuple[dict[str, Any], int]:
        if not self.steps:
            return {"error": "nothing", "message": "nothing to undo"}, 404
        step = self.steps.pop()
        for k in step:
            self.labels.pop(k, None)
        labels = {str(k): label for k, label in step.items() if label}
        return {"items": [self.item(k) for k in step], "labels": labels, "left": True}

    def act(self, name: str, body: Any) -> dict[str, Any] | tuple[dict[str, Any], int]:
        if name == "accept":
            step = {item["id"]: item["text"] for item in body["items"]}
        else:
            step = {body["id"]: body.get("text")}
        new = sorted(
            {c for text in step.values() for c in text or ""} - set(self.state["char_set"])
        )
        if new and not body.get("accept_new"):
            return {"error": "new_characters", "characters": new, "message": "new characters"}, 422
        self.state["char_set"] += new
        self.steps.append(step)
        self.labels |= {k: text or name for k, text in step.items() if name != "skip"}
        if name == "accept":
            return {"step": len(self.steps), "accepted": len(step), "refused": []}
        earlier = self.earlier.get(body["id"])
        second = {"earlier": earlier} if earlier not in (None, body.get("text")) else None
        return {"step": len(self.steps), "second": second}

    def characters(self, wanted: str | None) -> dict[str, Any]:
        found = [(c, k, p) for k in self.waiting() for p, c in enumerate(self.words[k])]
        classes = sorted({c for c, _, _ in found})
        character = wanted if wanted in classes else classes[0]
        return {
            "classes": [
                {"character": c, "left": sum(1 for f in found if f[0] == c)} for c in classes
            ],
            "character": character,
            "items": [
                {"id": k, "position": p, "text": self.words[k], "confidence": 0.98}
                for c, k, p in found
                if c == character
            ],
        }

    @contextmanager
    def served(self, port: int = 0) -> Iterator[str]:
        """Yield the address of a server that ends with the block."""
        server = make_server("127.0.0.1", port, self.app(), threaded=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def app(self) -> flask.Flask:
        app = flask.Flask(
            __name__, template_folder=str(PAGE / "templates"), static_folder=str(PAGE / "static")
        )

        @app.after_request
        def add_policy(response: flask.Response) -> flask.Response:
            response.headers["Content-Security-Policy"] = POLICY
            return response

        @app.get("/")
        def page() -> str:
            return flask.render_template("label.html", token=TOKEN)

        @app.get("/api/state")
        def state() -> dict[str, Any]:
            return self.described()

        @app.get("/api/train")
        def train() -> dict[str, Any]:
            return self.training()

        app.add_url_rule("/api/curve.png", view_func=self.curve)

        @app.get("/api/image/<int:k>")
        def image(k: int) -> flask.Response:
            return flask.Response(drawn(self.words[k]), mimetype="image/png")

        @app.get("/api/character/<int:k>/<int:position>")
        def character(k: int, position: int) -> flask.Response:
            word = self.words[k]
            return flask.Response(drawn(word[position], 40), mimetype="image/png")

        @app.post("/api/<path:name>")
        def post(name: str) -> Any:
            if flask.request.headers.get("X-Label-Token") != TOKEN:
                return {"error": "token", "message": "reload the page"}, 403
            body = flask.request.get_json() if flask.request.is_json else flask.request.get_data()
            return self.answer(name, body)

        return app
