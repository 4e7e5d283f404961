"""The labelling page over HTTP: who may ask, and what each address does.

Images are named by numbers of the store, never by paths: no request reaches a file outside the
folders that were given.
"""

from __future__ import annotations

import base64
import hmac
import io
import logging
import mimetypes
import re
import secrets
import sqlite3
import urllib.parse
from collections.abc import Mapping
from typing import Any

import numpy as np
from flask import Blueprint, Flask, Response, current_app, jsonify, render_template, request
from PIL import Image
from werkzeug.exceptions import Forbidden, HTTPException, NotFound

from cnnlib.client.api_client import Client
from cnnlib.dataset.images import open_image
from cnnlib.errors import CaptchaError, SampleError, ServiceError
from cnnlib.labelling import progress
from cnnlib.labelling.desk import LabelError, LabellingDesk
from cnnlib.labelling.request_body import MOST_INT, RequestBody
from cnnlib.labelling.round_files import RoundFiles, count_labels
from cnnlib.networks.model_folder import CURVES_FILE
from cnnlib.serving.limits import MAX_REQUEST_BYTES

log = logging.getLogger(__name__)

TOKEN_HEADER = "X-Label-Token"
LOCAL_NAMES = ("127.0.0.1", "localhost", "::1", "[::1]")
CHARACTER_HEIGHT = 60  # pixels of a cut-out
DISK_FAULTS = re.compile("full|readonly|disk I/O")
PRACTICE_URL = "http://127.0.0.1:6100/captcha/"  # webserver_captcha_image.py
STATUSES = {
    "taken": 409,
    "gone": 409,
    "duplicate": 409,
    "nothing": 404,
    "unknown": 404,
    "running": 409,
    "no_model": 409,
    "malformed": 400,
}
POLICY = "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'"

api = Blueprint("labelling", __name__)


def create_label_app(
    desk: LabellingDesk,
    rounds: RoundFiles,
    *,
    access_token: str = "",
    practice_url: str = PRACTICE_URL,
) -> Flask:
    """Make the application. With an `access_token` every request needs it, once in the address.

    Without one only requests to this machine's own names are answered: another site's name that
    leads here (DNS rebinding) is not.
    """
    # Windows takes types from its registry, which may be wrong, and a module of another type is
    # not run: see nosniff in _harden.
    mimetypes.add_type("text/javascript", ".js")
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_REQUEST_BYTES
    app.json.ensure_ascii = False  # type: ignore[attr-defined]  # of Flask's default provider
    app.extensions.update(
        desk=desk,
        rounds=rounds,
        access_token=access_token,
        page_token=desk.store.fact("page_token", secrets.token_urlsafe(24)),
        practice_url=practice_url,
    )
    app.before_request(_check_access)
    app.after_request(_harden)
    app.register_error_handler(Exception, _error_response)
    app.register_blueprint(api)
    return app


# --- who may ask ---


def _check_access() -> Response | None:
    """Refuse strangers, other sites, and requests that a page of ours did not send."""
    token = current_app.extensions["access_token"]
    if token:
        given = request.args.get("token") or request.cookies.get(_token_cookie(), "")
        if not hmac.compare_digest(given.encode(), token.encode()):
            raise Forbidden("open the address that the server printed, with its token")
    elif (request.host.rpartition(":")[0] or request.host) not in LOCAL_NAMES and (
        request.host not in LOCAL_NAMES
    ):
        raise Forbidden("this server answers to 127.0.0.1 and localhost alone")
    is_cross_site = request.headers.get("Sec-Fetch-Site", "same-origin") == "cross-site"
    if is_cross_site and not _opens_page():
        raise Forbidden("the request comes from another site")
    if request.method == "POST":
        page_token = current_app.extensions["page_token"]
        given = request.headers.get(TOKEN_HEADER, "")
        origin = urllib.parse.urlsplit(request.headers.get("Origin", request.host_url)).netloc
        if not hmac.compare_digest(given.encode(), page_token.encode()) or origin != request.host:
            raise Forbidden("the request does not come from this page: load it again")
    return None


