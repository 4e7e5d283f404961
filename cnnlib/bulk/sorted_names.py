"""Any number of names in order, in little memory."""

from __future__ import annotations

import heapq
import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

NAMES_IN_MEMORY = 100_000  # some 10 MB


class SortedNames:
    """Names that are given in any order and come out sorted; most of them wait on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder  # for the files, which have no names
        self._names: list[str] = []
        self._runs: list[IO[str]] = []

    def add(self, name: str) -> None:
        self._names.append(name)
        if len(self._names) >= NAMES_IN_MEMORY:
            run = tempfile.TemporaryFile("w+", dir=self._folder, encoding="ascii")  # noqa: SIM115
            run.writelines(json.dumps(name) + "\n" for name in sorted(self._names))
            self._runs.append(run)
            self._names = []

    def __iter__(self) -> Iterator[str]:
        """Yield the names; to be asked for once."""
        runs: list[Iterable[str]] = [sorted(self._names), *map(_read, self._runs)]
        yield from heapq.merge(*runs)
        for run in self._runs:
            run.close()


def _read(run: IO[str]) -> Iterator[str]:
    run.seek(0)
    return map(json.loads, run)
