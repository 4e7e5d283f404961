"""Ask a real Prometheus about everything that the dashboard shows.

    python3 tests/trials/run_prometheus.py [--seconds N]

Checks deploy/prometheus.yml with promtool; then starts the API twice, with the ready model under
gunicorn, and Prometheus with that file, but for the addresses and the interval. Sends requests for
N seconds (default: 20), good ones and bad ones, and asks Prometheus for each expression of
deploy/grafana-dashboard.json, and for the values of its variables. All must have data, and both
instances must be in it. What Prometheus has counted must be what was sent. Needs gunicorn and
Prometheus with promtool (Debian: apt install prometheus). Takes a minute. Exit code 1 if anything
fails.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import requests

from bench.lib.practice import drawn_files
from bench.lib.servers import deployed_environment
from cnnlib import console
from cnnlib.config import load_sample_config
from cnnlib.errors import CaptchaError
from cnnlib.paths import PROJECT_ROOT
from tests.trials.lib.outcome import exit_code
from tests.trials.lib.ports import free_port

CONFIG = "conf/pretrained_config.json"
SCRAPE = PROJECT_ROOT / "deploy/prometheus.yml"
DASHBOARD = PROJECT_ROOT / "deploy/grafana-dashboard.json"
TARGET, INTERVAL = r"\d+\.\d+\.\d+\.\d+:\d+", r"(scrape_interval:) \w+"  # in that file
INSTANCES = 2
# What Grafana puts in the place of its variables.
GRAFANA = {"$__rate_interval": "10s", "$instance": ".*"}
VARIABLE = 'up{job="cnn_captcha"}'  # whose label values it offers
IMAGES, KEPT = 20, 1  # the images that are not kept have a metric, too
READY_S = 60.0


@contextmanager
def server(command: Sequence[str], url: str, folder: Path) -> Iterator[None]:
    """Start a server, and wait until it is ready."""
    environment = {**os.environ, **deployed_environment(), "TMPDIR": str(folder)}
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command, cwd=PROJECT_ROOT, env=environment, stdout=log, stderr=log
        ) as started,
    ):
        try:
            wait_until_ready(url, started)
            yield
        except CaptchaError as error:
            log.seek(0)
            raise CaptchaError(f"{error}\n{log.read()[-800:].decode()}") from error
        finally:
            started.terminate()


def wait_until_ready(url: str, started: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until and started.poll() is None:
        try:
            if requests.get(url, timeout=10).status_code == 200:
                return
        except requests.RequestException:
            pass
        time.sleep(0.2)
    raise CaptchaError(f"{url} does not become ready")


def api_command(port: int, folder: Path) -> list[str]:
    folder.mkdir()
    values = json.loads((PROJECT_ROOT / CONFIG).read_text(encoding="utf-8"))
    values |= {"api_image_dir": str(folder / "kept"), "api_image_limit": KEPT}
    config = folder / "config.json"
    config.write_text(json.dumps(values), encoding="utf-8")
    command = [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py"]
    app = f"webserver_recognize_api:create_app({str(config)!r})"
    return [*command, "--bind", f"127.0.0.1:{port}", app]


def prometheus_command(port: int, asked: Sequence[int], folder: Path) -> list[str]:
    """Return what starts Prometheus, with the project's file but for addresses and interval."""
    addresses = iter(asked)
    text = re.sub(INTERVAL, r"\1 1s", SCRAPE.read_text(encoding="utf-8"))
    text, found = re.subn(TARGET, lambda _: f"127.0.0.1:{next(addresses)}", text)
    if found != len(asked):
        raise CaptchaError(f"{SCRAPE} has {found} addresses, not {len(asked)}")
    config = folder / "prometheus.yml"
    config.write_text(text, encoding="utf-8")
    address = f"--web.listen-address=127.0.0.1:{port}"
    return ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data", address]


