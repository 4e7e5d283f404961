"""Machines for the trials, each with gunicorn and its model, and nginx in front of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from bench.lib.namespaces import Namespace
from bench.lib.nginx import DEBIAN_NGINX
from bench.lib.servers import deployed_environment
from cnnlib.errors import CaptchaError
from cnnlib.networks.model_folder import ModelFolder
from cnnlib.paths import PROJECT_ROOT

CONFIG = "conf/pretrained_config.json"
ADDRESSES, PORT = ("192.0.2.11", "192.0.2.12"), 6000  # of nginx-upstream.conf
LOG_OF_SITE = "/var/log/nginx/cnn_captcha.log"
READY_S = 60.0


class Machine(Namespace):
    """A machine with a model folder and gunicorn."""

    def __init__(self, address: str, folder: Path, model: ModelFolder, workers: int) -> None:
        super().__init__(address)
        self._folder, self._workers = folder, workers
        folder.mkdir()
        self.model = ModelFolder(str(folder / "model"))
        self.model.full.mkdir()
        self.model.adopt(model)
        values = json.loads((PROJECT_ROOT / CONFIG).read_text(encoding="utf-8"))
        values["model_save_dir"] = str(self.model.full)
        (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
        self._gunicorn: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        app = f"webserver_recognize_api:create_app({str(self._folder / 'config.json')!r}, False)"
        with (self._folder / "log").open("ab") as log:
            self._gunicorn = subprocess.Popen(
                [*self.inside, sys.executable, "-m", "gunicorn"]
                + ["-c", "deploy/gunicorn.conf.py", "--workers", str(self._workers)]
                + ["--bind", f"{self.address}:{PORT}", app],
                cwd=PROJECT_ROOT,
                env={**os.environ, **deployed_environment(), "TMPDIR": str(self._folder)},
                stdout=log,
                stderr=log,
            )

    def wait_until_ready(self) -> None:
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            with suppress(OSError, HTTPException):
                if self._get("/health/ready")[0] == 200:
                    return
            time.sleep(0.2)
        raise CaptchaError(f"{self.address} does not become ready: {self.last_lines()}")

    def steps(self) -> set[int]:
        """Return the steps of the models that its workers serve."""
        return {json.loads(self._get("/models")[1])["models"][0]["step"] for _ in range(20)}

    def _get(self, path: str) -> tuple[int, bytes]:
        with closing(HTTPConnection(self.address, PORT, timeout=10)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def kill(self) -> None:
        super().kill()
        if self._gunicorn:
            self._gunicorn.wait()

    def stop(self) -> None:
        """End gunicorn as a restart does."""
        assert self._gunicorn, "it was started"
        self._gunicorn.terminate()
        code = self._gunicorn.wait(30)
        if code:
            raise CaptchaError(f"{self.address}: exit code {code} after SIGTERM")

    def last_lines(self) -> str:
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")[-800:]


@contextmanager
def nginx(folder: Path) -> Iterator[Path]:
    """Run nginx with both files of deploy/ as they say; yield its log."""
    folder.mkdir()
    log = folder / "log"
    site = (PROJECT_ROOT / "deploy/nginx.conf").read_text(encoding="utf-8")
    upstream = (PROJECT_ROOT / "deploy/nginx-upstream.conf").read_text(encoding="utf-8")
    command = ["sed", "/^upstream/,/^}/d"]  # as nginx-upstream.conf says
    rest = subprocess.run(command, input=site, capture_output=True, text=True, check=True).stdout
    site = upstream.replace(LOG_OF_SITE, str(log)) + rest
    conf = folder / "nginx.conf"
    conf.write_text(
        f"user root;\ndaemon off;\npid {folder}/pid;\nerror_log {folder}/errors;\n"
        "worker_processes 2;\nevents { worker_connections 1024; }\n"
        f"http {{ client_body_temp_path {folder}/body;\n{site}\n}}\n",
        encoding="utf-8",
    )
    program = shutil.which("nginx") or DEBIAN_NGINX
    with subprocess.Popen([program, "-p", str(folder), "-c", str(conf)]) as started:
        try:
            time.sleep(1)
            if started.poll() is not None:
                raise CaptchaError("nginx did not start")
            yield log
        finally:
            started.terminate()
