"""Run the servers as they are deployed, on real sockets, and stress-test them.

    python3 tests/trials/run_deployment.py [--config conf/sample_config.json]

Needs a trained model, gunicorn and nginx. For waitress alone, and for nginx before gunicorn:
2,000 requests at once about 200 different images, of which each must have its own answer or 503;
100 clients that dribble their bytes, while others must be answered; 3,000 bad uploads, of which
none may be a 5xx, nor cost waitress memory; bodies of 6, 20 and 70 MB, which are refused in JSON;
SIGTERM, after which the answers in flight come and the exit code is 0. A gunicorn worker is killed
with signal 9, and must be replaced. Takes two minutes. Exit code 1 if anything fails.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import requests

from bench.lib.machine import anonymous_mb
from bench.lib.nginx import nginx
from bench.lib.practice import drawn_files
from cnnlib import console
from cnnlib.config import SAMPLE_CONFIG, SampleConfig, load_sample_config
from cnnlib.dataset.images import open_image
from cnnlib.errors import CaptchaError
from cnnlib.paths import PROJECT_ROOT
from cnnlib.runtimes import load_recognizer
from tests.trials.lib.outcome import exit_code
from tests.trials.lib.ports import free_port

IMAGES = 200
AT_ONCE = 2000
SLOW = 100
BAD = 3000
MEMORY_MB = 5.0  # that bad uploads may cost
ANSWERED_S = 120.0
CONFIDENCE = 1e-3  # batches of other sizes add up in another order


@dataclass
class Example:
    """An image, and what the model says of it alone."""

    data: bytes
    text: str
    confidence: float


def examples(config: SampleConfig) -> list[Example]:
    made = []
    with load_recognizer(config) as recognizer:  # what the API would take, too
        for data in drawn_files(config, IMAGES)[1]:
            [answer] = recognizer.predict([open_image(data)])
            made.append(Example(data, answer.text, answer.confidence))
    return made


@contextmanager
def process(*command: str, port: int, path: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server, and wait until it answers."""
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=log, stderr=log) as started,
    ):
        try:
            for _ in range(600):
                try:
                    requests.get(f"http://127.0.0.1:{port}{path}", timeout=5)
                    break
                except requests.RequestException:
                    if started.poll() is not None:
                        log.seek(0)
                        raise CaptchaError(
                            f"{command[0]} did not start: {log.read()[-800:].decode()}"
                        ) from None
                    time.sleep(0.1)
            yield started
        finally:
            if started.poll() is None:
                started.kill()


def waitress(config: str, port: int) -> Sequence[str]:
    return (
        sys.executable,
        "webserver_recognize_api.py",
        "--config",
        config,
        "--no-save",
        "--port",
        str(port),
    )


def gunicorn(config: str, port: int) -> Sequence[str]:
    return (
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        "deploy/gunicorn.conf.py",
        "--bind",
        f"127.0.0.1:{port}",
        f"webserver_recognize_api:create_app({config!r}, False)",
    )


def request_of(data: bytes) -> bytes:
    return (
        b"POST /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: image/png\r\n"
        b"Content-Length: %d\r\n\r\n" % len(data)
    ) + data


async def ask(port: int, data: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_of(data))
    await writer.drain()
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"chunked" in head:
        body = body.partition(b"\r\n")[2].rpartition(b"\r\n0\r\n")[0]
    return int(head.split()[1]) if head else 0, body


async def many_at_once(port: int, known: Sequence[Example]) -> str:
    """Return how many of AT_ONCE requests were answered and refused; raises CaptchaError."""
    asked = [known[i % len(known)] for i in range(AT_ONCE)]
    found = await asyncio.wait_for(
        asyncio.gather(*(ask(port, example.data) for example in asked), return_exceptions=True),
        ANSWERED_S,
    )
    refused = lost = 0
    for example, result in zip(asked, found, strict=True):
        if isinstance(result, BaseException) or result[0] == 0:
            lost += 1  # no connection: more than the system queues
        elif result[0] == 503:
            refused += 1
        else:
            body = json.loads(result[1])
            if (
                body.get("value") != example.text
                or abs(body["confidence"] - example.confidence) > CONFIDENCE
            ):
                raise CaptchaError(f"{example} was answered with {result}")
    if lost:
        raise CaptchaError(f"{lost} of {AT_ONCE} requests got no answer")
    return f"{AT_ONCE - refused} right, {refused} refused with 503"


