"""Measure how long the recognition API takes.

    python3 recognize_time_test.py [IMAGE or FOLDER ...] [--times N] [--duration SECONDS]
                                   [--concurrency K] [--raw]
                                   [--config conf/sample_config.json] [--api-url URL]
                                   [--runtime auto|tensorflow|onnx]

Asks about the images named, one after another, again and again; else about one of test_image_dir
chosen by chance. Prints for each request its number, the answer, the clock, and the time in all, of
the recognition and of the rest; at the end means, percentiles, failures and requests a second.
Writes to the project's folder test.csv, test.png, a box plot, and test_over_time.png, each request
at its time. Exit code 1 where a request failed. Ctrl-C ends it early, with what was measured so far
(exit code 130).
webserver_recognize_api.py must be running; with --runtime auto, tensorflow or onnx this program
recognises by itself, and measures that.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from cnnlib import console, plots
from cnnlib.client.load_test import TIMES, LoadReport, Trial, load_test, summarize, write_csv
from cnnlib.config import RUNTIME_NAMES, SAMPLE_CONFIG, load_sample_config
from cnnlib.dataset.folders import image_files, random_image
from cnnlib.errors import MissingPackageError
from cnnlib.files import read_bytes
from cnnlib.in_process import InProcess
from cnnlib.paths import resolve_input_path

DEFAULT_TIMES = 1000


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    config = load_sample_config(args.config, api_url=args.api_url, runtime=args.runtime)
    paths = image_files(args.images or [random_image(config.test_image_dir)])
    images = [read_bytes(path) for path in paths]
    times = args.times or (None if args.duration else DEFAULT_TIMES)
    duration_s = args.duration or math.inf
    running = load_test(
        config.api_url,
        images,
        times,
        args.concurrency,
        duration_s=duration_s,
        raw=args.raw,
        asked=InProcess(config) if args.runtime else None,
    )
    trials: list[Trial] = []
    interrupted = False
    try:
        for trial in console.progress(running, "asking", times, "request"):
            trials.append(trial)
            show(trial)
    except KeyboardInterrupt:
        interrupted = True
        console.warn("interrupted; what was measured so far:")
    if not trials:
        return console.EXIT_INTERRUPTED
    report = summarize(trials)
    show_report(report)
    write_csv(trials, config.root / "test.csv")
    console.say(f"written: {config.root / 'test.csv'}")
    if report.answered:
        try:
            draw(trials, config.root, f"{report.answered} requests, {args.concurrency} at a time")
        except MissingPackageError as error:  # as where requirements-serve.txt alone is installed
            console.warn(f"no pictures: {error}")
    return console.EXIT_INTERRUPTED if interrupted else int(report.failed > 0)


def _parser() -> argparse.ArgumentParser:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument("images", nargs="*", type=resolve_input_path, metavar="IMAGE")
    parser.add_argument(
        "--times",
        type=console.at_least_one,
        metavar="N",
        help=f"requests (default: {DEFAULT_TIMES}, with --duration as many as it takes)",
    )
    parser.add_argument(
        "--duration", type=console.at_least_one, metavar="SECONDS", help="ask for this long"
    )
    parser.add_argument(
        "--concurrency",
        type=console.at_least_one,
        default=1,
        metavar="K",
        help="requests at a time (default: 1)",
    )
    parser.add_argument("--raw", action="store_true", help="send bytes instead of a form")
    parser.add_argument("--api-url", metavar="URL", help="address of the API")
    console.add_runtime(parser, RUNTIME_NAMES, "recognise in this process, without the API")
    return parser


def show(trial: Trial) -> None:
    if trial.answer is None:
        console.warn(f"{trial.index}: {trial.failure}")
        return
    answer = trial.answer
    total_ms, recognize_ms = round(answer.total_ms), round(answer.recognize_ms)
    line = console.time_test_line(
        trial.index, answer.value, trial.clock, total_ms, recognize_ms, total_ms - recognize_ms
    )
    console.say(line)


def show_report(report: LoadReport) -> None:
    console.say(
        f"{report.answered} answered, {report.failed} failed, "
        f"{report.requests_per_s:.1f} requests a second"
    )
    columns = ("mean", "50 %", "90 %", "95 %", "99 %")
    console.say(f"{'ms':14}" + "".join(f"{name:>9}" for name in columns))
    for name, times in report.times.items():
        figures = (times.mean, times.p50, times.p90, times.p95, times.p99)
        console.say(f"{name:14}" + "".join(f"{figure:9.1f}" for figure in figures))


def draw(trials: Sequence[Trial], folder: Path, title: str) -> None:
    answered = [(trial.began_s, trial.answer) for trial in trials if trial.answer]
    plots.box_plot(
        {name: [getattr(answer, name) for _, answer in answered] for name in TIMES},
        folder / "test.png",
        title=title,
        unit="ms",
    )
    first_s = min(began_s for began_s, _ in answered)
    plots.dot_plot(
        [began_s - first_s for began_s, _ in answered],
        [answer.total_ms for _, answer in answered],
        folder / "test_over_time.png",
        title=title,
        x_label="seconds since the first request",
        y_label="total_ms",
    )
    for name in ("test.png", "test_over_time.png"):
        console.say(f"written: {folder / name}")


if __name__ == "__main__":
    sys.exit(main())
