"""Measure the recognition API: in the process, over HTTP, under load, over many requests.

    python3 bench/bench_serving.py [--config conf/sample_config.json] [--seconds 5]
                                   [--only process http soak others runtimes]

Needs a trained model, and for `http` and `soak` the load generator wrk (Debian: apt install wrk);
gunicorn, and nginx before it, are measured where they are installed. Servers run in the environment
of deploy/cnn_captcha.service. Each figure is the median of five runs; what is compared runs in
turn. Nothing else should run meanwhile. Writes bench/serving_results.json and the tables in
docs/en/results.md and docs/zh/results.md; parts that are not measured keep their figures. All but
`runtimes`, which compares both, recognise with TensorFlow.
"""

import io
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image

from bench.lib import nginx, runtimes
from bench.lib.load import form, one_client_ms, post, wrk
from bench.lib.machine import anonymous_mb
from bench.lib.pages import PAGES, replace_in_pages
from bench.lib.practice import drawn_files
from bench.lib.results import read_results, write_results
from bench.lib.servers import (
    API_THREADS,
    EMPTY_THREADS,
    RunningServer,
    behind_nginx,
    deployed_environment,
    gunicorn,
    has_gunicorn,
    waitress,
)
from bench.lib.serving_tables import table
from bench.lib.timing import RUNS, median_ms, seconds_of
from bench.lib.unfrozen import Unfrozen
from cnnlib import console
from cnnlib.config import SAMPLE_CONFIG, TENSORFLOW, SampleConfig, load_sample_config
from cnnlib.dataset.images import read_pixels
from cnnlib.errors import CaptchaError
from cnnlib.networks.cost import cost
from cnnlib.networks.session import session_options
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.paths import PROJECT_ROOT
from cnnlib.recognizer import Recognizer

RESULTS = PROJECT_ROOT / "bench" / "serving_results.json"
MARKER = "serving results"
RUNTIMES_MARKER = "runtime results"
PARTS = ("process", "http", "soak", "others", "runtimes")
IMAGES = 500  # in a call of predict
CONNECTIONS = (16, 160)
WARM_UP_S = 2
SOAK_REQUESTS = 20_000
SOAK_S = 5  # of each run of wrk meanwhile
PORT = 6401  # the first of those that gunicorn and nginx listen on

Results = dict[str, float]
StartServer = Callable[[], AbstractContextManager[RunningServer]]


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument(
        "--seconds",
        type=console.at_least_one,
        default=5,
        metavar="N",
        help="of each run of wrk (default: 5)",
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    args = parser.parse_args(argv)
    if set(args.only) & {"http", "soak", "runtimes"} and not shutil.which("wrk"):
        raise CaptchaError("wrk is not installed: apt install wrk, or --only process others")
    config = load_sample_config(args.config)
    labels, images = drawn_files(config, IMAGES)
    os.environ |= deployed_environment()
    results: dict[str, Any] = read_results(RESULTS)
    if "process" in args.only:
        results |= measure_process(config, images)
    if "http" in args.only:
        results |= measure_http(args.config, images[0], args.seconds)
    if "soak" in args.only:
        results |= measure_soak(args.config, images)
    if "others" in args.only:
        results |= measure_others(config, images, labels)
    if "runtimes" in args.only:
        results["runtimes"] = runtimes.measure_runtimes(args.config, images, args.seconds)
    write_results(RESULTS, results)
    tables = {language: table(language, results) for language in PAGES}
    replace_in_pages(MARKER, tables)
    console.say(tables["en"])
    if "runtimes" in results:
        compared = {language: runtimes.table(results["runtimes"], language) for language in PAGES}
        replace_in_pages(RUNTIMES_MARKER, compared)
        console.say(compared["en"])
    return 0


# --- in the process ---


def measure_process(config: SampleConfig, images: Sequence[bytes]) -> Results:
    recognizer = Recognizer.from_config(config)
    pixels = np.stack([read_pixels(data, recognizer.spec) for data in images])
    results = measure_parts(recognizer, images[0], pixels[:1])
    flop = cost(recognizer.network, recognizer.spec).flop
    rate, rate_with_decoding = (
        len(images) / statistics.median(seconds_of(call) for _ in range(RUNS))
        for call in (
            lambda: recognizer.predict_pixels(pixels),
            lambda: recognizer.predict(map(opened, images)),
        )
    )
    return results | {
        "mflop": flop / 1e6,
        "predict_rate": rate,
        "predict_share": flop * rate / matrix_peak_of_all_cores(),
        "predict_decoding_share": rate_with_decoding / rate,
    }


def measure_parts(recognizer: Recognizer, image: bytes, pixels: np.ndarray) -> Results:
    """Measure one image, uint8 [1, H, W] or [1, H, W, 3], in parts."""
    unfrozen = Unfrozen(recognizer)
    with tf.Graph().as_default(), tf.Session(config=session_options()) as session:
        fed = tf.placeholder(tf.uint8, [None, *pixels.shape[1:]])
        first = fed[0, 0, 0]
        whole, old, decoding, feeding, forward = median_ms(
            lambda: recognizer.rec_image(opened(image)),
            lambda: unfrozen.rec_image(opened(image)),
            lambda: recognizer.pixels_of(opened(image)),
            lambda: session.run(first, {fed: pixels}),
            lambda: recognizer.probabilities(pixels),
        )
    return {
        "rec_image_ms": whole,
        "decoding_ms": decoding,
        "feeding_ms": feeding,
        "forward_ms": forward - feeding,
        "unfrozen_ms": old,
    }


def opened(image: bytes) -> Image.Image:
    return Image.open(io.BytesIO(image))


def matrix_peak_of_all_cores() -> float:
    """Return the peak in a new process: a recogniser's session gives this one a single thread."""
    code = "from bench.lib.machine import matrix_peak; print(matrix_peak())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT_ROOT
    )
    return float(done.stdout)