def send(urls: Sequence[str], seconds: float) -> Counter[tuple[str, int]]:
    """Send good and bad requests in turn; return how many had each model and status."""
    images = drawn_files(load_sample_config(CONFIG), IMAGES)[1]
    until, sent = time.monotonic() + seconds, Counter[tuple[str, int]]()
    with requests.Session() as session:
        while time.monotonic() < until:
            for url, (path, model, data) in itertools.product(
                urls,
                (
                    *(("/b", "default", image) for image in images),
                    ("/b", "default", b"not an image"),
                    ("/b/nothing", "-", images[0]),
                ),
            ):
                headers = {"Content-Type": "image/png"}
                answer = session.post(url + path, data, headers=headers, timeout=20)
                sent[model, answer.status_code] += 1
    return sent


def expressions(dashboard: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the title and the expression of each query of the dashboard."""
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def ask(url: str, path: str, **parameters: str) -> Any:
    answer = requests.get(f"{url}/api/v1/{path}", parameters, timeout=20).json()
    if answer["status"] != "success":
        raise CaptchaError(f"{parameters} is an error: {answer.get('error')}")
    return answer["data"]


def values_of(url: str, expression: str) -> list[float]:
    """Return the values of an expression now; raises CaptchaError without any, or one is NaN."""
    for name, value in GRAFANA.items():
        expression = expression.replace(name, value)
    values = [float(row["value"][1]) for row in ask(url, "query", query=expression)["result"]]
    if not values or any(map(math.isnan, values)):
        raise CaptchaError(f"{expression} has no data: {values}")
    return values


def check_dashboard(url: str) -> None:
    queries = list(expressions(json.loads(DASHBOARD.read_text(encoding="utf-8"))))
    for title, expression in queries:
        values = values_of(url, expression)
        console.say(f"{title}: {', '.join(f'{value:.4g}' for value in values)}")
        if "instance)" in expression and len(values) != INSTANCES:
            raise CaptchaError(f"{expression} has {len(values)} instances, not {INSTANCES}")
    found = ask(url, "label/instance/values", **{"match[]": VARIABLE})
    if len(found) != INSTANCES:
        raise CaptchaError(f"the variable of the dashboard has the values {found}")
    console.say(f"{len(queries)} expressions, all with data")


def check_counts(url: str, sent: Counter[tuple[str, int]]) -> None:
    """Raise CaptchaError where Prometheus has counted others than were sent."""
    for (model, status), number in sorted(sent.items()):
        query = f'sum(captcha_requests_total{{model="{model}",status="{status}"}})'
        [counted] = values_of(url, query)
        console.say(f"model {model}, status {status}: {number} sent, {counted:.0f} counted")
        if counted != number:
            raise CaptchaError("Prometheus counts other requests than were sent")


def trial(seconds: float) -> None:
    subprocess.run(["promtool", "check", "config", str(SCRAPE)], check=True)
    *api_ports, port = (free_port() for _ in range(INSTANCES + 1))
    apis = [f"http://127.0.0.1:{api_port}" for api_port in api_ports]
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="prometheus-"))
        folder = Path(name)
        for number, (api, api_port) in enumerate(zip(apis, api_ports, strict=True), 1):
            command = api_command(api_port, folder / f"api-{number}")
            stack.enter_context(server(command, f"{api}/health/ready", folder))
        command = prometheus_command(port, api_ports, folder)
        stack.enter_context(server(command, f"{url}/-/ready", folder))
        sent = send(apis, seconds)
        time.sleep(3)  # until the last request is scraped, and no longer than rates look back
        check_dashboard(url)
        check_counts(url, sent)


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__)
    parser.add_argument("--seconds", type=console.at_least_one, default=20, metavar="N")
    args = parser.parse_args(argv)
    missing = [name for name in ("prometheus", "promtool") if not shutil.which(name)]
    if missing:
        raise CaptchaError(f"{', '.join(missing)} not found: apt install prometheus")
    return exit_code(
        lambda: trial(args.seconds), requests.RequestException, subprocess.SubprocessError
    )


if __name__ == "__main__":
    sys.exit(main())