async def dribble(port: int, data: bytes, stop: asyncio.Event) -> None:
    """Send one byte a second."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for place in range(len(data)):
            writer.write(request_of(data)[place : place + 1])
            await writer.drain()
            try:
                await asyncio.wait_for(stop.wait(), 1)
                return
            except TimeoutError:
                continue
    except ConnectionError:  # the server has lost its patience
        pass
    finally:
        writer.close()


async def answers_despite_slow_clients(port: int, known: Sequence[Example]) -> str:
    stop = asyncio.Event()
    slow = [asyncio.create_task(dribble(port, known[0].data, stop)) for _ in range(SLOW)]
    await asyncio.sleep(2)
    slowest_s = 0.0
    for example in known[:50]:
        began = time.perf_counter()
        status, _ = await asyncio.wait_for(ask(port, example.data), 20)
        slowest_s = max(slowest_s, time.perf_counter() - began)
        if status != 200:
            raise CaptchaError(f"status {status} while {SLOW} slow clients send")
    stop.set()
    await asyncio.gather(*slow)
    return f"the slowest of 50 took {slowest_s * 1000:.0f} ms"


async def bad_uploads(port: int, known: Sequence[Example]) -> str:
    rng, statuses = random.Random(0), set()
    for _ in range(BAD):
        data = bytearray(rng.choice(known).data)
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        length = rng.choice((len(data), rng.randint(0, len(data))))
        status, _ = await ask(port, bytes(data[:length]))
        statuses.add(status)
    if max(statuses) >= 500:
        raise CaptchaError(f"bad uploads were answered with {statuses}")
    return f"statuses {sorted(statuses)}"


async def stopping(port: int, known: Sequence[Example], server: subprocess.Popen[bytes]) -> str:
    """Send SIGTERM while requests are in flight; all of them must be answered."""
    asked = [asyncio.create_task(ask(port, example.data)) for example in known[:100]]
    await asyncio.sleep(0.2)
    server.send_signal(signal.SIGTERM)
    found = await asyncio.gather(*asked, return_exceptions=True)
    answered = sum(not isinstance(result, BaseException) and result[0] == 200 for result in found)
    code = await asyncio.to_thread(server.wait, 20)
    if code != 0 or answered < len(asked):
        raise CaptchaError(f"SIGTERM: {answered} of {len(asked)} answered, exit code {code}")
    return f"{answered} of {len(asked)} in flight answered, exit code 0"


def too_large(port: int) -> str:
    """Send bodies above the limit; each answer must arrive, as JSON."""
    for megabytes in (6, 20, 70):
        for headers in ({}, {"Expect": "100-continue"}):
            try:
                answer = requests.post(
                    f"http://127.0.0.1:{port}/b",
                    data=bytes(megabytes * 1_000_000),
                    headers={"Content-Type": "image/png", **headers},
                    timeout=60,
                )
                code = answer.json()["error_code"]
            except (requests.RequestException, ValueError) as error:
                raise CaptchaError(f"{megabytes} MB were answered with {error}") from error
            if (answer.status_code, code) != (413, "1004"):
                raise CaptchaError(f"{megabytes} MB were answered with {answer.text}")
    return "6, 20 and 70 MB were answered with 413, as JSON"


def workers(port: int) -> set[int]:
    """Return the process ids that answer."""
    return {
        requests.get(f"http://127.0.0.1:{port}/models", timeout=20).json()["pid"] for _ in range(60)
    }


def killed_worker(port: int) -> str:
    before = workers(port)
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    for _ in range(60):
        time.sleep(0.5)
        try:
            now = workers(port)
        except requests.RequestException as error:
            raise CaptchaError(f"a request failed after a worker was killed: {error}") from error
        if victim not in now and len(now) >= len(before):
            return f"{victim} was replaced; {sorted(now)} answer"
    raise CaptchaError(f"worker {victim} was not replaced")


def check(name: str, result: str) -> None:
    console.say(f"{name}: {result}")


def run(config_file: str) -> None:
    known = examples(load_sample_config(config_file))
    port = free_port()
    with process(*waitress(config_file, port), port=port, path="/health/live") as server:
        check("waitress, 2,000 at once", asyncio.run(many_at_once(port, known)))
        check("waitress, slow clients", asyncio.run(answers_despite_slow_clients(port, known)))
        check("waitress, too large", too_large(port))
        before_mb = anonymous_mb(server.pid)
        check("waitress, bad uploads", asyncio.run(bad_uploads(port, known)))
        grown_mb = anonymous_mb(server.pid) - before_mb
        check("waitress, memory after bad uploads", f"{grown_mb:+.1f} MB")
        if not grown_mb <= MEMORY_MB:  # nor where it is not known
            raise CaptchaError(f"memory has grown by more than {MEMORY_MB} MB")
        check("waitress, SIGTERM", asyncio.run(stopping(port, known, server)))
    behind, port = free_port(), free_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        process(*gunicorn(config_file, behind), port=behind, path="/health/ready") as server,
        process(*nginx(Path(folder), port, behind), port=port, path="/openapi.json"),
    ):
        for title, trial in (
            ("2,000 at once", many_at_once),
            ("slow clients", answers_despite_slow_clients),
            ("bad uploads", bad_uploads),
        ):
            check(f"nginx and gunicorn, {title}", asyncio.run(trial(port, known)))
        check("gunicorn, too large", too_large(behind))
        check("nginx and gunicorn, too large", too_large(port))
        check("gunicorn, kill -9", killed_worker(behind))
        told = requests.get(f"http://127.0.0.1:{behind}/metrics", timeout=20).text
        counted = sum(
            float(n)
            for n in re.findall(r'^captcha_requests_total\{.*status="200".*\} (\S+)$', told, re.M)
        )
        check("gunicorn, /metrics of all workers", f"{counted:.0f} requests answered")
        check("gunicorn, SIGTERM", asyncio.run(stopping(behind, known, server)))


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    args = console.parser(__doc__, SAMPLE_CONFIG).parse_args(argv)
    return exit_code(lambda: run(args.config))


if __name__ == "__main__":
    sys.exit(main())
