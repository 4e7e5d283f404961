"""The calling side against real servers that do what servers should not."""

from __future__ import annotations

import os
import socket

import pytest

from cnnlib.client import api_client
from cnnlib.client.api_client import Captcha, Client, recognize_all, tally
from cnnlib.dataset.folders import image_files
from cnnlib.errors import ApiError, SampleError, ServiceError
from tests.client.helpers import GOOD, REFUSED


def test_answer_and_times(server):
    url, _ = server(GOOD)
    with Client(url) as api:
        answer = api.recognize(b"image")
    assert (answer.value, answer.confidence) == ("验a", 0.9)
    assert answer.recognize_ms + answer.request_ms == pytest.approx(answer.total_ms)
    assert answer.recognize_ms <= 3
    assert str(answer).startswith("验a (confidence 0.900, ")


def test_answer_of_version_2_has_no_confidence(server):
    url, _ = server((200, '{"time": "1542017705.9152594", "value": "jsp1"}', {}))
    with Client(url) as api:
        answer = api.recognize(b"image")
    assert (answer.value, answer.confidence, answer.recognize_ms) == ("jsp1", None, 0)


def test_refused_image_has_its_error_code_in_the_message(server):
    url, _ = server(REFUSED)
    with Client(url) as api, pytest.raises(ApiError, match="refused a.png with error 1003: wrong"):
        api.recognize(b"image", "a.png")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "not JSON"),
        (200, "[]"),
        (200, "{}"),
        (404, "<html>"),
        (500, '"x"'),
        (200, b"\xff\xfe"),
    ],
)
def test_another_kind_of_server_is_recognised(server, status, body):
    url, _ = server((status, body, {}))
    with Client(url) as api, pytest.raises(ServiceError, match="no answer of the recognition API"):
        api.recognize(b"image")


def test_busy_server_is_asked_again_a_bounded_number_of_times(server, monkeypatch):
    monkeypatch.setattr(api_client, "BACKOFF_S", 0.001)
    busy = (503, '{"error_code": "1005", "message": "overloaded"}', {"Retry-After": 3600})
    url, handler = server(busy, busy, GOOD)
    with Client(url) as api:
        assert api.recognize(b"image").value == "验a"
    assert handler.asked == 3
    url, handler = server(busy)
    with Client(url) as api, pytest.raises(ApiError, match="1005"):
        api.recognize(b"image")
    assert handler.asked == 1 + api_client.RETRIES


def test_server_that_is_not_there_names_the_command(monkeypatch):
    monkeypatch.setattr(api_client, "BACKOFF_S", 0.001)
    with Client("http://127.0.0.1:9/b") as api:
        with pytest.raises(ServiceError, match="no answer from .*webserver_recognize_api.py"):
            api.recognize(b"image")
        with pytest.raises(ServiceError, match="no answer from .*webserver_captcha_image.py"):
            api.fetch()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:99999/b", "http://" + "a" * 70 + ".b/", "http://[::1/b"]
)
def test_address_that_cannot_be_is_reported(url, monkeypatch):
    monkeypatch.setattr(api_client, "BACKOFF_S", 0.001)
    with Client(url, retries=0) as api, pytest.raises(ServiceError):
        api.recognize(b"image")


def test_silent_server_is_given_up(server, monkeypatch):
    monkeypatch.setattr(api_client, "TIMEOUT_S", (0.2, 0.2))
    url, _ = server((200, b"", {"Content-Length": 10}))
    with Client(url) as api, pytest.raises(ServiceError):  # it breaks off in the middle
        api.recognize(b"image")


def test_busy_server_is_not_reported_as_missing(monkeypatch):
    monkeypatch.setattr(api_client, "TIMEOUT_S", (0.2, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/b"
        with Client(url) as api, pytest.raises(ServiceError, match="did not answer within 0.2 s"):
            api.recognize(b"image")


def test_fetched_captcha_has_its_text_where_the_server_sends_it(server):
    url, _ = server((200, b"image", {"X-Captcha-Text": "%E9%AA%8C"}), (200, b"image", {}))
    with Client(url) as remote:
        assert remote.fetch() == Captcha(b"image", "验")
        assert remote.fetch() == Captcha(b"image", None)


def test_what_is_not_a_captcha_is_not_read_to_its_end(server, monkeypatch):
    monkeypatch.setattr(api_client, "MAX_IMAGE_BYTES", 1000)
    url, _ = server((200, b"0" * 100_000, {}), (404, "", {}))
    with Client(url) as remote:
        with pytest.raises(ServiceError, match="more than 1000 bytes: it is not a captcha"):
            remote.fetch()
        with pytest.raises(ServiceError, match="answered with status 404 instead of an image"):
            remote.fetch()


def test_all_images_are_answered_in_order_and_refusals_are_among_them(server, tmp_path):
    url, _ = server(GOOD, REFUSED, GOOD)
    paths = [tmp_path / str(number) for number in range(40)]
    for path in paths:
        path.write_bytes(path.name.encode())
    with Client(url) as asked:
        found = list(recognize_all(asked, paths, 4))
    assert [(path, data) for path, data, _ in found] == [(p, p.name.encode()) for p in paths]
    assert sum(isinstance(answer, ApiError) for *_, answer in found) == 1


@pytest.mark.parametrize(
    ("results", "asked", "expected"),
    [
        ([True, False, True], 3, "2 of 3 right"),
        ([True, None], 3, "1 of 1 right, 1 answered, their text is not known, 1 without an answer"),
        ([], 2, "2 without an answer"),
    ],
)
def test_tally(results, asked, expected):
    assert tally(results, asked) == expected


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes among files")
def test_files_that_cannot_be_read_stop_no_other(server, tmp_path):
    url, handler = server(GOOD)
    for name in ("a.png", "\udcff.png", "z.png"):
        (tmp_path / name).write_bytes(b"image")
    (tmp_path / "dead.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    with Client(url) as api:
        answers = {
            path.name: answer for path, _, answer in recognize_all(api, image_files([tmp_path]), 2)
        }
    refused = answers.pop("dead.png")
    assert isinstance(refused, SampleError) and "dead.png cannot be read" in str(refused)
    assert sorted(answers) == ["a.png", "z.png", "\udcff.png"] and handler.asked == 3
