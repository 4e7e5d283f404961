"""The server over real sockets: overload, stopping, addresses, answers of any size."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import requests
from flask import Flask
from waitress.server import TcpWSGIServer

from cnnlib.errors import CaptchaError
from cnnlib.paths import PROJECT_ROOT
from cnnlib.serving.waitress_server import LOCALHOST, Server
from tests.serving.helpers import Slow, png, wait_for


def post(url, timeout=20):
    return requests.post(f"{url}/b", files={"image_file": png()}, timeout=timeout)


def test_beyond_the_queue_503_at_once_and_the_accepted_are_answered(make_app, serve):
    slow = Slow()
    app = make_app(slow, max_queue_size=2)
    url = serve(app)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(post(url))) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert slow.entered.acquire(timeout=20)
    model = app.extensions["service"].models["slow"]
    wait_for(lambda: model.batcher.full)
    refused = post(url, timeout=5)
    assert (refused.status_code, refused.json()["error_code"]) == (503, "1005")
    assert int(refused.headers["Retry-After"]) >= 1
    slow.allowed.set()
    for thread in threads:
        thread.join(20)
    assert [answer.json()["value"] for answer in answers] == ["slow", "slow"]
    assert post(url, timeout=5).status_code == 200


def test_stopping_finishes_the_answers_in_flight(make_app):
    slow = Slow()
    server = Server(make_app(slow))
    run = threading.Thread(target=server.run)
    run.start()
    answers = []
    ask = threading.Thread(target=lambda: answers.append(post(server.url)))
    ask.start()
    assert slow.entered.acquire(timeout=20)
    stop = threading.Thread(target=server.stop)
    stop.start()
    address = LOCALHOST, int(server.url.rpartition(":")[2])
    with pytest.raises(ConnectionError):  # refused, or reset where it waited
        while True:  # until it accepts nothing more
            socket.create_connection(address, timeout=20).close()
    slow.allowed.set()
    for thread in (ask, stop, run):
        thread.join(20)
    assert answers[0].json()["value"] == "slow"


def test_port_that_is_taken_is_reported():
    with socket.create_server((LOCALHOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CaptchaError, match=f"cannot listen on 127.0.0.1, port {port}.*--port"):
            Server(Flask("any"), port=port)


def test_server_that_cannot_be_made_leaves_its_port_free(monkeypatch):
    with socket.create_server((LOCALHOST, 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ValueError, match="many"):
        Server(Flask("any"), port=port, threads="many")
    with monkeypatch.context() as patched, pytest.raises(OSError, match="descriptors"):
        patched.setattr(TcpWSGIServer, "accept_connections", no_descriptors)  # when it listens
        Server(Flask("any"), port=port, threads=1)
    socket.create_server((LOCALHOST, port)).close()


def no_descriptors(server):
    raise OSError("out of descriptors")


@pytest.mark.parametrize(("host", "port"), [("no such host", 0), (LOCALHOST, 99999)])
def test_address_that_cannot_be_is_reported(host, port):
    with pytest.raises(CaptchaError, match="cannot listen"):
        Server(Flask("any"), host, port)


@pytest.mark.parametrize("size", [100, 70_000, 20_000_000])
def test_answers_of_any_size_arrive_whole_at_a_client_that_reads_late(serve, size):
    app = Flask("large")
    body = bytes(range(250)) * (size // 250)
    app.get("/")(lambda: app.response_class(body))
    url = serve(app, threads=4)
    for _ in range(2):
        with requests.get(url, stream=True, timeout=20) as answer:
            time.sleep(0.2)
            assert answer.content == body


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", 1)])
def test_captcha_server_stops_cleanly_on_a_signal(project, number):
    command = [
        sys.executable,
        PROJECT_ROOT / "webserver_captcha_image.py",
        "--port",
        "0",
        "--config",
        project.captcha_config_path,
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        address = process.stdout.readline().split()[-1]
        answers = [requests.get(address, timeout=5) for _ in range(2)]
        process.send_signal(number)
        _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content != answers[1].content
    entries = [json.loads(line) for line in log.splitlines()]
    assert [(e["method"], e["path"], e["status"]) for e in entries] == [
        ("GET", "/captcha/", 200)
    ] * 2


@pytest.mark.parametrize("headers", [{}, {"Expect": "100-continue"}])
def test_body_above_every_limit_is_answered_in_json(make_app, serve, headers):
    url = serve(make_app(Slow()))
    headers = {"Content-Type": "image/png", **headers}
    for megabytes in (5.5, 20):  # the application's limit, and the server's
        body = bytes(round(megabytes * 1e6))
        for data in (body, iter([body[:100], body[100:]])):  # the second in chunks
            answer = requests.post(f"{url}/b", data=data, headers=headers, timeout=20)
            assert (answer.status_code, answer.json()["error_code"]) == (413, "1004")
            assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
@pytest.mark.parametrize(("limit", "connections"), [(40, 20), (256, 192)])
def test_connections_are_as_many_as_files_may_be_open(limit, connections):
    program = (
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))\n"
        "from cnnlib.serving.waitress_server import _allow_connections\n"
        "print(_allow_connections())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT_ROOT, capture_output=True, check=True
    )
    assert int(done.stdout) == connections


def test_larger_bodies_reach_an_application_that_takes_them(make_app, serve):
    url = serve(make_app(Slow(), max_request_bytes=8_000_000))
    for megabytes, status in ((7.5, 415), (8.5, 413)):  # the first was read, as an image
        body = bytes(round(megabytes * 1e6))
        answer = requests.post(f"{url}/b", data=body, headers={"Content-Type": "image/png"})
        assert answer.status_code == status


def test_what_is_no_http_is_answered_in_json(make_app, serve):
    host, _, port = serve(make_app(Slow())).removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET /b HTTP/1.1\r\nno header\r\n\r\n")
        answer = connection.makefile("rb").read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 400 " in head and json.loads(body)["error_code"] == "1001"
