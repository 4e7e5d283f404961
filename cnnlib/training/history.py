"""Figures of a training over its steps: for TensorBoard, history.csv and accuracy curves."""

from __future__ import annotations

import csv
import math
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cnnlib import plots
from cnnlib.errors import CaptchaError
from cnnlib.evaluation.metrics import Scores
from cnnlib.files import reason, replacing
from cnnlib.networks.model_folder import CURVES_FILE, HISTORY_FILE
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.paths import AnyPath


class TrainingRecord:
    """The figures of each report of a run: to TensorBoard at once, to the model folder by `save`.

    `step` counts the steps of all runs; `from_step` are those done before this start.
    """

    def __init__(self, log_dir: AnyPath, model_dir: AnyPath, from_step: int) -> None:
        self._history = History(model_dir, from_step)
        self._board = TensorBoard(log_dir)

    def add(
        self, step: int, train: Scores, test: Scores, rate: float, images_per_second: float
    ) -> None:
        """Add a report; raises CaptchaError, once, where TensorBoard's cannot be written."""
        values = {
            "loss/train": train.loss,
            "loss/test": test.loss,
            "accuracy/train_characters": train.char_accuracy,
            "accuracy/train_images": train.image_accuracy,
            "accuracy/test_characters": test.char_accuracy,
            "accuracy/test_images": test.image_accuracy,
            "learning_rate": rate,
            "images_per_second": images_per_second,
        }
        self._history.add(step, values)
        self._board.write(step, values)

    def save(self) -> None:
        """Write history.csv and its curves; raises CaptchaError where that is impossible."""
        self._history.save()

    def close(self) -> None:
        self._board.close()


class TensorBoard:
    """Scalars in a new folder below `log_dir`, for TensorBoard.

    tf.summary.FileWriter writes from a thread, whose errors end the training at some later report.
    """

    def __init__(self, log_dir: AnyPath) -> None:
        self._file: Any = None
        self._folder = Path(log_dir) / time.strftime("%Y%m%d-%H%M%S")
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}"
        file = self._folder / f"{name}.{secrets.token_hex(4)}"
        with self._reported():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tf.io.TFRecordWriter(str(file))
            try:
                self._write(tf.Event(file_version="brain.Event:2"))
            except tf.errors.OpError:
                file.unlink()
                raise

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add scalars; a name such as `accuracy/test` puts it into a group.

        Raises CaptchaError where that is impossible, once; after that nothing is written.
        """
        if self._file is not None:
            scalars = [tf.Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()]
            with self._reported():
                self._write(tf.Event(step=step, summary=tf.Summary(value=scalars)))

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._file.write(event.SerializeToString())
        self._file.flush()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(tf.errors.OpError):  # all is written; the disk may be full by now
                file.close()

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            self.close()
            detail = reason(error) if isinstance(error, OSError) else error.message
            raise CaptchaError(
                f"cannot write to {self._folder}: {detail}; free some space, or correct log_dir in "
                "conf/"
            ) from error


class History:
    """A row of figures for each report of a training, kept in the model folder with its curves.

    `from_step`: what the file holds of later steps belongs to a run that was cut off there.
    """

    def __init__(self, folder: AnyPath, from_step: int) -> None:
        self._folder = Path(folder)
        self._rows: list[dict[str, float]] = []
        if from_step:
            self._rows = [
                row
                for row in read_rows(self._folder / HISTORY_FILE)
                if row.get("step", math.inf) <= from_step
            ]

    def add(self, step: int, values: Mapping[str, float]) -> None:
        row = {"step": step, **values}
        if self._rows and self._rows[-1].keys() != row.keys():
            self._rows = []  # of another version, or damaged
        self._rows.append(row)

    def save(self) -> None:
        """Write history.csv and accuracy.png; raises CaptchaError where that is impossible."""
        if not self._rows:
            return
        with (
            replacing(self._folder / HISTORY_FILE) as temporary,
            open(temporary, "w", encoding="utf-8", newline="") as file,
        ):
            table = csv.DictWriter(file, list(self._rows[0]))
            table.writeheader()
            table.writerows(self._rows)
        steps = [row["step"] for row in self._rows]
        curves = {
            name: [row[name] for row in self._rows]
            for name in self._rows[0]
            if name.startswith("accuracy/")
        }
        plots.line_plot(
            steps, curves, self._folder / CURVES_FILE, x_label="steps", y_label="accuracy"
        )


def read_rows(file: Path) -> list[dict[str, float]]:
    """Return the rows of a history; none where it is missing or damaged."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            return [
                {
                    name: int(value) if name == "step" else float(value)
                    for name, value in row.items()
                }
                for row in csv.DictReader(lines)
            ]
    except (OSError, ValueError, TypeError):
        return []
