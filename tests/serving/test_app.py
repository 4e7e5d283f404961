"""What the applications answer, whatever they are asked: addresses, errors, keys, log."""

from __future__ import annotations

import json
import random
import re
from types import SimpleNamespace
from urllib.parse import unquote

import pytest

from cnnlib.dataset.images import open_image
from cnnlib.errors import ConfigError
from cnnlib.serving import app as app_module
from cnnlib.serving.app import create_captcha_app, create_recognize_app
from cnnlib.serving.keys import read_api_keys
from cnnlib.serving.limits import MAX_REQUEST_BYTES
from tests.serving.helpers import Failing, Named, png, upload


def test_each_model_has_its_address_and_the_first_is_b(client):
    assert client.post("/b", **upload(png())).get_json()["value"] == "验a"
    assert client.post("/b/shop", **upload(png())).get_json()["value"] == "shop"
    assert client.post("/b/验a", **upload(png())).get_json()["value"] == "验a"


@pytest.mark.parametrize("names", [[], ["a b"], ["a/b"], [""], [".."]])
def test_names_that_cannot_be_served(names):
    with pytest.raises(ConfigError):
        create_recognize_app({name: Named(name) for name in names})


# --- errors ---


@pytest.mark.parametrize(
    ("path", "arguments", "status", "code"),
    [
        ("/b", {}, 400, "1001"),
        ("/b", {"data": b"raw"}, 400, "1001"),
        ("/b", {"data": {"image_file": "text, not a file"}}, 415, "1002"),
        (
            "/b",
            {"data": b"--x\r\nbroken", "content_type": "multipart/form-data; boundary=x"},
            400,
            "1001",
        ),
        ("/b", upload(b""), 415, "1002"),
        ("/b", upload(b"not an image"), 415, "1002"),
        ("/b", upload(png(kind="PPM")), 415, "1002"),
        ("/b", upload(png()[:-40]), 415, "1002"),
        ("/b", upload(png(41)), 422, "1003"),
        ("/b", upload(png(2001, 2000)), 413, "1004"),
        (
            "/b",
            {
                "data": b"0" * (MAX_REQUEST_BYTES + 1),
                "content_type": "multipart/form-data; boundary=x",
            },
            413,
            "1004",
        ),
        ("/b/nobody", upload(png()), 404, "1006"),
        ("/nowhere", upload(png()), 404, "1006"),
        ("/b/../../etc/passwd", upload(png()), 404, "1006"),
    ],
)
def test_every_error_is_json_with_status_and_code(client, path, arguments, status, code):
    answer = client.post(path, **arguments)
    assert answer.status_code == status
    assert answer.content_type == "application/json"
    body = answer.get_json()
    assert set(body) == {"error_code", "message"} and body["error_code"] == code
    assert body["message"]
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_wrong_method_names_the_right_one(client):
    answer = client.get("/b")
    assert (answer.status_code, answer.get_json()["error_code"]) == (405, "1008")
    assert "POST" in answer.headers["Allow"]


def test_fault_has_an_id_that_the_log_has_and_reveals_nothing_else(make_app, caplog):
    answer = make_app(Failing("a")).test_client().post("/b", **upload(png()))
    assert (answer.status_code, answer.get_json()["error_code"]) == (500, "1099")
    message = answer.get_json()["message"]
    assert "secret" not in message
    fault = re.search(r"fault ([0-9a-f]{16})", message)
    assert fault and f"fault {fault[1]}" in caplog.text and "a secret of the server" in caplog.text


# --- who may ask ---


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-API-Key": "second"}, 200),
        ({"Authorization": "Bearer first"}, 200),
        ({}, 401),
        ({"X-API-Key": "third"}, 401),
        ({"X-API-Key": "firs"}, 401),
        ({"Authorization": "Basic first"}, 401),
        ({"X-API-Key": "é"}, 401),
    ],
)
def test_api_keys(make_app, tmp_path, headers, status):
    file = tmp_path / "keys.txt"
    file.write_text("first\n\n second \n", encoding="utf-8")
    client = make_app(Named("a"), api_keys=read_api_keys(file)).test_client()
    answer = client.post("/b", headers=headers, **upload(png()))
    assert answer.status_code == status
    assert status == 200 or answer.get_json()["error_code"] == "1007"
    assert client.get("/models", headers=headers).status_code == status
    assert client.get("/health/ready").status_code == 200
    assert client.options("/b").status_code == 200


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe"])
def test_file_of_keys_without_a_key_is_reported(tmp_path, content):
    file = tmp_path / "keys.txt"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="keys.txt"):
        read_api_keys(file)


def test_pages_of_one_origin_may_ask(make_app):
    client = make_app(Named("a"), allow_origin="https://shop.example").test_client()
    answer = client.options("/b")
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert "X-API-Key" in answer.headers["Access-Control-Allow-Headers"]
    nobody = make_app(Named("a"), allow_origin="").test_client()
    assert "Access-Control-Allow-Origin" not in nobody.options("/b").headers


# --- the access log ---


def test_access_log_has_a_json_object_for_each_request(client, monkeypatch):
    entries = []
    monkeypatch.setattr(
        app_module.access_log, "info", lambda form, line: entries.append(json.loads(form % line))
    )
    client.post("/b", **upload(png()))
    client.post("/b", **upload(b"not an image"))
    client.post("/b/shop", **upload(png(), b"not an image"))
    assert [(e["model"], e.get("answer"), e["status"], e.get("error")) for e in entries] == [
        ("验a", "验a", 200, None),
        ("验a", None, 415, "1002"),
        ("shop", ["shop", None], 200, None),
    ]
    assert all(entry["ms"] >= 0 for entry in entries)


# --- practice captchas ---


class Blank:
    """Draws nothing of a text, and stores it in the file."""

    def __init__(self, texts, suffix="png"):
        self.texts, self.config = iter(texts), SimpleNamespace(image_suffix=suffix)

    def random_text(self, rng):
        assert isinstance(rng, random.SystemRandom)  # nobody can guess the next one
        return next(self.texts)

    def draw(self, text):
        return text

    def encode(self, text):
        return png() + text.encode()


@pytest.mark.parametrize(("suffix", "kind"), [("png", "image/png"), ("jpg", "image/jpeg")])
def test_captchas_are_fresh_and_of_their_type(suffix, kind):
    client = create_captcha_app(Blank("01", suffix)).test_client()
    answers = [client.get("/captcha/") for _ in range(2)]
    for answer in answers:
        assert answer.headers["Content-Type"] == kind
        assert answer.headers["Cache-Control"] == "no-store"
        assert open_image(answer.data).size == (40, 24)
        assert "X-Captcha-Text" not in answer.headers
    assert answers[0].data != answers[1].data


def test_texts_are_shown_when_asked_for_and_percent_encoded():
    client = create_captcha_app(Blank(["7g", "验?"]), show_answers=True).test_client()
    assert client.get("/captcha/").headers["X-Captcha-Text"] == "7g"
    header = client.get("/captcha/").headers["X-Captcha-Text"]
    assert header == "%E9%AA%8C%3F" and unquote(header) == "验?"
