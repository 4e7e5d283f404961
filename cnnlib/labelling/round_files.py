"""What a round of training leaves for the page to see: its lock, its phase, its lines, the rounds.

A round is a process of its own (`label_loop.py`), which outlives the page's server.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from cnnlib import locks
from cnnlib.config import SampleConfig
from cnnlib.config_reader import read_json
from cnnlib.console import STEP_LINE
from cnnlib.errors import CaptchaError, ConfigError, SampleError
from cnnlib.files import make_folder, reason, write_json
from cnnlib.labelling.unlabelled import image_names_in
from cnnlib.networks.model_folder import MODEL_FILE
from cnnlib.paths import PROJECT_ROOT

CANDIDATE_DIR = "candidate"
LOCK_FILE, SERVER_LOCK_FILE = ".round.lock", ".server.lock"
PHASE_FILE, ROUNDS_FILE, LOG_FILE = "phase.json", "rounds.json", "round.log"
TEST_IMAGES_FILE = "test_images.json"
SCRIPT = PROJECT_ROOT / "label_loop.py"
LEAST_LABELS = 60  # for a first round
LOG_LINES, LOG_BYTES = 12, 1 << 16  # that the page shows, and that are read for it


def count_labels(config: SampleConfig) -> tuple[int, int]:
    """Return how many labels there are, and how many of them no round has split off yet."""
    count = {
        folder: len(image_names_in(folder.full))
        for folder in (
            config.origin_image_dir,
            config.new_image_dir,
            config.train_image_dir,
            config.test_image_dir,
        )
    }
    return sum(count.values()), count[config.origin_image_dir] + count[config.new_image_dir]


class RoundFiles:
    """The files of a labelling_dir that belong to the rounds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.candidate = folder / CANDIDATE_DIR
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()

    # --- for the round ---

    def locked(self) -> AbstractContextManager[None]:
        """Keep a second round off; raises CaptchaError."""
        return self._locked(
            LOCK_FILE, f"a round is running in {self.folder}: wait until it has ended, or stop it"
        )

    def served(self) -> AbstractContextManager[None]:
        """Keep a second page's server off; raises CaptchaError."""
        return self._locked(
            SERVER_LOCK_FILE,
            f"the page of {self.folder} is served already: open that, or stop its server",
        )

    @contextmanager
    def _locked(self, name: str, refusal: str) -> Iterator[None]:
        with ExitStack() as resources:
            try:
                make_folder(self.folder)
                resources.enter_context(locks.locked_file(self.folder / name))
            except locks.NoLocksError:
                pass
            except BlockingIOError as error:
                raise CaptchaError(refusal) from error
            except OSError as error:
                raise CaptchaError(
                    f"cannot write to {self.folder}: {reason(error)}; make it writable"
                ) from error
            yield

    def note_phase(self, phase: str) -> None:
        self._write(PHASE_FILE, {"phase": phase, "began": time.time(), "pid": os.getpid()})

    def forget_phase(self) -> None:
        (self.folder / PHASE_FILE).unlink(missing_ok=True)

    def rounds(self) -> list[dict[str, Any]]:
        """Return the rounds that have ended, the first first."""
        file = self.folder / ROUNDS_FILE
        return list(read_json(file)) if file.exists() else []

    def add_round(self, values: dict[str, Any]) -> None:
        self._write(ROUNDS_FILE, [*self.rounds(), values])

    def test_images(self) -> list[str]:
        """Return which images were about to become the test set when a round was stopped."""
        file = self.folder / TEST_IMAGES_FILE
        return list(read_json(file)) if file.exists() else []

    def note_test_images(self, names: list[str]) -> None:
        """Write down which images are about to become the test set; none: all have."""
        if names:
            self._write(TEST_IMAGES_FILE, names)
        else:
            (self.folder / TEST_IMAGES_FILE).unlink()

    def _write(self, name: str, values: Any) -> None:
        write_json(self.folder / name, values)

    # --- for both ---

    def require_new_labels(self, config: SampleConfig) -> None:
        """Raise SampleError where there are too few labels to train with, or no new ones.

        Those of a round that was stopped were split off, and are trained with.
        """
        total, new = count_labels(config)
        if total < LEAST_LABELS:
            raise SampleError(
                f"{total} images are labelled, and a training needs {LEAST_LABELS}: label some more"
            )
        if not new and not self.is_unfinished():
            raise SampleError(
                f"nothing in {config.new_image_dir} is new since the last round: label some more, "
                "or train with what is there by train_model.py"
            )

    def is_unfinished(self) -> bool:
        """Return whether a round was stopped, with weights that were saved or before any were."""
        has_weights = (self.candidate / MODEL_FILE).exists()
        return has_weights or self._phase().get("phase") in ("verify", "train")

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
        with self._starting, open(self.folder / LOG_FILE, "ab") as log:
            if self.is_running():
                raise CaptchaError("a round is running: wait until it has ended, or stop it")
            log.truncate(0)
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
        own = self._process is not None and self._process.poll() is None
        pid = self._process.pid if self._process and own else self._phase().get("pid")
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
            "paused": not running and self.is_unfinished(),
            "round": current,
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


def _progress(lines: list[str]) -> tuple[int, int]:
    """Return the last step that the lines of a training name, and how many there are to be."""
    step = steps = 0
    for line in lines:
        if found := STEP_LINE.match(line):
            step = int(found[1])
        elif found := re.match(r"step \d+ of (\d+)", line):
            steps = int(found[1])
    return step, steps
