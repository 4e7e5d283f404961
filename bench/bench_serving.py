"""Measure the recognition API: in the process, over HTTP, under load, over many requests.

    python3 bench/bench_serving.py [--config conf/sample_config.json] [--seconds 5]
                                   [--only process http soak others]

Needs a trained model, and for all but `process` the load generator wrk (Debian: apt install wrk);
gunicorn, and nginx before it, are measured where they are installed. Servers run in the environment
that deploy/cnn_captcha.service gives them. Each figure is the median of five runs; what is compared
runs in turn. Nothing else should run beside it. Writes bench/serving_results.json and the tables in
README.md and README.zh-CN.md; parts that are not measured again keep their figures.
"""

import http.client
import io
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image

from bench.bench_pipeline import anonymous_mb
from bench.demo_results import replace_between_markers
from bench.nginx import nginx
from bench.practice import drawn_files
from cnnlib import console, encoding
from cnnlib.architectures import TrainableWeights, cost
from cnnlib.config import (
    PROJECT_ROOT,
    SAMPLE_CONFIG,
    SampleConfig,
    load_sample_config,
    read_json,
)
from cnnlib.errors import CaptchaError
from cnnlib.files import replacing
from cnnlib.network import CNN, session_options
from cnnlib.recognizer import Recognizer

