"""Clients that people have of other services work here after changing the host."""

from __future__ import annotations

import base64
import io

import pytest
import requests
from twocaptcha import TwoCaptcha
from twocaptcha.exceptions.api import ApiException

from cnnlib.serving import compat
from tests.serving.helpers import FakePrediction, Named, png

TEXT = base64.b64encode(png()).decode()


class Sum(Named):
    def read(self, probabilities, among=None):
        return FakePrediction("3+5=?")


@pytest.fixture
def client(make_app):
    return make_app(Named("ab01"), compat=True, max_request_bytes=20_000).test_client()


@pytest.fixture
def official(serve, monkeypatch):
    """Return make(app, key) -> the official client; it knows https alone, which a proxy adds."""
    for name in ("get", "post"):
        ask = getattr(requests, name)
        monkeypatch.setattr(
            f"twocaptcha.api.requests.{name}",
            lambda url, ask=ask, **arguments: ask(url.replace("https:", "http:"), **arguments),
        )

    def make(app, key="k"):
        host = serve(app).removeprefix("http://")
        return TwoCaptcha(key, server=host, pollingInterval=1)

    return make


def test_official_client(official, make_app, tmp_path):
    solver = official(make_app(Named("ab01"), compat=True))
    (tmp_path / "x.png").write_bytes(png())
    for file in (str(tmp_path / "x.png"), TEXT):
        solved = solver.normal(file)
        assert solved["code"] == "ab01"
        solver.report(solved["captchaId"], True)
    assert solver.balance() > 0
    assert solver.normal(TEXT, numeric=1)["code"] == "01"
    (tmp_path / "x.png").write_bytes(b"text")
    with pytest.raises(ApiException, match="ERROR_IMAGE_TYPE_NOT_SUPPORTED"):
        solver.normal(str(tmp_path / "x.png"))


def test_official_client_needs_one_of_the_keys(official, make_app):
    app = make_app(Named("ab01"), compat=True, api_keys=("right",))
    assert official(app, "right").normal(TEXT)["code"] == "ab01"
    with pytest.raises(ApiException, match="ERROR_KEY_DOES_NOT_EXIST"):
        official(app, "wrong").normal(TEXT)


def test_images_go_to_the_model_of_their_size(make_app):
    client = make_app(Named("ab"), Named("01", width=50), compat=True).test_client()
    for width, text in ((40, "ab"), (50, "01")):
        image = {"file": (io.BytesIO(png(width)), "x.png"), "key": "k"}
        told = client.post("/in.php", data=image).get_data(as_text=True)
        assert client.get(f"/res.php?id={told[3:]}").get_data(as_text=True) == f"OK|{text}"


def test_digits_are_those_of_the_model_that_is_asked(make_app):
    letters, digits = Named("ab"), Named("01", width=50)
    letters.char_set, digits.char_set = "ab", "012"
    client = make_app(letters, digits, compat=True).test_client()
    for width, text in ((40, "ab"), (50, "012")):
        image = {"file": (io.BytesIO(png(width)), "x.png"), "key": "k", "numeric": "1"}
        told = client.post("/in.php", data=image).get_data(as_text=True)
        assert client.get(f"/res.php?id={told[3:]}").get_data(as_text=True) == f"OK|{text}"


def test_in_and_res_in_json(client):
    told = client.post("/in.php", data={"method": "base64", "body": TEXT, "json": 1}).get_json()
    assert told["status"] == 1
    again = {"id": told["request"], "action": "get", "json": 1}
    assert client.get("/res.php", query_string=again).get_json() == {"status": 1, "request": "ab01"}
    many = {"action": "get", "ids": f"{told['request']},{told['request']}"}
    assert client.get("/res.php", query_string=many).get_data(as_text=True) == "ab01|ab01"
    many["ids"] = f"{told['request']},1"
    answer = client.get("/res.php", query_string=many).get_data(as_text=True)
    assert answer == "ab01|ERROR_NO_SUCH_CAPCHA_ID"
    for data in ({"json": 1}, {"json": 1, "body": ""}, {"json": 1, "method": "userrecaptcha"}):
        refused = client.post("/in.php", data=data).get_json()
        assert refused["status"] == 0 and refused["request"].startswith("ERROR_")
    assert client.get("/res.php?id=1").get_data(as_text=True) == "ERROR_NO_SUCH_CAPCHA_ID"


def test_an_image_as_the_body_is_not_read_as_a_form(client):
    body = {"data": png() + b"&" * 500, "content_type": "image/png"}
    told = client.post("/in.php?key=k", **body).get_data(as_text=True)
    assert client.get(f"/res.php?id={told[3:]}").get_data(as_text=True) == "OK|ab01"


