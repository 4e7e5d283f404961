"""Machines made of this one: network namespaces of Linux, each at the end of a link.

The program that makes them is in a namespace of its own, which holds the switch they are at.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from cnnlib.errors import CaptchaError

FRONT_ADDRESS, NETWORK = "192.0.2.1", 24  # of the program that makes the machines
SWITCH, LINK = "switch", "eth0"  # of that program, and of a machine
INSIDE = "CNN_CAPTCHA_INSIDE"  # set where a program runs in its namespace
PROGRAMS = {"ip": "iproute2", "tc": "iproute2", "unshare": "util-linux"}


def run(*command: str | Path) -> str:
    """Run a command and return what it prints; raises CaptchaError with what it complains of."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CaptchaError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


def move_into_namespace(programs: Mapping[str, str] | None = None) -> None:
    """Start this program once more, in a namespace that ends with it; make the switch there.

    Raises CaptchaError where that cannot be, or one of `programs`, with their packages, is missing.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise CaptchaError("this makes network namespaces: run it as root, on Linux")
    needed = PROGRAMS | dict(programs or {})
    missing = {package for program, package in needed.items() if not shutil.which(program)}
    if missing:
        raise CaptchaError(f"programs are missing: apt install {' '.join(sorted(missing))}")
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", SWITCH, "type", "bridge")
    run("ip", "addr", "add", f"{FRONT_ADDRESS}/{NETWORK}", "dev", SWITCH)
    run("ip", "link", "set", SWITCH, "up")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that all is cleared up


def limit_link(*into: str, device: str, megabits: int) -> str:
    """Limit what a device sends, Mbit/s; return how. `into` runs a command in its namespace."""
    rate = f"{megabits}mbit"
    for words, told in (
        (f"netem delay 250us rate {rate}", f"{megabits} Mbit/s, 0.5 ms there and back"),
        (
            f"tbf rate {rate} burst 128kb latency 50ms",
            f"{megabits} Mbit/s, no delay: the system has no netem",
        ),
    ):
        with suppress(CaptchaError):
            run(*into, "tc", "qdisc", "add", "dev", device, "root", *words.split())
            return told
    return "without a limit: the system has neither netem nor tbf"


class Namespace:
    """A machine with an address, at the end of a link with a limit in Mbit/s; 0 sets none."""

    def __init__(self, address: str, megabits: int = 1000) -> None:
        number = address.rpartition(".")[2]
        self.address, self.name = address, f"captcha-{os.getpid()}-{number}"
        self._megabits = megabits
        self.inside = ("ip", "netns", "exec", self.name)
        self._device = f"to-{number}"

    @contextmanager
    def connected(self) -> Iterator[str]:
        """Make the namespace and its link; yield how the link is limited."""
        run("ip", "netns", "add", self.name)
        try:
            pair = ["type", "veth", "peer", "name", LINK, "netns", self.name]
            run("ip", "link", "add", self._device, "master", SWITCH, *pair)
            run("ip", "link", "set", self._device, "up")
            run(*self.inside, "ip", "addr", "add", f"{self.address}/{NETWORK}", "dev", LINK)
            run(*self.inside, "ip", "link", "set", LINK, "up")
            run(*self.inside, "ip", "link", "set", "lo", "up")
            yield self._limited()
        finally:
            self.kill()
            run("ip", "netns", "delete", self.name)

    def _limited(self) -> str:
        if not self._megabits:
            return "no limit"
        limit_link(device=self._device, megabits=self._megabits)
        return limit_link(*self.inside, device=LINK, megabits=self._megabits)

    def kill(self) -> None:
        """End all that runs on the machine with signal 9."""
        for pid in run("ip", "netns", "pids", self.name).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def set_cable(self, plugged: bool) -> None:
        run(*self.inside, "ip", "link", "set", LINK, "up" if plugged else "down")

    def link_bytes(self) -> int:
        """Return how many bytes went over the link, both ways together."""
        counters = [f"/sys/class/net/{LINK}/statistics/{way}_bytes" for way in ("rx", "tx")]
        return sum(map(int, run(*self.inside, "cat", *counters).split()))