RUNS = 5
CALLS = 200
MANY = 500  # images in a call of predict
SOAK = 20_000  # requests
PARTS = ("process", "http", "soak", "others")
RESULTS = PROJECT_ROOT / "bench" / "serving_results.json"
MARKER = "serving results"
Results = dict[str, float]
TABLES = {
    "README.md": ("| what | measured |", (
        ("`rec_image` of an opened PNG", "{rec_image_ms:.2f} ms: decoding {decoding_ms:.2f}, "
         "feeding {feeding_ms:.2f}, {mflop:.0f} MFLOP forward {forward_ms:.2f}; with the graph as "
         "it was trained {unfrozen_ms:.2f} ms"),
        ("`predict` on 500 images", "{predict_rate:,.0f} a second, {predict_share:.0%} of the "
         "matrix product's peak; decoding included {predict_decoding_share:.0%} of that"),
        ("start", "{start_s:.1f} s until it listens, the first answer {first_ms:.0f} ms later"),
        ("one client, connection kept", "{one_client_ms:.1f} ms"),
        ("waitress, 16 connections", "{waitress_16:,.0f} a second, {waitress_share:.0%} of an "
         "empty route that reads the upload; 99 % within {waitress_16_p99_ms:.0f} ms"),
        ("waitress, 160 connections", "{waitress_160:,.0f} a second; 99 % within "
         "{waitress_160_p99_ms:.0f} ms"),
        ("gunicorn, 16 connections", "{gunicorn_16:,.0f} a second, {gunicorn_share:.0%} of an "
         "empty route; 99 % within {gunicorn_16_p99_ms:.0f} ms"),
        ("gunicorn, 160 connections", "{gunicorn_160:,.0f} a second; 99 % within "
         "{gunicorn_160_p99_ms:.0f} ms"),
        ("nginx before gunicorn", "{nginx_16:,.0f} a second with 16 connections, {nginx_160:,.0f} "
         "with 160; 99 % within {nginx_16_p99_ms:.0f} and {nginx_160_p99_ms:.0f} ms"),
        ("gunicorn, each image recognised alone", "{gunicorn_alone_16:,.0f} a second with 16 "
         "connections, {gunicorn_alone_160:,.0f} with 160"),
        ("waitress, {soak:,.0f} requests in a row", "{soak_mb:.0f} MB of memory of its own, grown "
         "by {growth_mb:.1f} MB; 99 % within {soak_first_p99_ms:.0f} ms first, "
         "{soak_last_p99_ms:.0f} ms last"),
        ("ddddocr on the same images", "{ddddocr_ms:.1f} ms, {ddddocr_right:.1%} right; ours "
         "{ours_ms:.1f} ms, {ours_right:.1%}"))),
    "README.zh-CN.md": ("| 项目 | 实测 |", (
        ("对打开的 PNG 调用 `rec_image`", "{rec_image_ms:.2f} 毫秒：解码 {decoding_ms:.2f}，"
         "输入 {feeding_ms:.2f}，{mflop:.0f} MFLOP 前向计算 {forward_ms:.2f}；用训练时的计算图为 "
         "{unfrozen_ms:.2f} 毫秒"),
        ("对 500 张图片调用 `predict`", "每秒 {predict_rate:,.0f} 张，为矩阵乘法峰值的 "
         "{predict_share:.0%}；计入解码时，速度为前者的 {predict_decoding_share:.0%}"),
        ("启动", "{start_s:.1f} 秒后开始监听，再过 {first_ms:.0f} 毫秒得到第一个结果"),
        ("一个客户端，保持连接", "{one_client_ms:.1f} 毫秒"),
        ("waitress，16 个连接", "每秒 {waitress_16:,.0f} 次，为只读取上传内容的空路由的 "
         "{waitress_share:.0%}；99 % 在 {waitress_16_p99_ms:.0f} 毫秒内"),
        ("waitress，160 个连接", "每秒 {waitress_160:,.0f} 次；99 % 在 "
         "{waitress_160_p99_ms:.0f} 毫秒内"),
        ("gunicorn，16 个连接", "每秒 {gunicorn_16:,.0f} 次，为空路由的 {gunicorn_share:.0%}；"
         "99 % 在 {gunicorn_16_p99_ms:.0f} 毫秒内"),
        ("gunicorn，160 个连接", "每秒 {gunicorn_160:,.0f} 次；99 % 在 "
         "{gunicorn_160_p99_ms:.0f} 毫秒内"),
        ("nginx 在 gunicorn 之前", "16 个连接每秒 {nginx_16:,.0f} 次，160 个连接每秒 "
         "{nginx_160:,.0f} 次；99 % 在 {nginx_16_p99_ms:.0f} 和 {nginx_160_p99_ms:.0f} 毫秒内"),
        ("gunicorn，每张图片单独识别", "16 个连接每秒 {gunicorn_alone_16:,.0f} 次，160 个连接每秒 "
         "{gunicorn_alone_160:,.0f} 次"),
        ("waitress，连续 {soak:,.0f} 次请求",
         "进程自身占用内存 {soak_mb:.0f} MB，增长 {growth_mb:.1f} MB；"
         "99 % 开始时在 {soak_first_p99_ms:.0f} 毫秒内，最后在 {soak_last_p99_ms:.0f} 毫秒内"),
        ("ddddocr 识别同样的图片", "{ddddocr_ms:.1f} 毫秒，{ddddocr_right:.1%} 正确；本项目 "
         "{ours_ms:.1f} 毫秒，{ours_right:.1%}"))),
}


class Unfrozen(CNN):
    """The network as trained: variables, batch norm not folded, no constants."""

    def __init__(self, config: SampleConfig, recognizer: Recognizer) -> None:
        super().__init__(config.image_height, config.image_width, config.max_captcha,
                         config.char_set, config.model_save_dir, network=recognizer.network,
                         min_captcha=config.min_captcha, image_channels=config.image_channels,
                         resize=config.resize)
        self.model()
        with self.graph.as_default():
            self._answers = tf.argmax(self.logits, axis=-1)
            self._session = tf.Session(config=session_options())
            tf.train.Saver().restore(self._session,
                                     str(self.folder.full / recognizer.info.best))

    def weights(self) -> TrainableWeights:
        return TrainableWeights(self.training, self.keep_prob)

    def rec_image(self, image: Image.Image) -> str:
        pixels = self.format.pixels(image)
        [ids] = self._session.run(self._answers, {self.X: pixels[np.newaxis]})
        return encoding.ids_to_label(ids, self.char_set)


