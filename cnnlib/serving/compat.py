"""The interfaces of recognition services that crawlers already speak, behind --compat.

in.php and res.php as of 2captcha, createTask and getTaskResult as of anti-captcha, for images with
text. An image is recognised when it is sent; its answer is kept in this process until it is asked.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from cnnlib.arithmetic import result_of
from cnnlib.errors import (
    CharsetError,
    ImageFormatError,
    ImageSizeError,
    ImageTooLargeError,
    OverloadError,
)
from cnnlib.serving.models import Answer
from cnnlib.serving.received import decoded, receive

COMPAT = "compat"  # the blueprint's name
KEEP_S, MAX_KEPT = 600.0, 100_000  # answers
MAX_ID = 1 << 31
FIELDS = ("file", "body")  # of in.php
TASK = "ImageToTextTask"
BALANCE = 1000.0  # nothing is paid here, and clients stop where nothing is left
COST = "0"
CODES: dict[type[Exception], str] = {
    BadRequest: "ERROR_ZERO_CAPTCHA_FILESIZE",
    RequestEntityTooLarge: "ERROR_TOO_BIG_CAPTCHA_FILESIZE",
    ImageFormatError: "ERROR_IMAGE_TYPE_NOT_SUPPORTED",
    ImageTooLargeError: "ERROR_TOO_BIG_CAPTCHA_FILESIZE",
    ImageSizeError: "ERROR_CAPTCHA_UNSOLVABLE",
    CharsetError: "ERROR_CAPTCHA_UNSOLVABLE",
    OverloadError: "ERROR_NO_SLOT_AVAILABLE",
}
NUMBERS = {  # that anti-captcha's answers have for errors
    "ERROR_KEY_DOES_NOT_EXIST": 1,
    "ERROR_NO_SLOT_AVAILABLE": 2,
    "ERROR_ZERO_CAPTCHA_FILESIZE": 3,
    "ERROR_TOO_BIG_CAPTCHA_FILESIZE": 4,
    "ERROR_CAPTCHA_UNSOLVABLE": 12,
    "ERROR_IMAGE_TYPE_NOT_SUPPORTED": 15,
    "ERROR_NO_SUCH_CAPCHA_ID": 16,
    "ERROR_TASK_ABSENT": 22,
    "ERROR_TASK_NOT_SUPPORTED": 23,
}
KINDS: dict[str, Callable[[str], bool]] = {"1": str.isdigit, "2": str.isalpha}  # "numeric"

Recognize = Callable[[bytes, Callable[[str], bool] | None], Answer]


class Refused(Exception):
    """A request that is answered with a code of the interface, and why."""

    def __init__(self, code: str, why: str = "") -> None:
        super().__init__(why or code)
        self.code = code


def compatible(recognize: Recognize, keys: Sequence[str]) -> Blueprint:
    """Make the addresses; `recognize` reads an image, of characters for which a test holds."""
    service = _Service(recognize, keys)
    addresses = Blueprint(COMPAT, __name__)
    addresses.post("/in.php")(service.post)
    addresses.route("/res.php", methods=["GET", "POST"])(service.result)
    addresses.post("/createTask")(service.create_task)
    addresses.post("/getTaskResult")(service.task_result)
    addresses.post("/getBalance")(service.balance)
    for right in ("reportIncorrectImageCaptcha", "reportCorrectImageCaptcha"):
        addresses.post(f"/{right}", endpoint=right)(service.report)
    return addresses


class _Service:
    def __init__(self, recognize: Recognize, keys: Sequence[str]) -> None:
        self._recognize, self._keys, self._answers = recognize, keys, _Answers()

    # --- 2captcha ---

    def post(self) -> Response:
        def answer() -> str:
            received = receive(FIELDS)
            options = {**received.options, **request.args}
            self._check_key(options.get("key"))
            return self._solved(received.images[0], options.get("numeric"), options.get("calc"))

        return self._plain(answer, lambda task: f"OK|{task}")

    def result(self) -> Response:
        options = request.values
        action = options.get("action", "get")

        def answer() -> str:
            self._check_key(options.get("key"))
            if action == "getbalance":
                return str(BALANCE)
            if action in ("reportgood", "reportbad"):
                return "OK_REPORT_RECORDED"
            if action == "get" and "ids" in options:
                return "|".join(self._answers.get(task) for task in options["ids"].split(","))
            if action in ("get", "get2"):
                return self._answers.get(options.get("id"))
            raise Refused("ERROR_BAD_PARAMETERS")

        shown = {"get": "OK|{}" if "ids" not in options else "{}", "get2": "OK|{}|" + COST}
        return self._plain(answer, shown.get(action, "{}").format)

    def _plain(self, answer: Callable[[], str], shown: Callable[[str], str]) -> Response:
        """Answer in text, or in JSON where the request wants that."""
        try:
            text, status = answer(), 1
        except Exception as error:
            text, status = _code(error), 0
        if request.values.get("json") == "1":
            return jsonify(status=status, request=text)
        return Response(shown(text) if status else text, mimetype="text/plain")

    # --- anti-captcha ---

    def create_task(self) -> dict[str, Any]:
        def answer() -> Mapping[str, Any]:
            task = self._asked().get("task")
            if not isinstance(task, dict):
                raise Refused("ERROR_TASK_ABSENT", "the request has no task")
            if task.get("type") not in (TASK, f"{TASK}M1"):
                raise Refused("ERROR_TASK_NOT_SUPPORTED", f"only {TASK} is served here")
            body = task.get("body")
            if not isinstance(body, str) or not body:
                raise Refused(CODES[BadRequest], "'body' must be the image in base64")
            image = decoded(body.encode(errors="replace"))
            return {"taskId": int(self._solved(image, task.get("numeric"), task.get("math")))}

        return _object(answer)

    def task_result(self) -> dict[str, Any]:
        def answer() -> Mapping[str, Any]:
            text = self._answers.get(self._asked().get("taskId"))
            return {"status": "ready", "solution": {"text": text, "url": ""}, "cost": COST}

        return _object(answer)

    def balance(self) -> dict[str, Any]:
        return _object(lambda: self._checked({"balance": BALANCE}))

    def report(self) -> dict[str, Any]:
        return _object(lambda: self._checked({"status": "success"}))

    def _checked(self, answer: dict[str, Any]) -> dict[str, Any]:
        self._asked()
        return answer

    def _asked(self) -> dict[str, Any]:
        asked = request.get_json(force=True, silent=True)
        asked = asked if isinstance(asked, dict) else {}
        self._check_key(asked.get("clientKey"))
        return asked

    # --- both ---

    def _check_key(self, key: object) -> None:
        given = str(key or "").encode()
        if self._keys and not any([hmac.compare_digest(k.encode(), given) for k in self._keys]):
            raise Refused("ERROR_KEY_DOES_NOT_EXIST", "the key is missing or wrong")

    def _solved(self, image: bytes, numeric: object, calculate: object) -> str:
        """Recognise an image, and return the number under which its answer is kept."""
        answer = self._recognize(image, KINDS.get(str(numeric)))
        result, text = answer.result, answer.prediction.text
        if result is None and str(calculate).lower() in ("1", "true"):
            result = result_of(text)
        return self._answers.keep(text if result is None else str(result))


class _Answers:
    """Texts by their numbers, for KEEP_S; called from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def keep(self, text: str) -> str:
        now_s = time.monotonic()
        with self._lock:
            while self._kept and (
                len(self._kept) >= MAX_KEPT or next(iter(self._kept.values()))[1] < now_s - KEEP_S
            ):
                self._kept.popitem(last=False)
            number = str(secrets.randbelow(MAX_ID))
            self._kept[number] = text, now_s
        return number

    def get(self, number: object) -> str:
        """Return a text; raises Refused where there is none of this number."""
        with self._lock:
            kept = self._kept.get(str(number))
        if kept is None:
            raise Refused("ERROR_NO_SUCH_CAPCHA_ID", f"no answer is kept under {number!s:.20}")
        return kept[0]


def _object(answer: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    try:
        return {"errorId": 0, **answer()}
    except Exception as error:
        code = _code(error)
        number = NUMBERS.get(code, NUMBERS["ERROR_CAPTCHA_UNSOLVABLE"])
        return {"errorId": number, "errorCode": code, "errorDescription": str(error)}


def _code(error: Exception) -> str:
    """Return the code of an error; raises it where it is a fault."""
    if isinstance(error, Refused):
        return error.code
    for kind, code in CODES.items():
        if isinstance(error, kind):
            return code
    raise error
