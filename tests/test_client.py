"""The calling side against real servers that do what servers should not."""

from __future__ import annotations

import csv
import json
import math
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cnnlib import client
from cnnlib.client import Answer, Captcha, Client, Trial
from cnnlib.errors import ApiError, ServiceError

GOOD = json.dumps({"time": "1", "value": "验a", "speed_time(ms)": 3, "confidence": 0.9})


@pytest.fixture
def server():
    """Serve answers (status, body, headers) one after the other, the last again and again."""
    started = []

    def serve(*answers):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            asked = 0

            def do_POST(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, body, headers = answers[min(Handler.asked, len(answers) - 1)]
                Handler.asked += 1
                data = body.encode() if isinstance(body, str) else body
                self.send_response(status)
                for name, value in ({"Content-Length": len(data)} | headers).items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST

            def log_message(self, *_):
                pass

        http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        started.append(http)
        return f"http://127.0.0.1:{http.server_port}/b", Handler

    yield serve
    for http in started:
        http.shutdown()
        http.server_close()


def test_answer_and_times(server):
    url, _ = server((200, GOOD, {}))
    with Client(url) as api:
        answer = api.recognize(b"image")
    assert (answer.value, answer.confidence) == ("验a", 0.9)
    assert answer.recognize_ms + answer.request_ms == pytest.approx(answer.total_ms)
    assert answer.recognize_ms <= 3
    assert str(answer).startswith("验a (confidence 0.900, ")


def test_answer_of_the_replaced_system_has_no_confidence(server):
    url, _ = server((200, '{"time": "1542017705.9152594", "value": "jsp1"}', {}))
    with Client(url) as api:
        answer = api.recognize(b"image")
    assert (answer.value, answer.confidence, answer.recognize_ms) == ("jsp1", None, 0)


def test_refused_image_tells_the_error_code(server):
    url, _ = server((422, '{"error_code": "1003", "message": "wrong size"}', {}))
    with Client(url) as api, pytest.raises(ApiError, match="refused a.png with error 1003: wrong"):
        api.recognize(b"image", "a.png")


@pytest.mark.parametrize(("status", "body"), [
    (200, "no JSON"), (200, "[]"), (200, "{}"), (404, "<html>"), (500, '"x"'), (200, b"\xff\xfe"),
])
def test_another_kind_of_server_is_recognised(server, status, body):
    url, _ = server((status, body, {}))
    with Client(url) as api, pytest.raises(ServiceError, match="no answer of the recognition API"):
        api.recognize(b"image")


def test_busy_server_is_asked_again_a_bounded_number_of_times(server, monkeypatch):
    monkeypatch.setattr(client, "BACKOFF_S", 0.001)
    busy = (503, '{"error_code": "1005", "message": "overloaded"}', {"Retry-After": 3600})
    url, handler = server(busy, busy, (200, GOOD, {}))
    with Client(url) as api:
        assert api.recognize(b"image").value == "验a"
    assert handler.asked == 3
    url, handler = server(busy)
    with Client(url) as api, pytest.raises(ApiError, match="1005"):
        api.recognize(b"image")
    assert handler.asked == 1 + client.RETRIES


def test_server_that_is_not_there_names_the_command(monkeypatch):
    monkeypatch.setattr(client, "BACKOFF_S", 0.001)
    with Client("http://127.0.0.1:9/b") as api:
        with pytest.raises(ServiceError, match="no answer from .*webserver_recognize_api.py"):
            api.recognize(b"image")
        with pytest.raises(ServiceError, match="no answer from .*webserver_captcha_image.py"):
            api.fetch()


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999/b", "http://" + "a" * 70 + ".b/",
                                 "http://[::1/b"])
def test_address_that_cannot_be_is_said(url, monkeypatch):
    monkeypatch.setattr(client, "BACKOFF_S", 0.001)
    with Client(url, retries=0) as api, pytest.raises(ServiceError):
        api.recognize(b"image")


def test_silent_server_is_given_up(server, monkeypatch):
    monkeypatch.setattr(client, "TIMEOUT_S", (0.2, 0.2))
    url, _ = server((200, b"", {"Content-Length": 10}))
    with Client(url) as api, pytest.raises(ServiceError):  # it breaks off in the middle
        api.recognize(b"image")