def median_ms(*calls: Callable[[], object]) -> list[float]:
    """Return the median time of each call; they run in turn, so that noise meets all of them."""
    runs: list[list[float]] = [[] for _ in calls]
    for _ in range(RUNS):
        for call, times in zip(calls, runs, strict=True):
            single = []
            for _ in range(CALLS):
                began = time.perf_counter()
                call()
                single.append(time.perf_counter() - began)
            times.append(statistics.median(single))
    return [statistics.median(times) * 1000 for times in runs]


def measure_process(config: SampleConfig, images: Sequence[bytes]) -> Results:
    recognizer = Recognizer.from_config(config)
    unfrozen = Unfrozen(config, recognizer)
    pixels = np.stack([recognizer.format.read(data) for data in images])
    with tf.Graph().as_default(), tf.Session(config=session_options()) as session:
        fed = tf.placeholder(tf.uint8, [None, *pixels.shape[1:]])
        first = fed[0, 0, 0]
        whole, old, decoding, feeding, forward = median_ms(
            lambda: recognizer.rec_image(Image.open(io.BytesIO(images[0]))),
            lambda: unfrozen.rec_image(Image.open(io.BytesIO(images[0]))),
            lambda: recognizer.pixels_of(Image.open(io.BytesIO(images[0]))),
            lambda: session.run(first, {fed: pixels[:1]}),
            lambda: recognizer.probabilities(pixels[:1]))
    needs = cost(recognizer.network, config.image_height, config.image_width, config.max_captcha,
                 recognizer.classes, config.image_channels).flop
    peak = float(subprocess.run(  # the recogniser's session has given this process one thread
        [sys.executable, "-c", "from bench import bench_training as b; print(b.matrix_peak())"],
        capture_output=True, text=True, check=True, cwd=PROJECT_ROOT).stdout)
    rates = []
    for call in (lambda: recognizer.predict_pixels(pixels),
                 lambda: recognizer.predict([Image.open(io.BytesIO(data)) for data in images])):
        seconds = []
        for _ in range(RUNS):
            began = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - began)
        rates.append(len(images) / statistics.median(seconds))
    return {"rec_image_ms": whole, "decoding_ms": decoding, "feeding_ms": feeding,
            "forward_ms": forward - feeding, "unfrozen_ms": old, "mflop": needs / 1e6,
            "predict_rate": rates[0], "predict_share": needs * rates[0] / peak,
            "predict_decoding_share": rates[1] / rates[0]}


@contextmanager
def running(*command: str, ready: str = "listening on") -> Iterator[tuple[str, int, float]]:
    """Start a server; give its address, its process id, and the seconds it took to be ready."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=PROJECT_ROOT) as process:
        assert process.stdout
        line = process.stdout.readline()
        if ready not in line:
            log.seek(0)
            raise CaptchaError(f"{' '.join(command)} did not start: {log.read()[-500:]}")
        try:
            yield line.split()[-1], process.pid, time.perf_counter() - began
        finally:
            process.terminate()


@contextmanager
def gunicorn(application: str, threads: int, port: int) -> Iterator[tuple[str, int, float]]:
    """Start gunicorn with the project's settings, as `running` does."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "--threads",
             str(threads), "--bind", f"127.0.0.1:{port}", application],
            stderr=log, cwd=PROJECT_ROOT) as process:
        url = f"http://127.0.0.1:{port}/b"
        try:
            while True:
                try:
                    post(url, b"")
                    break
                except OSError:
                    if process.poll() is not None:
                        log.seek(0)
                        raise CaptchaError(f"gunicorn did not start: {log.read()[-500:]}") from None
                    time.sleep(0.1)
            time.sleep(3)  # the other workers
            yield url, process.pid, time.perf_counter() - began
        finally:
            process.terminate()


