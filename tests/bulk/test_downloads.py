"""URLs in a list: fetched politely, tried again, bounded."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cnnlib.bulk import downloads
from cnnlib.bulk.downloads import USER_AGENT, Downloads
from cnnlib.errors import SampleError
from tests.bulk.helpers import Shades, rows_of, run
from tests.bulk.test_archives import png


class Site(ThreadingHTTPServer):
    """Answers by path, and notes when it was asked, by whom, and by how many at a time."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Page)
        self.asked, self.agents, self.times = {}, set(), []
        self.now = self.most = 0
        self.lock = threading.Lock()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Page(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self):
        site = self.server
        with site.lock:
            count = site.asked[self.path] = site.asked.get(self.path, 0) + 1
            site.agents.add(self.headers["User-Agent"])
            site.times.append(time.monotonic())
            site.now += 1
            site.most = max(site.most, site.now)
        time.sleep(0.01)
        with site.lock:  # before the answer: the next one is asked for at once
            site.now -= 1
        self.answer(self.path.strip("/"), count)

    def answer(self, path, count):
        body = png(255)
        if path == "busy" and count < 3:
            return self.send(503, b"")
        if path == "missing":
            return self.send(404, b"")
        if path == "huge":
            self.send(200, b"", 10**9)
        elif path == "endless":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(b"x" * 10**6)
        elif path == "breaks":
            self.send(200, body[:10], len(body))
        elif path == "dribbles":
            self.send(200, b"", 1000)
            while True:
                self.wfile.write(b"x")
                time.sleep(0.05)
        else:
            self.send(200, body)
        return None

    def send(self, status, body, length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

    def handle(self):
        with suppress(OSError):  # the client has heard enough
            super().handle()


@pytest.fixture
def site():
    server = Site()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetch():
    started = []

    def fetch_all(*urls, pause_s=0.0):
        started.append(Downloads(pause_s, backoff_s=0.01))
        return started[-1].fetch_all(urls)

    yield fetch_all
    for each in started:
        each.stop()


def test_list_of_urls(site, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # which near hosts do not need
    monkeypatch.setattr(downloads.Downloads.__init__, "__defaults__", (0.0, 0.01))
    (tmp_path / "here.png").write_bytes(png(0))
    lines = [site.url("a.png"), "here.png", site.url("missing"), site.url("busy")]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    run(Shades(), [tmp_path / "list.txt"], tmp_path / "answers.csv")
    rows = rows_of(tmp_path / "answers.csv")
    assert [row["file"] for row in rows] == lines
    assert [row["text"] for row in rows] == ["1", "0", "", "1"]
    assert rows[2]["error"] == "cannot be fetched (status 404)"
    assert site.asked == {"/a.png": 1, "/missing": 1, "/busy": 3}
    assert site.agents == {USER_AGENT}


def test_few_at_once_and_a_pause_for_each_host(site, fetch):
    urls = [site.url(str(i)) for i in range(12)]
    assert fetch(*urls) == [png(255)] * 12
    assert site.most <= downloads.CONNECTIONS
    site.times.clear()
    fetch(*urls[:6], pause_s=0.05)
    assert max(site.times) - min(site.times) > 4 * 0.05  # five pauses, less what asking takes


def test_bounded_size_and_time(site, fetch, monkeypatch):
    answers = fetch(*map(site.url, ("huge", "endless")))
    assert [str(answer) for answer in answers] == [downloads.TOO_LARGE] * 2
    monkeypatch.setattr(downloads, "WITHIN_S", 0.2)
    [answer] = fetch(site.url("dribbles"))
    assert str(answer) == "did not come within 0.2 s"


def test_answers_that_break_off_and_hosts_that_are_not_there(site, fetch):
    gone = "http://127.0.0.1:9/x.png"
    broken, missing, bad = fetch(site.url("breaks"), gone, "http://[bad/x.png")
    assert all(isinstance(answer, SampleError) for answer in (broken, missing, bad))
    assert "3 tries" in str(broken) and site.asked["/breaks"] == 3
    assert "refused" in str(missing) and "3 tries" in str(missing)
