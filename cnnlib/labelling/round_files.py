"""What a round of training leaves for the page to see: its lock, its phase, its lines, the rounds.

A round is a process of its own (`label_loop.py`), which outlives the page's server.
"""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from cnnlib import locks
from cnnlib.config_reader import read_json
from cnnlib.console import STEP_LINE
from cnnlib.errors import CaptchaError, ConfigError
from cnnlib.files import make_folder, reason, replacing
from cnnlib.networks.model_folder import HISTORY_FILE
from cnnlib.paths import PROJECT_ROOT

CANDIDATE_DIR, LOCK_FILE = "candidate", ".round.lock"
PHASE_FILE, ROUNDS_FILE, LOG_FILE = "phase.json", "rounds.json", "round.log"
SCRIPT = PROJECT_ROOT / "label_loop.py"
LEAST_LABELS = 60  # for a first round
LOG_LINES, LOG_BYTES = 12, 1 << 16  # that the page shows, and that are read for it
START_S = 20.0  # until a round that was started holds its lock


class RoundFiles:
    """The files of a labelling_dir that belong to the rounds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.candidate = folder / CANDIDATE_DIR
        self._process: subprocess.Popen[bytes] | None = None

    # --- for the round ---

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second round off; raises CaptchaError."""
        with ExitStack() as resources:
            try:
                make_folder(self.folder)
                resources.enter_context(locks.locked_file(self.folder / LOCK_FILE))
            except locks.NoLocksError:
                pass
            except BlockingIOError as error:
                raise CaptchaError(
                    f"a round is running in {self.folder}: wait until it has ended, or stop it"
                ) from error
            except OSError as error:
                raise CaptchaError(
                    f"cannot write to {self.folder}: {reason(error)}; make it writable"
                ) from error
            yield

    def note_phase(self, phase: str) -> None:
        self._write(PHASE_FILE, {"phase": phase, "began": time.time(), "pid": os.getpid()})

    def rounds(self) -> list[dict[str, Any]]:
        """Return the rounds that have ended, the first first."""
        file = self.folder / ROUNDS_FILE
        return list(read_json(file)) if file.exists() else []

    def add_round(self, values: dict[str, Any]) -> None:
        self._write(ROUNDS_FILE, [*self.rounds(), values])

    def _write(self, name: str, values: Any) -> None:
        with replacing(self.folder / name) as temporary:
            temporary.write_text(json.dumps(values, ensure_ascii=False) + "\n", encoding="utf-8")

    # --- for the page ---

    def is_running(self) -> bool:
        """Return whether a round is running, whoever started it."""
        if self._process is not None and self._process.poll() is None:
            return True
        try:
            with locks.locked_file(self.folder / LOCK_FILE):
                return False
        except BlockingIOError:
            return True
        except OSError:
            return False

    def start(self, config_file: Path) -> None:
        """Start a round as a process of its own; raises CaptchaError while one runs."""
        if self.is_running():
            raise CaptchaError("a round is running: wait until it has ended, or stop it")
        with open(self.folder / LOG_FILE, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(SCRIPT), "--config", str(config_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C on the page's server does not end it
            )

    def stop(self) -> None:
        """Ask the round that is running to save and leave."""
        if not self.is_running():
            return
        pid = self._process.pid if self._process else self._phase().get("pid")
        if isinstance(pid, int):
            with suppress(OSError):
                os.kill(pid, signal.SIGTERM)

    def describe(self) -> dict[str, Any]:
        """Return how the round goes, and the rounds before it (JSON values)."""
        running, lines = self.is_running(), self._log_lines()
        phase = self._phase()
        current = None
        if running:
            step, steps = _progress(lines)
            seconds = round(time.time() - phase.get("began", time.time()))
            current = {
                "phase": phase.get("phase", "verify"),
                "step": step,
                "steps": steps,
                "seconds": seconds,
            }
        code = self._process.poll() if self._process else None
        failed = not running and code not in (None, 0, -signal.SIGTERM, 130)
        return {
            "running": running,
            "round": current,
            "curve": self._curve() if running else {"step": [], "train": [], "test": []},
            "lines": lines[-LOG_LINES:],
            "rounds": self.rounds(),
            "error": next((line for line in reversed(lines) if line.strip()), "") if failed else "",
        }

    def _phase(self) -> dict[str, Any]:
        with suppress(ConfigError):
            return dict(read_json(self.folder / PHASE_FILE))
        return {}

    def _log_lines(self) -> list[str]:
        try:
            with open(self.folder / LOG_FILE, "rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - LOG_BYTES))
                return log.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return []

    def _curve(self) -> dict[str, list[float]]:
        """Return the accuracies, 0 to 1, at the steps that were saved."""
        curve: dict[str, list[float]] = {"step": [], "train": [], "test": []}
        with (
            suppress(OSError, ValueError, KeyError),
            open(self.candidate / HISTORY_FILE, encoding="utf-8", newline="") as file,
        ):
            for row in csv.DictReader(file):
                curve["step"].append(int(row["step"]))
                curve["train"].append(float(row["accuracy/train_images"]))
                curve["test"].append(float(row["accuracy/test_images"]))
        return curve


def _progress(lines: list[str]) -> tuple[int, int]:
    """Return the last step that the lines of a training name, and how many there are to be."""
    step = steps = 0
    for line in lines:
        if found := STEP_LINE.match(line):
            step = int(found[1])
        elif found := re.match(r"step \d+ of (\d+)", line):
            steps = int(found[1])
    return step, steps
