"""One bulk run: inputs to answers, again and again from where it stopped until it is finished."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cnnlib.bulk.answers import Row, encode
from cnnlib.bulk.inputs import ARCHIVE, Listing, Source, find_sources
from cnnlib.bulk.order import Chunk, Contents, Item, chunks, write_order
from cnnlib.bulk.work_folder import Committed, Journal, WorkFolder
from cnnlib.bulk.workers import OpenWorkers, Workers
from cnnlib.console import CONSOLE, Reporter
from cnnlib.errors import CaptchaError, SampleError
from cnnlib.threads import map_in_order

COMMIT_S = 2.0  # between two commits: what a kill lets be read again
REPORT_S = 60.0  # between two lines of progress
CHUNKS_AHEAD = 8  # for each thread: enough for the time of a commit
SUSPICIOUS_ROWS = 200  # all with an error: then the configuration is likely to be wrong


@dataclass(frozen=True)
class BulkResult:
    """What a finished run has written: rows, and how many of them have an error.

    `images` of them were recognised since the last start, in `seconds`.
    """

    output: Path
    rows: int
    errors: int
    images: int
    seconds: float


def recognize_bulk(
    inputs: Sequence[str],
    output: Path,
    open_workers: OpenWorkers,
    *,
    overwrite: bool = False,
    reporter: Reporter = CONSOLE,
) -> BulkResult:
    """Recognise all images of the inputs, and write a row for each to the output.

    A run that was stopped, in whatever way, goes on when it is called again with the same inputs
    and output. Raises CaptchaError where the output exists, unless `overwrite` is given, where an
    unfinished run had other inputs or another model, and where it cannot be written; SampleError
    where there is no image. KeyboardInterrupt comes through, after what is done is on the disk.
    """
    folder = WorkFolder(output, overwrite)
    sources = find_sources(inputs)
    with folder.locked(reporter):
        run = folder.run()
        if run:
            _check_sources(folder, run, sources)
        workers = open_workers()
        try:
            if run:
                _check_model(folder, run, workers)
            else:
                run = _begin(folder, sources, workers, reporter)
            return _Run(folder, run, workers, reporter).to_end()
        except KeyboardInterrupt:
            if folder.run():
                reporter.say(_stopped(folder.committed()))
            raise
        finally:
            workers.stop()
            workers.close()


def _begin(
    folder: WorkFolder, sources: Sequence[Source], workers: Workers, reporter: Reporter
) -> dict[str, Any]:
    listing = Listing(sources, folder.path, reporter)
    with folder.writing(), open(folder.order, "wb") as file:
        contents = write_order(reporter.progress(listing, "listing", unit="name"), file)
    if not contents.names:
        raise SampleError(f"no image in {', '.join(source.typed for source in sources)}")
    if listing.left_out:
        reporter.say(f"left out: {listing.left_out:,} files that are not images")
    run = {
        "inputs": [asdict(source) for source in sources],
        "contents": asdict(contents),
        "model": workers.identity(),
    }
    folder.begin(run)
    return run


def _stopped(committed: Committed) -> str:
    return f"stopped after {committed.rows:,} images; the same command goes on"


def _check_sources(folder: WorkFolder, run: dict[str, Any], sources: Sequence[Source]) -> None:
    before = [Source(**source) for source in run["inputs"]]
    if [(s.path, s.kind) for s in before] != [(s.path, s.kind) for s in sources]:
        raise CaptchaError(
            f"{folder.path} has an unfinished run with other inputs "
            f"({' '.join(source.typed for source in before)}): finish it with these, remove that "
            "folder to give it up, or name another --output"
        )
    for source, now in zip(before, sources, strict=True):
        if source.stamp != now.stamp:
            raise CaptchaError(
                f"{now.typed} has changed since the run began that {folder.path} has: put the "
                "former archive back, or remove that folder to begin again"
            )


def _check_model(folder: WorkFolder, run: dict[str, Any], workers: Workers) -> None:
    if run["model"] != workers.identity():
        raise CaptchaError(
            f"the model is another one than when the run began that {folder.path} has: put the "
            "former one back, or remove that folder to begin again"
        )


class _Run:
    """A run from its last commit to its end."""

    def __init__(
        self,
        folder: WorkFolder,
        run: dict[str, Any],
        workers: Workers,
        reporter: Reporter,
    ) -> None:
        self._folder, self._workers = folder, workers
        self._sources = [Source(**source) for source in run["inputs"]]  # as they were typed then
        self._contents = Contents(**run["contents"])
        self._reporter = reporter
        self._began_s = time.perf_counter()
        self._start = folder.committed()

    def to_end(self) -> BulkResult:
        changes = self._changes() if self._start.rows else ""
        if self._start.rows:
            self._reporter.say(f"going on after {self._start.rows:,} images")
        if changes:
            self._reporter.warn(changes)
        committed = self._start
        if not committed.published:
            committed = self._recognize()
        self._folder.publish()
        if changes:
            self._reporter.warn(changes)
        return BulkResult(
            self._folder.output,
            committed.rows,
            committed.errors,
            committed.rows - self._start.rows,
            time.perf_counter() - self._began_s,
        )

    def _changes(self) -> str:
        """Say that other names are in the folders and lists now; "" where they are the same."""
        now = write_order(Listing(self._sources, self._folder.path, self._reporter), None)
        if now == self._contents:
            return ""
        return (
            f"the inputs have changed since this run began: {self._contents.names:,} names then, "
            f"{now.names:,} now. It goes on with those of then; new ones need a run of their own"
        )

    def _recognize(self) -> Committed:
        journal = Journal(self._folder)
        try:
            self._collect(journal)
            journal.commit()
        except (KeyboardInterrupt, CaptchaError) as stopped:
            self._workers.stop()
            with suppress(CaptchaError):  # the first one says why
                journal.commit()
            if isinstance(stopped, CaptchaError):
                self._reporter.say(_stopped(journal.committed))
            raise
        return journal.committed

    def _collect(self, journal: Journal) -> None:
        parts = chunks(self._folder.order, self._sources, self._start.position)
        has_archives = any(source.kind == ARCHIVE for source in self._sources)
        total = None if has_archives else self._contents.names - self._start.rows
        progress, nothing = _Progress(self._reporter, self._start), list[Item]()
        committed_s = time.monotonic()
        with (
            self._reporter.progress(nothing, "recognising", total) as bar,
            closing(in_order(self._workers, parts)) as results,
        ):
            for chunk, rows in results:
                errors = sum(bool(row.error) for row in rows)
                journal.add(encode(rows, self._folder.format), len(rows), errors, chunk.ends)
                bar.update(len(rows))
                progress.add(rows, errors)
                if time.monotonic() > committed_s + COMMIT_S:
                    journal.commit()
                    committed_s = time.monotonic()


class _Progress:
    """Lines about a run, now and then; one where the configuration seems to be wrong."""

    def __init__(self, reporter: Reporter, start: Committed) -> None:
        self._reporter = reporter
        self._rows, self._errors = start.rows, start.errors
        self._since_s, self._since_rows = time.monotonic(), start.rows
        self._has_warned = bool(start.rows)

    def add(self, rows: Sequence[Row], errors: int) -> None:
        self._rows += len(rows)
        self._errors += errors
        if not self._has_warned and self._rows >= SUSPICIOUS_ROWS:
            self._has_warned = True
            if self._errors == self._rows:
                self._reporter.warn(
                    f"all of the first {self._rows} images have errors, such as {rows[-1].file}: "
                    f"{rows[-1].error}. Is --config that of these images?"
                )
        now_s = time.monotonic()
        if now_s > self._since_s + REPORT_S:
            rate = (self._rows - self._since_rows) / (now_s - self._since_s)
            self._since_s, self._since_rows = now_s, self._rows
            self._reporter.say(
                f"{self._rows:,} images, {rate:,.0f} a second, {self._errors:,} with an error"
            )


def in_order(
    workers: Workers, parts: Iterator[Chunk]
) -> Generator[tuple[Chunk, list[Row]], None, None]:
    """Yield chunks with their rows in the order of the chunks; some are worked on ahead."""
    return map_in_order(
        lambda chunk: (chunk, workers.recognize(chunk.items)),
        parts,
        threads=workers.threads,
        ahead=CHUNKS_AHEAD * workers.threads,
        stop=workers.stop,
    )