def test_fields_of_any_content_type(client):
    told = client.post("/in.php", data={"body": TEXT}).get_data(as_text=True)
    for kind in ("application/x-www-form-urlencoded", "text/plain", None):
        answer = client.post("/res.php", data=f"id={told[3:]}", content_type=kind)
        assert answer.get_data(as_text=True) == "OK|ab01"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"method": "userrecaptcha"}, "ERROR_BAD_PARAMETERS"),
        ({"file": (io.BytesIO(b""), "x.png")}, "ERROR_ZERO_CAPTCHA_FILESIZE"),
        ({"body": ""}, "ERROR_ZERO_CAPTCHA_FILESIZE"),
        ({"file": (io.BytesIO(bytes(30_000)), "x.png")}, "ERROR_TOO_BIG_CAPTCHA_FILESIZE"),
        ({"file": (io.BytesIO(b"<html>"), "x.png")}, "ERROR_IMAGE_TYPE_NOT_SUPPORTED"),
    ],
)
def test_images_that_are_refused(client, data, code):
    answer = client.post("/in.php", data={"body": TEXT} | data if "method" in data else data)
    assert (answer.status_code, answer.get_data(as_text=True)) == (200, code)


@pytest.mark.parametrize("path", ["/createTask", "/getTaskResult", "/getBalance"])
@pytest.mark.parametrize("body", ["[" * 100_000, '{"clientKey": "\\ud800"}', "", "7"])
def test_json_that_is_not_a_task_is_no_fault(make_app, path, body):
    app = make_app(Named("a"), compat=True, api_keys=("k",))
    answer = app.test_client().post(path, data=body)
    assert answer.status_code == 200 and answer.get_json()["errorId"] > 0


def test_tasks(client):
    task = {"type": "ImageToTextTask", "body": TEXT, "numeric": 0}
    told = client.post("/createTask", json={"clientKey": "k", "task": task}).get_json()
    assert told["errorId"] == 0 and isinstance(told["taskId"], int)
    asked = {"clientKey": "k", "taskId": told["taskId"]}
    answer = client.post("/getTaskResult", json=asked).get_json()
    assert (answer["status"], answer["solution"]["text"]) == ("ready", "ab01")
    assert answer["endTime"] >= answer["createTime"] > 0 and answer["solveCount"] == 1
    assert client.post("/getBalance", json={"clientKey": "k"}).get_json()["balance"] > 0


@pytest.mark.parametrize(
    ("asked", "number"),
    [
        ({}, 22),
        ({"task": {"type": "RecaptchaV2Task"}}, 23),
        ({"task": {"type": "ImageToTextTask"}}, 3),
        ({"task": {"type": "ImageToTextTask", "body": "AAAA"}}, 15),
        ({"task": {"type": "ImageToTextTask", "body": base64.b64encode(png(41)).decode()}}, 12),
    ],
)
def test_tasks_that_are_refused(client, asked, number):
    answer = client.post("/createTask", json=asked)
    body = answer.get_json()
    assert (answer.status_code, body["errorId"]) == (200, number) and body["errorDescription"]


def test_sums_are_answered_with_their_result(make_app):
    task = {"type": "ImageToTextTask", "body": TEXT}
    for app, options, text in (
        (make_app(Sum("a"), compat=True), {}, "3+5=?"),
        (make_app(Sum("a"), compat=True), {"math": True}, "8"),
        (make_app(Sum("a"), compat=True, arithmetic=("a",)), {}, "8"),
    ):
        client = app.test_client()
        told = client.post("/createTask", json={"task": task | options}).get_json()
        answer = client.post("/getTaskResult", json={"taskId": told["taskId"]}).get_json()
        assert answer["solution"]["text"] == text


def test_only_where_it_is_asked_for(make_app):
    assert make_app(Named("ab01")).test_client().post("/in.php").status_code == 404


def test_answers_are_forgotten(client, monkeypatch):
    monkeypatch.setattr(compat, "MAX_KEPT", 1)
    first, second = (client.post("/in.php", data={"body": TEXT}).get_data(True)[3:] for _ in "ab")
    assert client.get(f"/res.php?id={first}").get_data(True) == "ERROR_NO_SUCH_CAPCHA_ID"
    assert client.get(f"/res.php?id={second}").get_data(True) == "OK|ab01"


def test_results_of_sums_in_the_answer(make_app):
    app = make_app(Sum("a"), Sum("b"), arithmetic=("a",))
    client = app.test_client()
    assert client.post("/b", json={"image": TEXT}).get_json()["result"] == 8
    assert "result" not in client.post("/b/b", json={"image": TEXT}).get_json()
    assert "result" not in client.post("/b?min_confidence=1", json={"image": TEXT}).get_json()