@contextmanager
def behind_nginx(application: str, port: int) -> Iterator[tuple[str, int, float]]:
    """Start gunicorn on a port, and nginx before it on the next, as `running` does."""
    with gunicorn(application, 288, port) as (_, pid, start_s), \
            tempfile.TemporaryDirectory() as folder, \
            subprocess.Popen(nginx(Path(folder), port + 1, port)) as process:
        time.sleep(1)
        try:
            yield f"http://127.0.0.1:{port + 1}/b", pid, start_s
        finally:
            process.terminate()


BOUNDARY = "captcha"


def form(image: bytes) -> bytes:
    head = (f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image_file"; '
            'filename="x.png"\r\nContent-Type: image/png\r\n\r\n')
    return head.encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()


HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def post(url: str, body: bytes, connection: http.client.HTTPConnection | None = None) -> bytes:
    host, path = url.removeprefix("http://").split("/", 1)
    own = connection or http.client.HTTPConnection(host, timeout=20)
    own.request("POST", f"/{path}", body, HEADERS)
    return own.getresponse().read()


def one_client_ms(url: str, image: bytes) -> float:
    connection = http.client.HTTPConnection(url.removeprefix("http://").split("/")[0], timeout=20)
    body = form(image)
    return median_ms(lambda: post(url, body, connection))[0]


def wrk(url: str, image: bytes, connections: int, seconds: int) -> tuple[float, float, int]:
    """Return answered requests a second, the 99th percentile in ms, and how many were refused."""
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder) / "body", Path(folder) / "post.lua"
        body.write_bytes(form(image))
        script.write_text(
            f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "{HEADERS["Content-Type"]}"\n'
            f'wrk.body = io.open("{body}", "rb"):read("*a")\n', encoding="utf-8")
        printed = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script, url],
            capture_output=True, text=True, check=True).stdout
    total = int(re.search(r"(\d+) requests in", printed)[1])  # type: ignore[index]
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", printed)
    wrong = int(refused[1]) if refused else 0
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", printed).groups()  # type: ignore
    return ((total - wrong) / seconds, float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit],
            wrong)


def measure_http(config_file: str, images: Sequence[bytes], seconds: int) -> Results:
    results: Results = {}
    api = [sys.executable, "webserver_recognize_api.py", "--config", config_file, "--port", "0",
           "--no-save"]
    application = f"webserver_recognize_api:create_app({config_file!r}, False)"
    alone = f"webserver_recognize_api:create_app({config_file!r}, False, together=1)"
    with running(*api) as (url, _, start_s):
        began = time.perf_counter()
        post(url, form(images[0]))
        results["start_s"] = start_s
        results["first_ms"] = (time.perf_counter() - began) * 1000
        results["one_client_ms"] = one_client_ms(url, images[0])
    servers: dict[str, Callable[[], AbstractContextManager[tuple[str, int, float]]]] = {
        "waitress_empty": lambda: running(sys.executable, "bench/empty_app.py", "0"),
        "waitress": lambda: running(*api)}
    if shutil.which("gunicorn") or (Path(sys.executable).parent / "gunicorn").exists():
        servers |= {
            "gunicorn_empty": lambda: gunicorn("bench.empty_app:create_app()", 8, 6401),
            "gunicorn": lambda: gunicorn(application, 288, 6402),
            "gunicorn_alone": lambda: gunicorn(alone, 288, 6403)}
        if shutil.which("nginx") or Path("/usr/sbin/nginx").exists():
            servers["nginx"] = lambda: behind_nginx(application, 6404)
    for name, start in servers.items():
        with start() as (url, _, _):
            url = url if url.endswith("/b") else f"{url}/b"
            wrk(url, images[0], 16, 2)
            for connections in (16, 160):
                runs = [wrk(url, images[0], connections, seconds) for _ in range(RUNS)]
                rate, p99, refused = (statistics.median(column) for column in
                                      zip(*runs, strict=True))
                results |= {f"{name}_{connections}": rate, f"{name}_{connections}_p99_ms": p99,
                            f"{name}_{connections}_refused": refused}
                console.say(f"{name}, {connections} connections: {rate:.0f} answers a second, "
                            f"99 % within {p99:.0f} ms, {refused:.0f} refused")
    for name in ("waitress", "gunicorn"):
        if f"{name}_16" in results:
            results[f"{name}_share"] = results[f"{name}_16"] / results[f"{name}_empty_16"]
    return results


