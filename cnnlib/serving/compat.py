"""The interfaces of recognition services that crawlers already speak, behind --compat.

in.php and res.php as of 2captcha, createTask and getTaskResult as of anti-captcha, for images with
text. An image is recognised when it is sent; its answer is kept in this process until it is asked.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from cnnlib.serving.bodies import read_body, read_json
from cnnlib.serving.error_codes import message_of
from cnnlib.serving.keys import is_known
from cnnlib.serving.models import Answer
from cnnlib.serving.received import FIELD, Fields, decoded, read_fields

COMPAT = "compat"  # the blueprint's name
KEEP_S, MAX_KEPT = 600.0, 100_000  # answers
MAX_ID = 1 << 31
FIELDS = ("file", "body", FIELD)  # of in.php
METHODS = ("post", "base64", "")
SHOWN = {"get": "OK|{}", "get2": "OK|{}|0"}
EMPTY, NO_ID = "ERROR_ZERO_CAPTCHA_FILESIZE", "ERROR_NO_SUCH_CAPCHA_ID"
TASK = "ImageToTextTask"
BALANCE = 1000.0  # nothing is paid here, and clients stop where nothing is left
COST = "0"
REPORTS = ("reportCorrect", "reportIncorrect", "reportIncorrectImageCaptcha")
CODES: dict[type[Exception], str] = {
    BadRequest: EMPTY,
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
    EMPTY: 3,
    "ERROR_TOO_BIG_CAPTCHA_FILESIZE": 4,
    "ERROR_CAPTCHA_UNSOLVABLE": 12,
    "ERROR_IMAGE_TYPE_NOT_SUPPORTED": 15,
    NO_ID: 16,
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
    for report in REPORTS:
        addresses.post(f"/{report}", endpoint=report)(service.report)
    return addresses


class _Service:
    def __init__(self, recognize: Recognize, keys: Sequence[str]) -> None:
        self._recognize, self._keys, self._answers = recognize, keys, _Answers()

    # --- 2captcha ---

    def post(self) -> Response:
        options = dict(request.args)

        def answer() -> str:
            fields = self._fields(options)
            if options.get("method", "post") not in METHODS:
                raise Refused("ERROR_BAD_PARAMETERS")  # another kind of captcha
            image = fields.find_images(FIELDS).images[0]
            if not image:
                raise Refused(EMPTY)
            return self._solved(image, options.get("numeric"), options.get("calc"))

        return _plain(answer, "OK|{}", options)

    def result(self) -> Response:
        options = dict(request.args)

        def answer() -> str:
            self._fields(options)
            action = options.get("action", "get")
            if action == "getbalance":
                return str(BALANCE)
            if action in ("reportgood", "reportbad"):
                return "OK_REPORT_RECORDED"
            if action == "get" and "ids" in options:
                return "|".join(map(self._text_or_code, str(options["ids"]).split(",")))
            if action in SHOWN:
                text = self._answers.get(options.get("id")).text
                return text if _is_json(options) else SHOWN[action].format(text)
            raise Refused("ERROR_BAD_PARAMETERS")

        return _plain(answer, "{}", options)

    def _fields(self, options: dict[str, Any]) -> Fields:
        """Take the request apart, add its fields to the options, and check the key."""
        fields = read_fields()
        options.update(fields.options)
        self._check_key(options.get("key"))
        return fields

    def _text_or_code(self, number: str) -> str:
        try:
            return self._answers.get(number).text
        except Refused as refused:
            return refused.code

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
                raise Refused(EMPTY, "'body' must be the image in base64")
            image = decoded(body.encode(errors="replace"))
            return {"taskId": int(self._solved(image, task.get("numeric"), task.get("math")))}

        return _object(answer)

    def task_result(self) -> dict[str, Any]:
        def answer() -> Mapping[str, Any]:
            kept = self._answers.get(self._asked().get("taskId"))
            return {
                "status": "ready",
                "solution": {"text": kept.text, "url": ""},
                "cost": COST,
                "ip": request.remote_addr or "",
                "createTime": kept.time_s,
                "endTime": kept.time_s,
                "solveCount": 1,
            }

        return _object(answer)

    def balance(self) -> dict[str, Any]:
        return _object(lambda: self._checked({"balance": BALANCE}))

    def report(self) -> dict[str, Any]:
        return _object(lambda: self._checked({"status": "success"}))

    def _checked(self, answer: dict[str, Any]) -> dict[str, Any]:
        self._asked()
        return answer

    def _asked(self) -> dict[str, Any]:
        asked = read_json(read_body())
        self._check_key(asked.get("clientKey"))
        return asked

    # --- both ---

    def _check_key(self, key: object) -> None:
        if self._keys and not is_known(str(key or ""), self._keys):
            raise Refused("ERROR_KEY_DOES_NOT_EXIST", "the key is missing or wrong")

    def _solved(self, image: bytes, numeric: object, calculate: object) -> str:
        """Recognise an image, and return the number under which its answer is kept."""
        answer = self._recognize(image, KINDS.get(str(numeric)))
        result, text = answer.result, answer.prediction.text
        if result is None and str(calculate).lower() in ("1", "true"):
            result = result_of(text)
        return self._answers.keep(text if result is None else str(result))


@dataclass(frozen=True)
class _Kept:
    text: str
    time_s: int  # since 1970


class _Answers:
    """Texts by their numbers, for KEEP_S; called from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def keep(self, text: str) -> str:
        now_s = int(time.time())
        with self._lock:
            while self._kept and (
                len(self._kept) >= MAX_KEPT
                or next(iter(self._kept.values())).time_s < now_s - KEEP_S
            ):
                self._kept.popitem(last=False)
            number = str(secrets.randbelow(MAX_ID))
            self._kept[number] = _Kept(text, now_s)
        return number

    def get(self, number: object) -> _Kept:
        """Return an answer; raises Refused where there is none of this number."""
        with self._lock:
            kept = self._kept.get(str(number))
        if kept is None:
            raise Refused(NO_ID, f"no answer is kept under {ascii(number)[:20]}")
        return kept


def _plain(answer: Callable[[], str], shown: str, options: Mapping[str, Any]) -> Response:
    """Answer in text, or in JSON where the request wants that."""
    try:
        text, status = answer(), 1
    except Exception as error:
        text, status = _code(error), 0
    if _is_json(options):
        return jsonify(status=status, request=text)
    return Response(shown.format(text) if status else text, mimetype="text/plain")


def _is_json(options: Mapping[str, Any]) -> bool:
    return str(options.get("json")) == "1"


def _object(answer: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    try:
        return {"errorId": 0, **answer()}
    except Exception as error:
        code = _code(error)
        number = NUMBERS.get(code, NUMBERS["ERROR_CAPTCHA_UNSOLVABLE"])
        return {"errorId": number, "errorCode": code, "errorDescription": message_of(error)}


def _code(error: Exception) -> str:
    """Return the code of an error; raises it where it is a fault."""
    if isinstance(error, Refused):
        return error.code
    for kind, code in CODES.items():
        if isinstance(error, kind):
            return code
    raise error
