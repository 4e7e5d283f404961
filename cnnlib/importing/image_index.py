"""Which image of a folder a list means: by path, name, name without suffix, or number."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from cnnlib.importing.source_folder import stem


class ImageIndex:
    """The images of a folder; what two images answer to means neither."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._by: dict[str, str] = {}
        self.by_number: dict[int, str] = {}
        counts: Counter[str] = Counter()
        for name in names:
            keys = {name, without_suffix(name), name.rpartition("/")[2], stem(name)}
            keys |= {key.lower() for key in keys}
            for key in keys:
                counts[key] += 1
                self._by[key] = name
        for key, count in counts.items():
            if count > 1 and self._by[key] != key:
                del self._by[key]  # whichever of them is meant
        numbered = [(int(m[0]), n) for n in names if (m := re.search(r"[0-9]+$", stem(n)))]
        if len({number for number, _ in numbered}) == len(names):
            self.by_number = dict(numbered)

    def find(self, text: str, folder: str) -> str | None:
        """Return the image that a cell of a list in `folder` names."""
        path = text.strip().replace("\\", "/").removeprefix("./")
        base = path.rpartition("/")[2]
        for key in (f"{folder}{path}", path, f"{folder}{base}", base, without_suffix(base)):
            if name := self._by.get(key) or self._by.get(key.lower()):
                return name
        if base.isascii() and base.isdecimal():
            return self.by_number.get(int(base))
        return None


def without_suffix(name: str) -> str:
    return name[: len(name) - len(PurePosixPath(name).suffix)]