def deployed_environment() -> dict[str, str]:
    unit = (PROJECT_ROOT / "deploy/cnn_captcha.service").read_text(encoding="utf-8")
    return dict(re.findall(r"^Environment=(\w+)=(.*)$", unit, re.M))


def measure_soak(config_file: str, images: Sequence[bytes]) -> Results:
    with running(sys.executable, "webserver_recognize_api.py", "--config", config_file, "--port",
                 "0", "--no-save") as (url, pid, _):
        wrk(url, images[0], 16, 5)
        warm_mb = anonymous_mb(pid)
        done, slowest = 0.0, []
        while done < SOAK:
            rate, p99, _ = wrk(url, images[int(done) % len(images)], 16, 5)
            done += rate * 5
            slowest.append(p99)
            console.say(f"soak, {done:.0f} requests: {anonymous_mb(pid):.1f} MB, "
                        f"99 % within {p99:.0f} ms")
        return {"soak": done, "soak_mb": warm_mb, "growth_mb": anonymous_mb(pid) - warm_mb,
                "soak_first_p99_ms": slowest[0], "soak_last_p99_ms": slowest[-1]}


def measure_others(images: Sequence[bytes], labels: Sequence[str],
                   config: SampleConfig) -> Results:
    try:
        import ddddocr
    except ImportError:
        console.say("ddddocr is not installed: not compared")
        return {}
    recognizer = Recognizer.from_config(config)
    other = ddddocr.DdddOcr(show_ad=False)
    results: Results = {}
    for name, read in (("ddddocr", other.classification),
                       ("ours", lambda data: recognizer.rec_image(Image.open(io.BytesIO(data))))):
        began = time.perf_counter()
        right = sum(str(read(data)).lower() == label
                    for data, label in zip(images, labels, strict=True))
        results[f"{name}_ms"] = (time.perf_counter() - began) * 1000 / len(images)
        results[f"{name}_right"] = right / len(images)
    return results


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument("--seconds", type=console.at_least_one, default=5, metavar="N",
                        help="of each run of wrk (default: 5)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    args = parser.parse_args(argv)
    config = load_sample_config(args.config)
    labels, images = drawn_files(config, MANY)
    os.environ |= deployed_environment()
    results: Results = read_json(RESULTS) if RESULTS.exists() else {}
    if "process" in args.only:
        results |= measure_process(config, images)
    if set(args.only) & {"http", "soak"} and not shutil.which("wrk"):
        raise CaptchaError("wrk is not installed: apt install wrk, or --only process others")
    if "http" in args.only:
        results |= measure_http(args.config, images, args.seconds)
    if "soak" in args.only:
        results |= measure_soak(args.config, images)
    if "others" in args.only:
        results |= measure_others(images, labels, config)
    with replacing(RESULTS) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for page, (head, rows) in TABLES.items():
        replace_between_markers(PROJECT_ROOT / page, MARKER, table(head, rows, results))
    console.say(table(*TABLES["README.md"], results))
    return 0


def table(head: str, rows: Sequence[tuple[str, str]], results: Results) -> str:
    """Return the rows whose figures are all there, as a Markdown table."""
    lines = [head, "|---|---|"]
    for title, text in rows:
        with suppress(KeyError):
            lines.append(f"| {title.format(**results)} | {text.format(**results)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
