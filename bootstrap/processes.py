"""Run other programs: shown as they go on, stopped together with this one."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
SERVER_START_S = 180
STOP_S = 15


class Failed(Exception):
    """A step did not succeed; the message says which one and what to do."""


class Terminated(KeyboardInterrupt):
    """This process alone was told to stop; Ctrl-C on a terminal reaches its children too."""


def interrupt(*_: object) -> None:
    """Handle SIGTERM: what runs is ended in order."""
    raise Terminated


def environment() -> dict[str, str]:
    """Return the user's environment without what would lead Python or pip out of .venv."""
    outside = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX")
    kept = {name: value for name, value in os.environ.items() if name not in outside}
    return {**kept, "PIP_USER": "0", "PYTHONUNBUFFERED": "1"}


def run(command: list[str]) -> int:
    """Run with the terminal passed through and return the exit code."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment())
    try:
        return process.wait()
    except KeyboardInterrupt as reason:
        end(process, reason)
        raise


def run_step(name: str, command: list[str]) -> str:
    """Run a step of the demo, show its output as it comes, and return it."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE)
    assert process.stdout
    lines = []
    try:
        for line in process.stdout:
            show_bytes(line)
            lines.append(line)
        code = process.wait()
    except KeyboardInterrupt as reason:
        end(process, reason)
        raise
    if code:
        raise Failed(
            f"the step '{name}' failed (exit code {code}). To go on, run "
            f"quickstart.py demo again; to repeat only this step:\n  {shown(command)}"
        )
    return b"".join(lines).decode("utf-8", "replace")


@contextlib.contextmanager
def serving(command: list[str], stop_s: float = STOP_S) -> Iterator[str]:
    """Run a server and give the address that it prints; stop it on leaving."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    addresses: Any = queue.Queue()
    reader = threading.Thread(target=_find_address, args=(process.stdout, addresses), daemon=True)
    reader.start()
    try:
        try:
            address = addresses.get(timeout=SERVER_START_S)
        except queue.Empty:
            address = ""
        if not address:
            raise Failed(f"the server did not start; to repeat only this step:\n  {shown(command)}")
        yield address
    finally:
        end(process, Terminated(), stop_s)
        reader.join(stop_s)


def _find_address(stream: IO[bytes], addresses: queue.Queue[str]) -> None:
    """Show a server's output; put the address it listens on, or "" where it ended without one."""
    with stream:
        for line in stream:
            show_bytes(line)
            match = re.search(rb"listening on (http://\S+)", line)
            if match:
                addresses.put(match[1].decode("ascii"))
    addresses.put("")


def end(
    process: subprocess.Popen[bytes], reason: KeyboardInterrupt, patience_s: float = STOP_S
) -> None:
    """Ask a process to stop, where it was not told already; kill it if it does not."""
    told = not isinstance(reason, Terminated)
    for action in (lambda: None, process.terminate, process.kill)[0 if told else 1 :]:
        action()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
            return


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def show_bytes(line: bytes) -> None:
    """Pass a line through untouched: the scripts print UTF-8, whatever this terminal is set to."""
    sys.stdout.flush()
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def shown(command: list[str]) -> str:
    """Return the command as one would type it."""
    return subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)
