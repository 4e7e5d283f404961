"""Uploads to a server: one at a time, or as many as wrk sends."""

from __future__ import annotations

import http.client
import re
import subprocess
import tempfile
import urllib.parse
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench.lib.timing import median_ms
from cnnlib.errors import CaptchaError

TIMEOUT_S = 20
BOUNDARY = "captcha"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
MS_OF = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True)
class Load:
    """What a server did under load."""

    rate: float  # answers a second, refused requests not counted
    p99_ms: float
    refused: int


def form(image: bytes) -> bytes:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image_file"; '
        'filename="x.png"\r\nContent-Type: image/png\r\n\r\n'
    )
    return head.encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()


def connect(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=TIMEOUT_S)


def post(url: str, body: bytes, connection: http.client.HTTPConnection | None = None) -> bytes:
    """Return the answer to a form, over a connection that is kept, or over a new one."""
    if connection is None:
        with closing(connect(url)) as new:
            return post(url, body, new)
    path = urllib.parse.urlsplit(url).path
    connection.request("POST", path, body, {"Content-Type": CONTENT_TYPE})
    return connection.getresponse().read()


def one_client_ms(url: str, image: bytes) -> float:
    """Return the median time of a request where one client keeps its connection."""
    body = form(image)
    with closing(connect(url)) as connection:
        return median_ms(lambda: post(url, body, connection))[0]


def wrk(url: str, image: bytes, connections: int, seconds: int) -> Load:
    """Send an image again and again over many connections; 1 thread of wrk."""
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder) / "body", Path(folder) / "post.lua"
        body.write_bytes(form(image))
        script.write_text(
            f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "{CONTENT_TYPE}"\n'
            f'wrk.body = io.open("{body}", "rb"):read("*a")\n',
            encoding="utf-8",
        )
        options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
        done = subprocess.run(["wrk", *options, url], capture_output=True, text=True, check=True)
    return parse_wrk(done.stdout, seconds)


def parse_wrk(printed: str, seconds: int) -> Load:
    """Return what wrk reports; raises CaptchaError where it reports something else."""
    total = re.search(r"(\d+) requests in", printed)
    slowest = re.search(r"99%\s+([\d.]+)(us|ms|s)", printed)
    if not (total and slowest):
        raise CaptchaError(f"wrk printed no figures: {printed[-500:]!r}; run it by hand")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", printed)
    wrong = int(refused[1]) if refused else 0
    return Load((int(total[1]) - wrong) / seconds, float(slowest[1]) * MS_OF[slowest[2]], wrong)