# --- over HTTP ---


def api_command(config_file: str) -> list[str]:
    return runtimes.api_command(config_file, TENSORFLOW)


def measure_http(config_file: str, image: bytes, seconds: int) -> Results:
    results = measure_start(config_file, image)
    for name, start in servers(config_file):
        with start() as server:
            results |= measure_load(name, server.url, image, seconds)
    for name in ("waitress", "gunicorn"):
        if f"{name}_16" in results:
            results[f"{name}_share"] = results[f"{name}_16"] / results[f"{name}_empty_16"]
    return results


def measure_start(config_file: str, image: bytes) -> Results:
    with waitress(*api_command(config_file)) as server:
        first_s = seconds_of(lambda: post(server.url, form(image)))
        return {
            "start_s": server.start_s,
            "first_ms": 1000 * first_s,
            "one_client_ms": one_client_ms(server.url, image),
        }


def servers(config_file: str) -> Iterator[tuple[str, StartServer]]:
    """Yield what can be measured on this machine: names, and what starts a server."""
    api = f"webserver_recognize_api:create_app({config_file!r}, False, runtime={TENSORFLOW!r})"
    alone = api.replace(")", ", max_batch_size=1)")
    empty = "bench.lib.empty_app"
    yield "waitress_empty", lambda: waitress("-m", empty, "0")
    yield "waitress", lambda: waitress(*api_command(config_file))
    if has_gunicorn():
        yield "gunicorn_empty", lambda: gunicorn(f"{empty}:create_app()", EMPTY_THREADS, PORT)
        yield "gunicorn", lambda: gunicorn(api, API_THREADS, PORT + 1)
        yield "gunicorn_alone", lambda: gunicorn(alone, API_THREADS, PORT + 2)
        if nginx.is_installed():
            yield "nginx", lambda: behind_nginx(api, PORT + 3)


def measure_load(name: str, url: str, image: bytes, seconds: int) -> Results:
    """Measure a server with few and with many connections; `name` begins the figures' names."""
    results: Results = {}
    wrk(url, image, CONNECTIONS[0], WARM_UP_S)
    for connections in CONNECTIONS:
        loads = [wrk(url, image, connections, seconds) for _ in range(RUNS)]
        rate = statistics.median(load.rate for load in loads)
        p99_ms = statistics.median(load.p99_ms for load in loads)
        refused = statistics.median(load.refused for load in loads)
        results |= {
            f"{name}_{connections}": rate,
            f"{name}_{connections}_p99_ms": p99_ms,
            f"{name}_{connections}_refused": refused,
        }
        console.say(
            f"{name}, {connections} connections: {rate:.0f} answers a second, 99 % within "
            f"{p99_ms:.0f} ms, {refused:.0f} refused"
        )
    return results


def measure_soak(config_file: str, images: Sequence[bytes]) -> Results:
    """Measure whether memory and times grow over many requests.

    oneDNN keeps what it has prepared, some 5 MB for each size of batch in each thread. A server
    without oneDNN, which is slower, shows what grows apart from that.
    """
    results = soak(config_file, images, {})
    plain = soak(config_file, images, {"TF_ENABLE_ONEDNN_OPTS": "0"})
    return results | {"soak_plain_growth_mb": plain["soak_growth_mb"]}


def soak(config_file: str, images: Sequence[bytes], variables: Mapping[str, str]) -> Results:
    with waitress(*api_command(config_file), variables=variables) as server:
        wrk(server.url, images[0], CONNECTIONS[0], SOAK_S)
        warm_mb = anonymous_mb(server.pid)
        requests = 0.0
        p99_ms: list[float] = []
        while requests < SOAK_REQUESTS:
            image = images[int(requests) % len(images)]
            load = wrk(server.url, image, CONNECTIONS[0], SOAK_S)
            requests += load.rate * SOAK_S
            p99_ms.append(load.p99_ms)
            console.say(
                f"soak {dict(variables)}, {requests:.0f} requests: "
                f"{anonymous_mb(server.pid):.1f} MB, 99 % within {load.p99_ms:.0f} ms"
            )
        return {
            "soak": requests,
            "soak_mb": warm_mb,
            "soak_growth_mb": anonymous_mb(server.pid) - warm_mb,
            "soak_first_p99_ms": p99_ms[0],
            "soak_last_p99_ms": p99_ms[-1],
        }


# --- other recognisers ---


def measure_others(config: SampleConfig, images: Sequence[bytes], labels: Sequence[str]) -> Results:
    try:
        import ddddocr  # type: ignore[import-not-found]
    except ImportError:
        console.say("ddddocr is not installed: not compared")
        return {}
    recognizer = Recognizer.from_config(config)
    other = ddddocr.DdddOcr(show_ad=False)
    results: Results = {}
    for name, read in (
        ("ddddocr", other.classification),
        ("ours", lambda data: recognizer.rec_image(opened(data))),
    ):
        began_s = time.perf_counter()
        answers = [str(read(data)).lower() for data in images]
        results[f"{name}_ms"] = (time.perf_counter() - began_s) * 1000 / len(images)
        right = sum(answer == label for answer, label in zip(answers, labels, strict=True))
        results[f"{name}_right"] = right / len(images)
    return results


if __name__ == "__main__":
    sys.exit(main())
