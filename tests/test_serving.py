"""The HTTP side over real sockets and Flask's client, with recognisers that need no TensorFlow."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from urllib.parse import unquote

import numpy as np
import pytest
import requests
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnnlib import encoding, server, serving, wire
from cnnlib.config import PROJECT_ROOT
from cnnlib.encoding import InputFormat
from cnnlib.errors import CaptchaError, CharsetError, ConfigError
from gen_image.generator import CaptchaGenerator


@dataclass
class Answer:
    text: str
    confidence: float = 0.98765432
    char_confidences: tuple[float, ...] = (0.9912345678, 0.5)


class Named:
    """Answers its own name, or what stands in the charset; takes images of one size alone."""

    char_set = "ab01"

    def __init__(self, name, width=40, height=24):
        self.name, self.image_width, self.image_height = name, width, height

    def pixels_of(self, image):
        return InputFormat(self.image_width, self.image_height).pixels(image)

    def probabilities(self, pixels):
        return np.full((len(pixels), 2, 4), 0.25)

    def read(self, probabilities, among=None):
        if among and set(among) - set(self.char_set):
            raise CharsetError("the model does not know them")
        return Answer("".join(among) if among else self.name)

    def describe(self):
        return {"step": 7, "accuracy": 0.99}

    def renewed(self):
        return None


class Failing(Named):
    """Fails after the test that it is put to before it serves."""

    def probabilities(self, pixels):
        answer = super().probabilities(pixels)
        self.probabilities = self.fail
        return answer

    def fail(self, pixels):
        raise RuntimeError("a secret of the server")


class Slow(Named):
    """Answers when it is allowed to."""

    def __init__(self):
        super().__init__("slow")
        self.entered, self.allowed = threading.Semaphore(0), threading.Event()
        self.tested = False

    def probabilities(self, pixels):
        if self.tested:
            self.entered.release()
            assert self.allowed.wait(20)
        self.tested = True
        return super().probabilities(pixels)


def png(width=40, height=24, kind="PNG"):
    file = io.BytesIO()
    Image.new("L", (width, height), 200).save(file, kind)
    return file.getvalue()


def upload(data, name="x.png"):
    return {"data": {"image_file": (io.BytesIO(data), name)}}


def metrics_of(app):
    return app.test_client().get("/metrics").get_data(as_text=True)


@pytest.fixture
def client():
    return serving.create_recognize_app({"验a": Named("验a"), "shop": Named("p?7")}).test_client()


@pytest.fixture
def running():
    """Serve an application on a free port; give its address."""
    servers = []

    def run(app, **options):
        running = server.Server(app, **options)
        thread = threading.Thread(target=running.run)
        thread.start()
        servers.append((running, thread))
        return running.url

    yield run
    for running, thread in servers:
        running.stop()
        thread.join(20)
        assert not thread.is_alive()


def test_answer_has_the_keys_and_types_of_the_specification(client):
    answer = client.post("/b", **upload(png()))
    assert answer.status_code == 200
    body = answer.get_json()
    assert list(body) == ["time", "value", "speed_time(ms)", "confidence", "char_confidences"]
    assert re.fullmatch(r"\d{10}\.\d+", body["time"])
    assert abs(float(body["time"]) - time.time()) < 60
    assert (body["value"], body["confidence"]) == ("验a", 0.987654)
    assert body["char_confidences"] == [0.991235, 0.5]
    assert isinstance(body["speed_time(ms)"], int)
    assert "验a" in answer.get_data(as_text=True)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_each_model_has_its_address_and_the_first_is_b(client):
    assert client.post("/b/shop", **upload(png())).get_json()["value"] == "p?7"
    assert client.post("/b/验a", **upload(png())).get_json()["value"] == "验a"


@pytest.mark.parametrize(("path", "arguments", "status", "code"), [
    ("/b", {}, 400, "1001"),
    ("/b", {"data": b"raw"}, 400, "1001"),
    ("/b", {"data": {"image_file": "text, not a file"}}, 400, "1001"),
    ("/b", {"data": b"--x\r\nbroken", "content_type": "multipart/form-data; boundary=x"},
     400, "1001"),
    ("/b", upload(b""), 415, "1002"),
    ("/b", upload(b"no image"), 415, "1002"),
    ("/b", upload(png(kind="TIFF")), 415, "1002"),
    ("/b", upload(png()[:-40]), 415, "1002"),
    ("/b", upload(png(41)), 422, "1003"),
    ("/b", upload(png(2001, 2000)), 413, "1004"),
    ("/b", {"data": b"0" * (serving.MAX_BYTES + 1),
            "content_type": "multipart/form-data; boundary=x"}, 413, "1004"),
    ("/b/nobody", upload(png()), 404, "1006"),
    ("/nowhere", upload(png()), 404, "1006"),
    ("/b/../../etc/passwd", upload(png()), 404, "1006"),
])
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


def test_fault_tells_an_id_that_the_log_has_and_nothing_else(caplog):
    client = serving.create_recognize_app({"a": Failing("a")}).test_client()
    answer = client.post("/b", **upload(png()))
    assert (answer.status_code, answer.get_json()["error_code"]) == (500, "1099")
    message = answer.get_json()["message"]
    assert "secret" not in message
    fault = re.search(r"fault ([0-9a-f]{16})", message)
    assert fault and f"fault {fault[1]}" in caplog.text and "a secret of the server" in caplog.text


def test_uploads_are_kept_under_safe_names(tmp_path):
    folder = tmp_path / "api images"
    app = serving.create_recognize_app({"a": Named("p?7")}, serving.ServingOptions(
        api_image_dir=folder, image_suffix="jpg"))
    data = png()
    body = app.test_client().post("/b", **upload(data, "../../evil.png")).get_json()
    app.extensions["service"].close()
    [kept] = folder.iterdir()
    assert kept.name == f"p%3F7_{body['time']}.jpg" and kept.read_bytes() == data


def test_folder_that_cannot_be_written_is_a_log_line_not_an_error(tmp_path, caplog):
    (tmp_path / "file").touch()
    app = serving.create_recognize_app({"a": Named("a")}, serving.ServingOptions(
        api_image_dir=tmp_path / "file"))
    assert app.test_client().post("/b", **upload(png())).status_code == 200
    app.extensions["service"].close()
    assert "images are not kept" in caplog.text
    assert 'captcha_images_not_kept_total{reason="failed"} 1.0' in metrics_of(app)


@pytest.mark.parametrize("names", [[], ["a b"], ["a/b"], [""], [".."]])
def test_names_that_cannot_be_served(names):
    with pytest.raises(ConfigError):
        serving.create_recognize_app({name: Named(name) for name in names})


def test_beyond_the_bound_503_at_once_and_the_accepted_are_answered(running):
    slow = Slow()
    app = serving.create_recognize_app({"a": slow}, serving.ServingOptions(waiting=2))
    url = running(app)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(
        requests.post(f"{url}/b", files={"image_file": png()}, timeout=20))) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert slow.entered.acquire(timeout=20)
    model = app.extensions["service"].models["a"]
    while not model.batcher.full:
        time.sleep(0.01)
    refused = requests.post(f"{url}/b", files={"image_file": png()}, timeout=5)
    assert (refused.status_code, refused.json()["error_code"]) == (503, "1005")
    assert int(refused.headers["Retry-After"]) >= 1
    slow.allowed.set()
    for thread in threads:
        thread.join(20)
    assert [answer.json()["value"] for answer in answers] == ["slow", "slow"]
    again = requests.post(f"{url}/b", files={"image_file": png()}, timeout=5)
    assert again.status_code == 200


def test_stopping_finishes_the_answers_in_flight(running):
    slow = Slow()
    running = server.Server(serving.create_recognize_app({"a": slow}))
    serve = threading.Thread(target=running.run)
    serve.start()
    answers = []
    ask = threading.Thread(target=lambda: answers.append(
        requests.post(f"{running.url}/b", files={"image_file": png()}, timeout=20)))
    ask.start()
    assert slow.entered.acquire(timeout=20)
    stop = threading.Thread(target=running.stop)
    stop.start()
    address = server.LOCALHOST, int(running.url.rpartition(":")[2])
    with pytest.raises(ConnectionError):  # refused, or reset where it waited
        while True:  # until it accepts nothing more
            socket.create_connection(address, timeout=20).close()
    slow.allowed.set()
    for thread in (ask, stop, serve):
        thread.join(20)
    assert answers[0].json()["value"] == "slow"


def test_port_that_is_taken_is_said():
    with socket.create_server((server.LOCALHOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CaptchaError, match=f"cannot listen on 127.0.0.1, port {port}.*--port"):
            server.Server(serving.create_recognize_app({"a": Named("a")}), port=port)


@pytest.mark.parametrize(("host", "port"), [("no such host", 0), (server.LOCALHOST, 99999)])
def test_address_that_cannot_be_is_said(host, port):
    with pytest.raises(CaptchaError, match="cannot listen"):
        server.Server(serving.create_recognize_app({"a": Named("a")}), host, port)


def test_captchas_are_fresh_and_show_their_text_only_when_asked(project, running):
    generator = CaptchaGenerator(project.captcha)
    url = running(serving.create_captcha_app(generator, show_answers=True))
    answers = [requests.get(f"{url}/captcha/", timeout=5) for _ in range(2)]
    for answer in answers:
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.headers["Cache-Control"] == "no-store"
        assert encoding.open_image(answer.content).size == (40, 24)
        assert set(unquote(answer.headers["X-Captcha-Text"])) <= set("0123")
    assert answers[0].content != answers[1].content
    silent = running(serving.create_captcha_app(generator))
    assert "X-Captcha-Text" not in requests.get(f"{silent}/captcha/", timeout=5).headers


def test_chinese_text_is_percent_encoded(project):
    class Chinese(CaptchaGenerator):
        def random_text(self, rng):
            return "验?"

    app = serving.create_captcha_app(Chinese(project.captcha), show_answers=True)
    assert app.test_client().get("/captcha/").headers["X-Captcha-Text"] == "%E9%AA%8C%3F"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_captcha_server_stops_cleanly_on_a_signal(project, number):
    command = [sys.executable, PROJECT_ROOT / "webserver_captcha_image.py", "--port", "0",
               "--config", project.captcha_config_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          encoding="utf-8") as process:
        address = process.stdout.readline().split()[-1]
        assert requests.get(address, timeout=5).status_code == 200
        process.send_signal(number)
        _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    entry = json.loads(log)
    assert (entry["method"], entry["path"], entry["status"]) == ("GET", "/captcha/", 200)


# What further can be asked, and what the server tells of itself


def test_several_images_have_their_results_in_order_and_errors_in_their_places(client):
    files = [(io.BytesIO(data), "x.png") for data in (png(), b"no image", png(41), png())]
    answer = client.post("/b", data={"image_file": files})
    assert answer.status_code == 200
    body = answer.get_json()
    assert list(body) == ["time", "speed_time(ms)", "results"]
    assert [found.get("value") for found in body["results"]] == ["验a", None, None, "验a"]
    assert [found.get("error_code") for found in body["results"]] == [None, "1002", "1003", None]


@pytest.mark.parametrize("arguments", [
    {"data": png(), "content_type": "image/png"},
    {"data": png(), "content_type": "application/octet-stream"},
    {"json": {"image": base64.b64encode(png()).decode()}},
    {"json": {"image": "data:image/png;base64," + base64.b64encode(png()).decode()}},
])
def test_other_ways_to_send_an_image(client, arguments):
    assert client.post("/b", **arguments).get_json()["value"] == "验a"


@pytest.mark.parametrize("path", ["/b", "/b?charset=0101"])
@pytest.mark.parametrize("place", ["form", "json"])
def test_charset_and_least_confidence(client, path, place):
    options = {"charset": "ba", "min_confidence": 0.99}
    body = client.post(path, **(upload_with(png(), options) if place == "form" else {
        "json": options | {"image": base64.b64encode(png()).decode()}})).get_json()
    assert body["candidate"] == ("ba" if path == "/b" else "01")  # the address decides
    assert (body["value"], body["confidence"]) == ("", 0.987654)


def upload_with(data, fields):
    return {"data": fields | {"image_file": (io.BytesIO(data), "x.png")}}


@pytest.mark.parametrize("path", ["/b?charset=x", "/b?charset=", "/b?min_confidence=x",
                                  "/b?min_confidence=nan", "/b?min_confidence=-0.1"])
def test_options_that_cannot_be_used(client, path):
    answer = client.post(path, **upload(png()))
    assert (answer.status_code, answer.get_json()["error_code"]) == (422, "1003")


@pytest.mark.parametrize("arguments", [
    {"json": {"image": 7}}, {"json": {"image": "?"}}, {"json": ["image"]}, {"json": {}},
    {"data": b"{", "content_type": "application/json"},
    {"data": b"[" * 100_000, "content_type": "application/json"},
    {"data": b'{"image": "\xff"}', "content_type": "application/json"},
])
def test_json_that_is_no_request(client, arguments):
    answer = client.post("/b", **arguments)
    assert (answer.status_code, answer.get_json()["error_code"]) == (400, "1001")


# werkzeug leaves the parts that it has read to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("count", [65, 1001])
def test_too_many_parts(client, count):
    files = [(io.BytesIO(png()), "x.png") for _ in range(count)]
    answer = client.post("/b", data={"image_file": files})
    assert (answer.status_code, answer.get_json()["error_code"]) == (413, "1004")


def test_size_chooses_the_model():
    app = serving.create_recognize_app({"a": Named("a"), "wide": Named("wide", 80)})
    client = app.test_client()
    files = [(io.BytesIO(png(width)), "x.png") for width in (80, 40, 50)]
    results = client.post("/b?route=size", data={"image_file": files}).get_json()["results"]
    assert [found.get("value") for found in results] == ["wide", "a", None]
    assert "image of 50x24; the models take a 40x24, wide 80x24" in results[2]["message"]
    assert client.post("/b?route=size", **upload(png(80))).get_json()["value"] == "wide"
    assert client.post("/b", **upload(png(80))).status_code == 422


def test_models_tells_of_each(client):
    body = client.get("/models").get_json()
    assert body["pid"] == os.getpid()
    assert [model["name"] for model in body["models"]] == ["验a", "shop"]
    model = body["models"][0]
    assert abs(model.pop("since") - time.time()) < 60
    assert model == {"name": "验a", "width": 40, "height": 24, "characters": "ab01", "step": 7,
                     "accuracy": 0.99}


def test_health_is_ready_only_while_every_model_answers():
    client = serving.create_recognize_app({"a": Named("a")}).test_client()
    assert client.get("/health/live").status_code == 200
    assert client.get("/health/ready").get_json() == {"status": "ready", "models": {"a": "ready"}}
    client = serving.create_recognize_app({"a": Named("a"), "b": Failing("b")}).test_client()
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.get_json()["models"] == {"a": "ready", "b": "fails"}
    assert client.get("/health/live").status_code == 200


def test_metrics_count_requests_by_model_and_status():
    app = serving.create_recognize_app({"a": Named("a")})
    for data in (png(), png(), b"no image"):
        app.test_client().post("/b", **upload(data))
    text = metrics_of(app)
    assert 'captcha_requests_total{model="a",status="200"} 2.0' in text
    assert 'captcha_requests_total{model="a",status="415"} 1.0' in text
    assert 'captcha_request_seconds_count{model="a"} 3.0' in text
    assert 'captcha_batch_images_count{model="a"} 2.0' in text
    assert 'captcha_waiting_images{model="a"} 0.0' in text


def test_access_log_has_a_json_object_for_each_request(client, monkeypatch):
    entries = []
    monkeypatch.setattr(serving.access_log, "info",
                        lambda form, line: entries.append(json.loads(form % line)))
    client.post("/b", **upload(png()))
    client.post("/b", **upload(b"no image"))
    assert [(e["model"], e.get("answer"), e["status"], e.get("error")) for e in entries] == [
        ("验a", "验a", 200, None), ("验a", None, 415, "1002")]
    assert all(entry["ms"] >= 0 for entry in entries)


@pytest.mark.parametrize(("headers", "status"), [
    ({"X-API-Key": "second"}, 200), ({"Authorization": "Bearer first"}, 200),
    ({}, 401), ({"X-API-Key": "third"}, 401), ({"X-API-Key": "firs"}, 401),
    ({"Authorization": "Basic first"}, 401), ({"X-API-Key": "é"}, 401),
])
def test_api_keys(tmp_path, headers, status):
    file = tmp_path / "keys.txt"
    file.write_text("first\n\n second \n", encoding="utf-8")
    client = serving.create_recognize_app({"a": Named("a")}, serving.ServingOptions(
        api_keys=serving.read_api_keys(file))).test_client()
    answer = client.post("/b", headers=headers, **upload(png()))
    assert answer.status_code == status
    assert status == 200 or answer.get_json()["error_code"] == "1007"
    assert client.get("/models", headers=headers).status_code == status
    assert client.get("/health/ready").status_code == 200
    assert client.options("/b").status_code == 200


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe"])
def test_file_of_keys_without_a_key_is_said(tmp_path, content):
    file = tmp_path / "keys.txt"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="keys.txt"):
        serving.read_api_keys(file)


def test_pages_of_one_origin_may_ask():
    client = serving.create_recognize_app({"a": Named("a")}, serving.ServingOptions(
        allow_origin="https://shop.example")).test_client()
    answer = client.options("/b")
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert "X-API-Key" in answer.headers["Access-Control-Allow-Headers"]
    nobody = serving.create_recognize_app({"a": Named("a")}, serving.ServingOptions(
        allow_origin="")).test_client()
    assert "Access-Control-Allow-Origin" not in nobody.options("/b").headers


def test_description_names_every_address_and_every_code(client):
    app = client.application
    described = client.get("/openapi.json").get_json()
    rules = {str(rule).replace("<name>", "{name}") for rule in app.url_map.iter_rules()}
    assert set(described["paths"]) == rules
    codes = described["components"]["schemas"]["Error"]["properties"]["error_code"]["enum"]
    assert codes == [*wire.ERROR_CODES.values(), wire.FAULT]


MUTATED = st.tuples(st.sampled_from([png(kind=kind) for kind in encoding.FORMATS]),
                    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8),
                    st.integers(0, 500))


def mutate(case):
    data, changes, length = case
    changed = bytearray(data)
    for place, value in changes:
        changed[place % len(changed)] = value
    return bytes(changed[:length])


@settings(max_examples=2000, deadline=None, derandomize=True)
@given(st.one_of(MUTATED.map(mutate), st.binary(max_size=300)),
       st.sampled_from(["multipart", "image/png", "application/json", "text/plain", "",
                        "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]),
       st.text(max_size=12))
def test_whatever_is_sent_is_answered_and_never_a_fault(data, kind, text):
    if kind == "multipart":
        arguments = upload(data, text.replace("\n", "").replace("\r", "") or "x")
    elif kind == "application/json":
        arguments = {"json": {"image": base64.b64encode(data).decode(), "charset": text}}
    else:
        arguments = {"data": data, "content_type": kind}
    answer = MUTATION_CLIENT.post("/b", query_string={"min_confidence": text or "0"}, **arguments)
    assert answer.status_code < 500, answer.get_data(as_text=True)
    assert answer.content_type == "application/json"


MUTATION_CLIENT = serving.create_recognize_app({"a": Named("a")}).test_client()


@pytest.mark.parametrize("size", [100, 70_000, 20_000_000])
def test_answers_of_any_size_arrive_whole_at_a_client_that_reads_late(running, size):
    app = Flask("large")
    body = bytes(range(250)) * (size // 250)
    app.get("/")(lambda: app.response_class(body))
    url = running(app, threads=4)
    for _ in range(2):
        with requests.get(url, stream=True, timeout=20) as answer:
            time.sleep(0.2)
            assert answer.content == body
