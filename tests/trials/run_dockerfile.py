"""Carry out the steps of deploy/Dockerfile without Docker, in a clean folder.

    sudo .venv/bin/python tests/trials/run_dockerfile.py [--python /usr/bin/python3]
                                                         [--runtime tensorflow] [--read-only]

The project's tracked files are copied as COPY says, pip installs into a virtual environment of
this Python (one that every user may run), RUN is run, the user of USER is made (and removed
afterwards) and runs CMD, with the shipped model in the place of a trained one. HEALTHCHECK must
succeed, a captcha must be answered, and SIGTERM must end it with exit code 0. Port 6000 must be
free. --runtime is the build argument; --read-only mounts the folder so before CMD. Prints how large
the environment is. Takes some minutes, most of them for pip; exit code 1 if anything fails.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from captcha.image import ImageCaptcha

ROOT = Path(__file__).resolve().parents[2]
READY_S = 60
USER = "captcha"
TEXT = "2e8j"


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Return the instructions with what they say, each on one line."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile, flags=re.M).replace("\\\n", " ")
    return [
        (word, rest)
        for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)
    ]


def copy(sources: Sequence[str], app: Path) -> None:
    """Copy tracked files, but for what .dockerignore names."""
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    tracked = subprocess.run(
        ["git", "ls-files", "--", *sources], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    for name in tracked:
        if not any(name == part or name.startswith(f"{part}/") for part in ignored):
            (app / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, app / name)


def carry_out(python: str, app: Path, runtime: str, read_only: bool) -> None:
    """Build as the Dockerfile says, then run what it runs; raises where a step fails."""
    steps = instructions((ROOT / "deploy/Dockerfile").read_text(encoding="utf-8"))
    venv = app.parent / "venv"
    subprocess.run([python, "-m", "venv", venv], check=True)
    env = dict(os.environ, PATH=f"{venv / 'bin'}:{os.environ['PATH']}", HOME=str(app))
    for word, rest in steps:
        print(word, rest, flush=True)
        if word in ("ENV", "ARG"):
            name, _, env[name] = rest.partition("=")
            if word == "ARG":
                env[name] = runtime
        elif word == "COPY":
            copy(rest.split()[:-1], app)
        elif word == "RUN":
            subprocess.run(rest, shell=True, cwd=app, env=env, check=True)
    said = dict(steps)
    size = sum(file.stat().st_size for file in venv.rglob("*") if file.is_file())
    print(f"the environment has {size / 1e6:.0f} MB")
    shutil.copy(app / "conf/pretrained_config.json", app / "conf/sample_config.json")
    with (
        mounted_read_only(app) if read_only else nullcontext(),
        subprocess.Popen(
            json.loads(said["CMD"]),
            cwd=app,
            env=env,
            user=said["USER"],
            group=said["USER"],
            extra_groups=(),
        ) as server,
    ):
        try:
            wait_until_healthy(shlex.split(said["HEALTHCHECK"].partition("CMD")[2]), env, server)
            read = ask(drawn(TEXT))
            print(f"healthy; reads {TEXT} as {read}")
            if len(read) != len(TEXT):
                raise RuntimeError("that is no answer")
        finally:
            server.terminate()
            code = server.wait(30)
    if code:
        raise RuntimeError(f"exit code {code} after SIGTERM")
    print("SIGTERM: exit code 0")


@contextmanager
def mounted_read_only(folder: Path) -> Iterator[None]:
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def drawn(text: str) -> bytes:
    return ImageCaptcha(100, 60).generate(text).getvalue()


def wait_until_healthy(
    command: Sequence[str], env: Mapping[str, str], server: subprocess.Popen[bytes]
) -> None:
    until = time.monotonic() + READY_S
    while subprocess.run(command, env=env, stderr=subprocess.DEVNULL).returncode:
        if time.monotonic() > until or server.poll() is not None:
            raise RuntimeError("the server does not become healthy")
        time.sleep(1)


def ask(image: bytes) -> str:
    request = urllib.request.Request(
        "http://127.0.0.1:6000/b", image, {"Content-Type": "image/png"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return str(json.load(answer)["value"])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", default="/usr/bin/python3", metavar="PROGRAM")
    parser.add_argument("--runtime", default="onnx", choices=("onnx", "tensorflow"))
    parser.add_argument("--read-only", action="store_true")
    args = parser.parse_args()
    if os.geteuid() != 0:
        print("this makes a user: run it as root, on a machine of its own", file=sys.stderr)
        return 2
    with suppress(KeyError):
        pwd.getpwnam(USER)
        print(f"there is a user {USER} already, whom this would remove", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="dockerfile-") as folder:
        Path(folder).chmod(0o755)
        app = Path(folder) / "app"
        app.mkdir()
        try:
            carry_out(args.python, app, args.runtime, args.read_only)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            print(f"failed: {error}", file=sys.stderr)
            return 1
        finally:
            subprocess.run(["userdel", USER], check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
