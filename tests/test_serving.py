"""The HTTP side over real sockets and Flask's client, with recognisers that need no TensorFlow."""

from __future__ import annotations

import io
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from urllib.parse import unquote

import pytest
import requests
from PIL import Image

from cnnlib import encoding, serving
from cnnlib.config import PROJECT_ROOT
from cnnlib.errors import CaptchaError, ConfigError
from gen_image.generator import CaptchaGenerator


@dataclass
class Answer:
    text: str
    confidence: float = 0.98765432


class Named:
    """Answers its own name; refuses images of another size than 40x24, as a model does."""

    def __init__(self, name):
        self.name = name

    def predict(self, images):
        for image in images:
            encoding.sized_pixels(image, 40, 24)
        return [Answer(self.name) for _ in images]


class Failing:
    def predict(self, images):
        raise RuntimeError("a secret of the server")


class Slow:
    """Answers when it is allowed to."""

    def __init__(self):
        self.entered, self.allowed = threading.Semaphore(0), threading.Event()

    def predict(self, images):
        self.entered.release()
        assert self.allowed.wait(20)
        return [Answer("slow")]


def png(width=40, height=24, kind="PNG"):
    file = io.BytesIO()
    Image.new("L", (width, height), 200).save(file, kind)
    return file.getvalue()


def upload(data, name="x.png"):
    return {"data": {"image_file": (io.BytesIO(data), name)}}


@pytest.fixture
def client():
    return serving.create_recognize_app({"验a": Named("验a"), "shop": Named("p?7")}).test_client()


@pytest.fixture
def running():
    """Serve an application on a free port; give its address."""
    servers = []

    def run(app, **options):
        server = serving.Server(app, **options)
        thread = threading.Thread(target=server.run)
        thread.start()
        servers.append((server, thread))
        return server.url

    yield run
    for server, thread in servers:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()


def test_answer_has_the_keys_and_types_of_the_specification(client):
    answer = client.post("/b", **upload(png()))
    assert answer.status_code == 200
    body = answer.get_json()
    assert list(body) == ["time", "value", "speed_time(ms)", "confidence"]
    assert re.fullmatch(r"\d{10}\.\d+", body["time"])
    assert abs(float(body["time"]) - time.time()) < 60
    assert (body["value"], body["confidence"]) == ("验a", 0.987654)
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
    client = serving.create_recognize_app({"a": Failing()}).test_client()
    answer = client.post("/b", **upload(png()))
    assert (answer.status_code, answer.get_json()["error_code"]) == (500, "1099")
    message = answer.get_json()["message"]
    assert "secret" not in message
    fault = re.search(r"fault ([0-9a-f]{16})", message)
    assert fault and f"fault {fault[1]}" in caplog.text and "a secret of the server" in caplog.text


def test_uploads_are_kept_under_safe_names(tmp_path):
    folder = tmp_path / "api images"
    app = serving.create_recognize_app({"a": Named("p?7")}, api_image_dir=folder,
                                       image_suffix="jpg")
    data = png()
    body = app.test_client().post("/b", **upload(data, "../../evil.png")).get_json()
    [kept] = folder.iterdir()
    assert kept.name == f"p%3F7_{body['time']}.jpg" and kept.read_bytes() == data


def test_folder_that_cannot_be_written_is_a_log_line_not_an_error(tmp_path, caplog):
    (tmp_path / "file").touch()
    app = serving.create_recognize_app({"a": Named("a")}, api_image_dir=tmp_path / "file")
    assert app.test_client().post("/b", **upload(png())).status_code == 200
    assert "an upload is not kept" in caplog.text


@pytest.mark.parametrize("names", [[], ["a b"], ["a/b"], [""], [".."]])
def test_names_that_cannot_be_served(names):
    with pytest.raises(ConfigError):
        serving.create_recognize_app({name: Named(name) for name in names})


def test_beyond_the_bound_503_at_once_and_the_accepted_are_answered(running):
    slow = Slow()
    url = running(serving.create_recognize_app({"a": slow}, max_recognitions=2))
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(
        requests.post(f"{url}/b", files={"image_file": png()}, timeout=20))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert slow.entered.acquire(timeout=20)
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
    server = serving.Server(serving.create_recognize_app({"a": slow}))
    serve = threading.Thread(target=server.run)
    serve.start()
    answers = []
    ask = threading.Thread(target=lambda: answers.append(
        requests.post(f"{server.url}/b", files={"image_file": png()}, timeout=20)))
    ask.start()
    assert slow.entered.acquire(timeout=20)
    stop = threading.Thread(target=server.stop)
    stop.start()
    with pytest.raises(requests.ConnectionError):
        while True:  # until it accepts nothing more
            requests.post(f"{server.url}/b", files={"image_file": png()}, timeout=0.2)
    slow.allowed.set()
    for thread in (ask, stop, serve):
        thread.join(20)
    assert answers[0].json()["value"] == "slow"


def test_port_that_is_taken_is_said():
    with socket.create_server((serving.LOCALHOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CaptchaError, match=f"cannot listen on 127.0.0.1, port {port}.*--port"):
            serving.Server(serving.create_recognize_app({"a": Named("a")}), port=port)


@pytest.mark.parametrize(("host", "port"), [("no such host", 0), (serving.LOCALHOST, 99999)])
def test_address_that_cannot_be_is_said(host, port):
    with pytest.raises(CaptchaError, match="cannot listen"):
        serving.Server(serving.create_recognize_app({"a": Named("a")}), host, port)


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
    assert "GET /captcha/ 200" in log and "Traceback" not in log