def _opens_page() -> bool:
    """Return whether the request is that of a link to the page, as on another site; no frame."""
    return request.path == "/" and request.headers.get("Sec-Fetch-Dest") == "document"


def _token_cookie() -> str:
    """Return the cookie's name: all ports of a machine share theirs."""
    return f"label_token_{request.host.rpartition(':')[2]}"


def _harden(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    return response


def _error_response(error: Exception) -> tuple[Response, int]:
    """Answer any exception with a status, a code and a sentence."""
    details: dict[str, Any] = {}
    if isinstance(error, LabelError):
        code, message, status = error.code, str(error), STATUSES.get(error.code, 422)
        details = error.details
    elif isinstance(error, HTTPException):
        status = error.code or 500
        code, message = (error.name or "error").lower().replace(" ", "_"), error.description or ""
    elif isinstance(error, CaptchaError):
        code, message, status = "failed", str(error), 422
    elif isinstance(error, sqlite3.OperationalError) and DISK_FAULTS.search(str(error)):
        log.error("%s", error)
        message = f"the labels cannot be written down: {error}. Free some space, or make the folder"
        code, message, status = "failed", f"{message} writable, and try again", 507
    else:
        fault = secrets.token_hex(8)
        log.error("fault %s", fault, exc_info=error)
        code, message, status = "fault", f"fault {fault}: the server's log says more", 500
    return jsonify({"error": code, "message": message, **details}), status


# --- what is asked ---


def _desk() -> LabellingDesk:
    desk: LabellingDesk = current_app.extensions["desk"]
    return desk


def _rounds() -> RoundFiles:
    rounds: RoundFiles = current_app.extensions["rounds"]
    return rounds


@api.get("/")
def page() -> Response:
    token = current_app.extensions["access_token"]
    text = render_template("label.html", token=current_app.extensions["page_token"])
    response = Response(text, mimetype="text/html")
    response.headers["Cache-Control"] = "no-store"
    if token:
        response.set_cookie(_token_cookie(), token, httponly=True, samesite="Strict")
    return response


@api.get("/api/state")
def state() -> Response:
    desk = _desk()
    shown = progress.describe(desk)
    return jsonify({**shown, "practice": True, "remote": bool(desk.config.remote_url)})


@api.post("/api/next")
def next_images() -> Response:
    body = RequestBody()
    count = body.optional("count", int, 10)
    return jsonify(items=_desk().next_images(body.labeller(), count, body.numbers("held")))


@api.get(f"/api/image/<int(max={MOST_INT}):image>")
def image(image: int) -> Response:
    return _png(_desk().picture(image))


@api.get(f"/api/character/<int(max={MOST_INT}):image>/<int:position>")
def character(image: int, position: int) -> Response:
    cut = _desk().character(image, position)
    width = max(1, round(cut.width * CHARACTER_HEIGHT / cut.height))
    return _png(cut.resize((width, CHARACTER_HEIGHT), Image.Resampling.BICUBIC))


def _png(picture: Image.Image) -> Response:
    """Answer a picture; at the same address other projects have other ones, and so do weights."""
    headers = {"Cache-Control": "no-store"}
    return Response(_encoded(picture), mimetype="image/png", headers=headers)


def _encoded(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()


@api.post("/api/label")
def label() -> Response:
    body = RequestBody()
    done = _desk().label(
        body.labeller(),
        body.number("id"),
        body.text("text"),
        keys=body.optional("keys", int, None),
        accept_new=body.optional("accept_new", bool, False),
    )
    return _counted({"second": None, **done})


def _counted(done: Mapping[str, Any]) -> Response:
    """Answer with what a step did, and how many images there are of each kind after it."""
    return jsonify({**done, "counts": _desk().store.counts()})


@api.post("/api/relabel")
def relabel() -> Response:
    body = RequestBody()
    return _counted(_desk().relabel(body.labeller(), body.number("id"), body.text("text")))


@api.post("/api/skip")
def skip() -> Response:
    body = RequestBody()
    _desk().skip(body.labeller(), body.number("id"))
    return _counted({})


@api.post("/api/unreadable")
def unreadable() -> Response:
    body = RequestBody()
    done = _desk().mark_unreadable(body.labeller(), body.number("id"))
    return _counted({"second": None, **done})


@api.post("/api/undo")
def undo() -> Response:
    body = RequestBody()
    return _counted(_desk().undo(body.labeller(), lease=body.optional("lease", bool, True)))


@api.post("/api/many")
def many() -> Response:
    body = RequestBody()
    count = body.optional("count", int, 60)
    return jsonify(items=_desk().confident_images(body.labeller(), count))


@api.post("/api/accept")
def accept() -> Response:
    body = RequestBody()
    return _counted(
        _desk().accept(body.labeller(), body.texts_by_image("items"), body.numbers("release"))
    )


@api.post("/api/characters")
def characters() -> Response:
    desk, body = _desk(), RequestBody()
    labeller, asked = body.labeller(), body.optional("character", str, "")
    left, chosen, items = desk.characters(labeller, asked)
    return jsonify(
        classes=[{"character": c, "left": n} for c, n in left.items()],
        character=chosen,
        items=items,
    )


@api.post("/api/characters/accept")
def accept_characters() -> Response:
    body = RequestBody()
    return _counted(
        _desk().accept_characters(
            body.labeller(), body.text("character"), body.pairs("right"), body.pairs("wrong")
        )
    )


# --- training ---


@api.get("/api/train")
def training() -> Response:
    return jsonify({**_rounds().describe(), "new_labels": count_labels(_desk().config)[1]})


@api.get("/api/curve.png")
def curve() -> Response:
    try:
        picture = (_rounds().candidate / CURVES_FILE).read_bytes()
    except OSError as error:
        raise NotFound("no training has drawn a curve yet") from error
    return Response(picture, mimetype="image/png", headers={"Cache-Control": "no-store"})


@api.post("/api/train")
def train() -> Response:
    rounds, desk = _rounds(), _desk()
    if rounds.is_running():
        raise LabelError("running", "a round is running already")
    try:
        rounds.require_new_labels(desk.config)
    except SampleError as error:
        raise LabelError("too_few", str(error)) from error
    rounds.start(desk.config_file)
    return jsonify({})


@api.post("/api/train/stop")
def stop() -> Response:
    _rounds().stop()
    return jsonify({})


# --- try it ---


@api.post("/api/try")
def try_image() -> Response:
    return jsonify(_explained(request.get_data()))


@api.post("/api/fetch")
def fetch() -> Response | tuple[Response, int]:
    is_practice = RequestBody().text("from") == "practice"
    url = current_app.extensions["practice_url"] if is_practice else _desk().config.remote_url
    remedy = "start python3 webserver_captcha_image.py --show-answers"
    if not is_practice:
        remedy = "correct remote_url in the configuration"
    try:
        with Client(url, retries=0) as client:
            captcha = client.fetch(remedy)
    except ServiceError as error:
        return jsonify({"error": "unreachable", "message": str(error)}), 502
    return jsonify({**_explained(captcha.image), "answer": captcha.text or None})


def _explained(data: bytes) -> dict[str, Any]:
    """Return what the model reads of an image file, and why (JSON values)."""
    reader = _desk().reader
    picture = open_image(data)  # raises SampleError
    with reader.lock:
        if reader.recognizer is None:
            raise LabelError("no_model", reader.problem or "there is no model yet: train one first")
        explanation = reader.recognizer.explain(picture)
    prediction = explanation.prediction
    return {
        "text": prediction.text,
        "confidence": prediction.confidence,
        "width": picture.width,
        "height": picture.height,
        "image": "data:image/png;base64," + base64.b64encode(_encoded(picture)).decode(),
        "characters": [
            {
                "character": c.character,
                "confidence": c.confidence,
                "runners_up": [list(pair) for pair in c.runners_up],
                "attention": np.round(c.attention / c.attention.max(), 3).tolist(),
            }
            for c in explanation.characters
        ],
    }
