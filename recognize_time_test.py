"""Measure how long the recognition API takes.

    python3 recognize_time_test.py [IMAGE] [--times N] [--concurrency K]
                                   [--config conf/sample_config.json] [--api-url URL]

Asks about one image again and again: the one named, else one of test_image_dir chosen by chance.
Prints for each request its number, the answer, the clock, and the time in all, of the recognition
and of the rest; at the end means, percentiles, failures and requests a second. Writes test.csv and
test.png, a box plot, to the project's folder. Exit code 1 where a request failed. Ctrl-C ends it
early, with what was measured so far (exit code 130).
webserver_recognize_api.py must be running.
"""

import sys
from collections.abc import Sequence

from cnnlib import client, console, dataset, plots
from cnnlib.client import LoadReport, Trial
from cnnlib.config import SAMPLE_CONFIG, existing_path, load_sample_config


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument("image", nargs="?", type=existing_path, metavar="IMAGE")
    parser.add_argument("--times", type=console.at_least_one, default=1000, metavar="N",
                        help="requests (default: 1000)")
    parser.add_argument("--concurrency", type=console.at_least_one, default=1, metavar="K",
                        help="requests at a time (default: 1)")
    parser.add_argument("--api-url", metavar="URL", help="address of the API")
    args = parser.parse_args(argv)
    config = load_sample_config(args.config, api_url=args.api_url)
    image = dataset.read_bytes(args.image or dataset.random_image(config.test_image_dir))
    trials: list[Trial] = []
    interrupted = False
    try:
        for trial in console.progress(
                client.load_test(config.api_url, image, args.times, args.concurrency),
                "asking", args.times, "request"):
            trials.append(trial)
            show(trial)
    except KeyboardInterrupt:
        interrupted = True
        console.warn("interrupted; what was measured so far:")
    if not trials:
        return console.EXIT_INTERRUPTED
    report = client.summarize(trials)
    summarize(report)
    client.write_csv(trials, config.root / "test.csv")
    console.say(f"written: {config.root / 'test.csv'}")
    if report.answered:
        plots.box_plot({name: [getattr(t.answer, name) for t in trials if t.answer]
                        for name in client.TIMES}, config.root / "test.png",
                       title=f"{report.answered} requests, {args.concurrency} at a time",
                       unit="ms")
        console.say(f"written: {config.root / 'test.png'}")
    return console.EXIT_INTERRUPTED if interrupted else int(report.failed > 0)


def show(trial: Trial) -> None:
    if trial.answer is None:
        console.warn(f"{trial.index}: {trial.failure}")
        return
    answer = trial.answer
    total_ms, recognize_ms = round(answer.total_ms), round(answer.recognize_ms)
    console.time_test_line(trial.index, answer.value, trial.clock, total_ms, recognize_ms,
                           total_ms - recognize_ms)


def summarize(report: LoadReport) -> None:
    console.say(f"{report.answered} answered, {report.failed} failed, "
                f"{report.requests_per_s:.1f} requests a second")
    console.say(f"{'ms':14}" + "".join(f"{name:>9}" for name in
                                       ("mean", "50 %", "90 %", "95 %", "99 %")))
    for name, times in report.times.items():
        figures = (times.mean, times.p50, times.p90, times.p95, times.p99)
        console.say(f"{name:14}" + "".join(f"{figure:9.1f}" for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