def test_busy_server_is_not_called_a_missing_one(monkeypatch):
    monkeypatch.setattr(client, "TIMEOUT_S", (0.2, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/b"
        with Client(url) as api, pytest.raises(ServiceError, match="did not answer within 0.2 s"):
            api.recognize(b"image")


def test_fetched_captcha_has_its_text_where_it_is_told(server):
    url, _ = server((200, b"image", {"X-Captcha-Text": "%E9%AA%8C"}), (200, b"image", {}))
    with Client(url) as remote:
        assert remote.fetch() == Captcha(b"image", "验")
        assert remote.fetch() == Captcha(b"image", None)


def test_what_is_no_captcha_is_not_read_to_its_end(server, monkeypatch):
    monkeypatch.setattr(client, "MAX_IMAGE_BYTES", 1000)
    url, _ = server((200, b"0" * 100_000, {}), (404, "", {}))
    with Client(url) as remote:
        with pytest.raises(ServiceError, match="more than 1000 bytes: it is no captcha"):
            remote.fetch()
        with pytest.raises(ServiceError, match="answered with status 404 instead of an image"):
            remote.fetch()


def test_load_test_counts_answers_and_failures(server):
    refused = (422, '{"error_code": "1003", "message": "m"}', {})
    url, _ = server((200, GOOD, {}), (200, GOOD, {}), refused, (200, GOOD, {}))
    trials = list(client.load_test(url, [b"image"], times=10, concurrency=3))
    assert sorted(trial.index for trial in trials) == list(range(1, 11))
    report = client.summarize(trials)
    assert (report.answered, report.failed) == (9, 1)
    assert report.requests_per_s > 0 and report.times["total_ms"].mean > 0


def test_load_test_of_a_time_asks_about_each_image_in_turn(server):
    url, handler = server((200, GOOD, {}))
    trials = client.load_test(url, [b"1", b"2"], None, 2, duration_s=0.3, raw=True)
    assert 0 < len(list(trials)) == handler.asked - 1


def test_load_test_that_is_left_early_ends(server):
    url, _ = server((200, GOOD, {}))
    trials = client.load_test(url, [b"image"], None, 3)
    assert next(trials).answer
    trials.close()


def test_all_images_are_answered_in_order_and_refusals_stand_among_them(server, tmp_path):
    refused = (422, '{"error_code": "1003", "message": "m"}', {})
    url, _ = server((200, GOOD, {}), refused, (200, GOOD, {}))
    paths = [tmp_path / str(number) for number in range(40)]
    for path in paths:
        path.write_bytes(path.name.encode())
    with Client(url) as asked:
        found = list(client.recognize_all(asked, paths, 4))
    assert [(path, data) for path, data, _ in found] == [(p, p.name.encode()) for p in paths]
    assert sum(isinstance(answer, ApiError) for *_, answer in found) == 1


def test_load_test_ends_at_once_where_the_server_is_not_there(monkeypatch):
    monkeypatch.setattr(client, "BACKOFF_S", 0.001)
    with pytest.raises(ServiceError, match="no answer from"):
        next(client.load_test("http://127.0.0.1:9/b", [b"image"], 10))


def test_spread():
    spread = client.spread([4.0, 1.0, 3.0, 2.0, 5.0])
    assert (spread.mean, spread.p50) == (3.0, 3.0)
    assert spread.p90 == pytest.approx(4.6) and spread.p99 == pytest.approx(4.96)
    assert math.isnan(client.spread([]).p50)


def test_csv_has_the_columns_in_the_order_of_the_questions(tmp_path):
    trials = [Trial(2, 1.0, 2.0, "10:00:01", Answer("b", 0.5, 20.04, 5.0)),
              Trial(3, 1.0, 2.0, "10:00:02", None, ServiceError("x")),
              Trial(1, 0.0, 1.0, "10:00:00", Answer("验", 0.5, 10.0, 4.0))]
    client.write_csv(trials, tmp_path / "test.csv")
    with open(tmp_path / "test.csv", encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["index", "value", "time", "total_ms", "recognize_ms", "request_ms"],
            ["1", "验", "10:00:00", "10.0", "4.0", "6.0"],
            ["2", "b", "10:00:01", "20.0", "5.0", "15.0"]]


@pytest.mark.parametrize(("results", "asked", "expected"), [
    ([True, False, True], 3, "2 of 3 right"),
    ([True, None], 3, "1 of 1 right, 1 answered, their text is not known, 1 without an answer"),
    ([], 2, "2 without an answer"),
])
def test_tally(results, asked, expected):
    assert client.tally(results, asked) == expected


