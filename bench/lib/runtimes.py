"""TensorFlow and onnxruntime compared: what is installed, start, memory, speed, many requests."""

from __future__ import annotations

import importlib.metadata
import io
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from PIL import Image

from bench.lib.load import form, post, wrk
from bench.lib.machine import anonymous_mb
from bench.lib.pages import markdown_table
from bench.lib.servers import API_THREADS, gunicorn, has_gunicorn, waitress
from bench.lib.timing import median_ms, seconds_of
from cnnlib import console
from cnnlib.config import ONNX, TENSORFLOW, load_sample_config
from cnnlib.paths import PROJECT_ROOT
from cnnlib.runtimes import recognizer_of

REQUIREMENTS = {TENSORFLOW: "requirements.txt", ONNX: "requirements-serve.txt"}
RUNS = 3
CONNECTIONS = 16
WARM_UP_S = 2
SOAK_REQUESTS = 20_000
PORT = 6421


def measure_runtimes(
    config_file: str, images: Sequence[bytes], seconds: int
) -> dict[str, dict[str, float]]:
    """Return the figures of each runtime, by their names; what is compared runs in turn."""
    results: dict[str, dict[str, float]] = {
        runtime: {"installed_mb": installed_mb(file)} for runtime, file in REQUIREMENTS.items()
    }
    config = load_sample_config(config_file)
    read = {name: recognizer_of(config.spec, config.model_save_dir, name) for name in REQUIREMENTS}
    times = median_ms(
        *(lambda r=r: r.rec_image(Image.open(io.BytesIO(images[0]))) for r in read.values())
    )
    for runtime, ms in zip(read, times, strict=True):
        results[runtime]["rec_image_ms"] = ms
        read[runtime].close()
    starts: dict[str, list[float]] = {runtime: [] for runtime in REQUIREMENTS}
    rates: dict[str, list[float]] = {runtime: [] for runtime in REQUIREMENTS}
    for _ in range(RUNS):
        for runtime in REQUIREMENTS:
            starts[runtime].append(first_answer_s(config_file, runtime, images[0]))
            if has_gunicorn():
                rates[runtime].append(gunicorn_rate(config_file, runtime, images[0], seconds))
    for runtime, result in results.items():
        result["first_answer_s"] = statistics.median(starts[runtime])
        if rates[runtime]:
            result["gunicorn_16"] = statistics.median(rates[runtime])
        result |= soak(config_file, runtime, images, seconds)
        console.say(f"{runtime}: {result}")
    return results


def installed_mb(requirements: str) -> float:
    """Return the size of all that a requirements file installs, as it is installed here."""
    lines = (PROJECT_ROOT / requirements).read_text(encoding="utf-8").splitlines()
    waiting, size = [Requirement(line) for line in lines if line.strip()], 0
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        found = importlib.metadata.distribution(name)
        files = (Path(str(found.locate_file(file))) for file in found.files or ())
        size += sum(file.stat().st_size for file in files if file.is_file())
        waiting += map(Requirement, found.requires or ())
    return size / 1e6


def api_command(config_file: str, runtime: str) -> list[str]:
    options = ["--config", config_file, "--runtime", runtime, "--port", "0", "--no-save"]
    return ["webserver_recognize_api.py", *options]


def first_answer_s(config_file: str, runtime: str, image: bytes) -> float:
    """Return the time from the start of the process to its first answer."""
    with waitress(*api_command(config_file, runtime)) as server:
        return server.start_s + seconds_of(lambda: post(server.url, form(image)))


def gunicorn_rate(config_file: str, runtime: str, image: bytes, seconds: int) -> float:
    api = f"webserver_recognize_api:create_app({config_file!r}, False, runtime={runtime!r})"
    with gunicorn(api, API_THREADS, PORT) as server:
        wrk(server.url, image, CONNECTIONS, WARM_UP_S)
        return wrk(server.url, image, CONNECTIONS, seconds).rate


def soak(config_file: str, runtime: str, images: Sequence[bytes], seconds: int) -> dict[str, float]:
    """Return the memory of a server after some requests, and by how much more it grew."""
    with waitress(*api_command(config_file, runtime)) as server:
        wrk(server.url, images[0], CONNECTIONS, seconds)
        first_mb, requests = anonymous_mb(server.pid), 0.0
        while requests < SOAK_REQUESTS:
            image = images[int(requests) % len(images)]
            requests += wrk(server.url, image, CONNECTIONS, seconds).rate * seconds
        return {
            "memory_mb": first_mb,
            "soak_requests": requests,
            "soak_growth_mb": anonymous_mb(server.pid) - first_mb,
        }


def table(results: Mapping[str, Mapping[str, float]], language: str) -> str:
    rows = (
        f"| {title} | {' | '.join(text.format(results[name][figure]) for name in REQUIREMENTS)} |"
        for title, figure, text in ROWS[language]
        if figure in results[ONNX]
    )
    return markdown_table(HEADS[language], rows)


HEADS = {"en": "| what | TensorFlow | onnxruntime |", "zh": "| 项目 | TensorFlow | onnxruntime |"}
ROWS: dict[str, Any] = {
    "en": (
        ("installed", "installed_mb", "{:,.0f} MB"),
        ("first answer after the start of the process", "first_answer_s", "{:.1f} s"),
        ("memory of a server of its own", "memory_mb", "{:.0f} MB"),
        ("`rec_image` of an opened PNG", "rec_image_ms", "{:.2f} ms"),
        ("gunicorn, 16 connections", "gunicorn_16", "{:,.0f} a second"),
        ("growth over 20,000 requests", "soak_growth_mb", "{:.1f} MB"),
    ),
    "zh": (
        ("安装后的大小", "installed_mb", "{:,.0f} MB"),
        ("从进程启动到首个结果", "first_answer_s", "{:.1f} 秒"),
        ("服务进程自身占用的内存", "memory_mb", "{:.0f} MB"),
        ("对打开的 PNG 调用 `rec_image`", "rec_image_ms", "{:.2f} 毫秒"),
        ("gunicorn，16 个连接", "gunicorn_16", "每秒 {:,.0f} 次"),
        ("20,000 次请求后的增长", "soak_growth_mb", "{:.1f} MB"),
    ),
}
