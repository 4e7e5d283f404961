"""What an unfinished run keeps next to its output: the order, the rows, how far it has come.

A kill at any moment leaves the last commit: rows are on the disk before committed.json says so,
and what is in the file behind them is cut off when the run goes on.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cnnlib.bulk.answers import PARQUET, format_of, head, write_parquet
from cnnlib.bulk.inputs import stamp_of
from cnnlib.bulk.order import Position
from cnnlib.console import Reporter
from cnnlib.errors import CaptchaError
from cnnlib.files import MARK, give_name, make_folder, reason, sync, write_json
from cnnlib.locks import NoLocksError, locked_file

RUN, COMMITTED, ORDER, ROWS, PARQUET_FILE, LOCK = NAMES = (
    "run.json",
    "committed.json",
    "order.jsonl",
    "rows",
    "rows.parquet",
    "lock",
)


@dataclass(frozen=True)
class Committed:
    """How far a run has come, as it is on the disk."""

    position: Position = field(default_factory=Position)
    bytes: int = 0  # of the file of rows
    rows: int = 0
    errors: int = 0
    published: str = ""  # the stamp of the output, before it is in place

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Committed:
        return cls(**{**values, "position": Position(**values["position"])})


class WorkFolder:
    """The folder of one unfinished run; `output` is the file that it will become."""

    def __init__(self, output: Path, overwrite: bool) -> None:
        if output.is_symlink():
            output = output.resolve()
        self.output, self.overwrite = output, overwrite
        self.format = format_of(output)
        self.path = output.with_name(f"{output.name}.unfinished")
        self.order, self.rows = self.path / ORDER, self.path / ROWS

    @contextmanager
    def locked(self, reporter: Reporter) -> Iterator[None]:
        """Keep a second run off; the folder is made, and goes where the run is finished.

        Raises CaptchaError for an output that exists and is not to be replaced.
        """
        with self.writing():
            make_folder(self.path)
            if unknown := sorted({*os.listdir(self.path)} - {*NAMES} - {*_temporary(self.path)}):
                raise CaptchaError(
                    f"{self.path} is in the way: it has other files than those of a run, such as "
                    f"{unknown[0]}; name another output"
                )
        with ExitStack() as lock:
            try:
                lock.enter_context(locked_file(self.path / LOCK))
            except BlockingIOError as error:
                raise CaptchaError(
                    f"another run is writing {self.output}: wait for its end, or name another "
                    "output"
                ) from error
            except NoLocksError as error:
                reporter.warn(f"{error}: make sure that no second run writes {self.output}")
            except OSError as error:
                raise self._cannot_write(error) from error
            try:
                self._refuse_output()
                yield
            finally:
                has_ended = not (self.path / RUN).exists()  # or it never began
                lock.close()
                if has_ended:
                    shutil.rmtree(self.path, ignore_errors=True)

    def _refuse_output(self) -> None:
        if self.output.is_dir():
            raise CaptchaError(f"{self.output} is a folder: name a file")
        if self.output.exists() and not self.overwrite and not self._is_published():
            raise CaptchaError(
                f"{self.output} exists, of a finished run or of other origin: name another "
                "--output, or replace it with --overwrite"
            )

    def _is_published(self) -> bool:
        """Return whether the output is that of this run, which was killed before it cleaned up."""
        if not (self.path / RUN).exists() or not self.output.exists():
            return False
        return self.committed().published == stamp_of(self.output)

    def run(self) -> dict[str, Any] | None:
        """Return what the unfinished run was asked to do; None where there is none."""
        return _read(self.path / RUN) if (self.path / RUN).exists() else None

    def committed(self) -> Committed:
        return Committed.from_json(_read(self.path / COMMITTED))

    def begin(self, run: Mapping[str, Any]) -> None:
        """Start a run, whose order has been written."""
        with self.writing():
            start = head(self.format)
            self.rows.write_bytes(start)
            for file in (self.order, self.rows):
                sync(file)
            self._write(COMMITTED, asdict(Committed(bytes=len(start))))
            self._write(RUN, run)

    def commit(self, committed: Committed) -> None:
        self._write(COMMITTED, asdict(committed))

    def publish(self) -> None:
        """Put the rows in the place of the output, and remove the folder.

        Raises CaptchaError where another program has made a file of that name.
        """
        if not self._is_published():
            with self.writing():
                made = self.rows
                os.truncate(made, self.committed().bytes)
                if self.format == PARQUET:
                    made = self.path / PARQUET_FILE
                    write_parquet(self.rows, made)
                    sync(made)
                self.commit(replace(self.committed(), published=stamp_of(made)))
                try:
                    if self.overwrite:
                        os.replace(made, self.output)
                    else:
                        give_name(made, self.output)
                except FileExistsError as error:
                    raise CaptchaError(
                        f"{self.output} was made by another program meanwhile: move it away, and "
                        "the same command ends this run"
                    ) from error
                sync(self.output.parent)
        with suppress(OSError):
            os.unlink(self.path / RUN)  # the rest goes with the lock

    def _write(self, name: str, values: Mapping[str, Any]) -> None:
        write_json(self.path / name, values, indent=1)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Raise CaptchaError where the disk is full, or something else on it fails."""
        try:
            yield
        except OSError as error:
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: OSError) -> CaptchaError:
        return CaptchaError(
            f"cannot write {self.output}: {reason(error)}; free some space, or make its folder "
            "writable. The same command goes on"
        )


class Journal:
    """Rows on their way to the disk. A commit that is interrupted can be made again."""

    def __init__(self, folder: WorkFolder) -> None:
        self._folder = folder
        # Committed, and rows since then with the position after them: replaced together.
        self._state: tuple[Committed, list[tuple[bytes, Committed]]] = folder.committed(), []
        if not folder.rows.exists() or folder.rows.stat().st_size < self.committed.bytes:
            raise CaptchaError(
                f"{folder.rows} has lost rows: remove the folder {folder.path} to begin again"
            )

    @property
    def committed(self) -> Committed:
        return self._state[0]

    def add(self, data: bytes, rows: int, errors: int, ends: Position) -> None:
        committed, pending = self._state
        before = pending[-1][1] if pending else committed
        after = Committed(
            ends, before.bytes + len(data), before.rows + rows, before.errors + errors
        )
        pending.append((data, after))

    def commit(self) -> None:
        """Return when all rows are on the disk."""
        committed, pending = self._state
        pending = pending.copy()
        if not pending:
            return
        with self._folder.writing(), open(self._folder.rows, "r+b") as file:
            file.truncate(committed.bytes)
            file.seek(committed.bytes)
            file.writelines(data for data, _ in pending)
            file.flush()
            os.fsync(file.fileno())
        self._folder.commit(pending[-1][1])
        self._state = pending[-1][1], []


def _temporary(folder: Path) -> Iterator[str]:
    """Yield the names of files that were being written when the program was killed."""
    return (name for name in os.listdir(folder) if name.startswith(MARK))


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise CaptchaError(
            f"{file} cannot be read ({error}): remove the folder {file.parent} to begin again"
        ) from error
