"""Send damaged requests to the recognition API, and see that none is a fault.

    python3 tests/trials/run_bad_requests.py [--requests N] [--seed N]

Mutates images of every format and bodies of every kind that clients send: bytes changed, cut,
doubled, joined, under other types, fields and compressions. Sends N (100,000) of them, to /b and to
the interfaces of --compat. None may be answered with 500 or more, each refusal must say what was
found, and memory may not grow by more than 5 MB in the second half. Takes some minutes. The exit
code is 1 if anything fails.
"""

import base64
import collections
import ctypes
import gc
import gzip
import json
import os
import random
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from flask.testing import FlaskClient

from bench.lib.image_files import HEIGHT, WIDTH, image_files
from bench.lib.machine import anonymous_mb
from cnnlib import console
from cnnlib.serving.app import create_recognize_app
from cnnlib.serving.service import ServingOptions
from tests.serving.helpers import Named

GROWTH_MB = 5.0
PARTS = 20
PATHS = ("/b", "/b", "/b", "/b?batch=1", "/in.php", "/createTask", "/b/nobody", "/res.php")
FIELDS = ("image_file", "image", "images[]", "file", "body", "picture", "", "\u00e9")
KINDS = (
    "image/png",
    "application/octet-stream",
    "text/plain",
    "application/x-www-form-urlencoded",
    "application/json",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "",
)
ENCODINGS = ("gzip", "deflate", "br", "identity", "x")


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__)
    parser.add_argument("--requests", type=console.at_least_one, default=100_000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    args = parser.parse_args(argv)
    images = [file.data for file in image_files()]
    options = ServingOptions(compat=True)
    app = create_recognize_app({"a": Named("a", WIDTH, HEIGHT), "b": Named("b", 10, 10)}, options)
    with closing(app.extensions["service"]):
        return send(app.test_client(), images, args.requests, random.Random(args.seed))


def send(client: FlaskClient, images: Sequence[bytes], count: int, rng: random.Random) -> int:
    """Send the requests, say how they were answered, and return the exit code."""
    statuses: collections.Counter[int] = collections.Counter()
    memory_mb: list[float] = []
    for number in console.progress(range(count), "sending", count):
        if number % max(1, count // PARTS) == 0:
            memory_mb.append(memory_in_use_mb())
        body, kind, headers = request_of(rng.choice(images), rng)
        path = rng.choice(PATHS)
        answer = client.post(path, data=body, content_type=kind, headers=headers)
        statuses[answer.status_code] += 1
        text = answer.get_data(as_text=True)
        if answer.status_code >= 500 or not text:
            console.warn(f"request {number} to {path} was answered {answer.status_code}: {text}")
            return 1
    told = ", ".join(f"{n} with {status}" for status, n in sorted(statuses.items()))
    console.say(f"{count} requests: {told}")
    console.say(f"memory, MB: {', '.join(f'{mb:.1f}' for mb in memory_mb)}")
    growth_mb = memory_mb[-1] - memory_mb[len(memory_mb) // 2]
    return int(not growth_mb <= GROWTH_MB)


def memory_in_use_mb() -> float:
    """Return the memory of this process without what the system's allocator keeps for later."""
    gc.collect()
    with suppress(AttributeError, OSError):  # not of this system
        ctypes.CDLL(None).malloc_trim(0)
    return anonymous_mb(os.getpid())


def request_of(image: bytes, rng: random.Random) -> tuple[bytes, str, dict[str, str]]:
    """Return body, Content-Type and headers of a request about an image that is mutated or not."""
    image = mutated(image, rng)
    text = base64.b64encode(image).decode()
    field = rng.choice(FIELDS)
    kind = rng.choice(KINDS)
    body = image
    if kind == "application/json":
        value = rng.choice((text, [text, text], {"type": "ImageToTextTask", "body": text}, 7, None))
        body = json.dumps(
            {rng.choice((field, "task")): value, "batch": rng.choice((1, 0))}
        ).encode()
    elif kind.startswith("multipart") and rng.random() < 0.8:
        name = rng.choice(('; filename="x.png"', "", "; filename*=UTF-8''%E9.png"))
        head = f'--x\r\nContent-Disposition: form-data; name="{field}"{name}\r\n\r\n'
        body = head.encode() + rng.choice((image, text.encode())) + b"\r\n--x--\r\n"
    elif rng.random() < 0.5:
        body = rng.choice((text.encode(), f"{field}={text}".encode()))
    headers = {}
    if rng.random() < 0.2:
        headers["Content-Encoding"] = encoding = rng.choice(ENCODINGS)
        body = gzip.compress(body, 1) if encoding == "gzip" else body
    return mutated(body, rng) if rng.random() < 0.3 else body, kind, headers


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return bytes of which some are changed, cut off, doubled or added, or none."""
    changed = bytearray(data)
    for _ in range(rng.choice((0, 1, 3, 20))):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    how = rng.randrange(6)
    if how == 0:
        del changed[rng.randrange(len(changed) + 1) :]
    elif how == 1:
        place = rng.randrange(len(changed) + 1)
        changed[place:place] = rng.randbytes(rng.randrange(40))
    elif how == 2:
        changed *= 2
    return bytes(changed)


if __name__ == "__main__":
    sys.exit(main())
