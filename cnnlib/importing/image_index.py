"""Which image of a folder a list means: by path, by name with or without suffix, by number."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from cnnlib.config_reader import IMAGE_SUFFIXES
from cnnlib.importing.plausibility import MAX_DIGITS
from cnnlib.importing.source_folder import OTHER_IMAGE_SUFFIXES, stem

ABOVE = "../"  # the folder of lists next to the folder of images


class ImageIndex:
    """The images of a folder; a name that two of them have means neither, a path does."""

    def __init__(self, names: Sequence[str], root_name: str = "") -> None:
        self.names, self._root_name = names, root_name
        self._files = Counter(_key(name.rpartition("/")[2]) for name in names)
        self._by_path = {_key(name): name for name in names}
        self._by_name = _unique(names, lambda name: name.rpartition("/")[2])
        self._by_stem = _unique(names, stem)
        self._by_long_stem = _unique(names, without_suffix)
        self._parts: dict[frozenset[str], ImageIndex] = {}  # by their folders
        self._numbered: dict[str, dict[int, str]] = {}  # by folder

    def find(self, text: str, folder: str, anywhere: bool = True) -> str | None:
        """Return the image that a cell of a list in `folder` names; a number alone names none.

        `anywhere`: whatever the folder before its name, where no other image has that.
        """
        path = _key(text).replace("\\", "/").removeprefix("./")
        if folder == ABOVE:
            folder = ""
            own = f"{_key(self._root_name)}/"
            if "/" in path and not path.startswith(own):
                return self._by_path.get(path)
            path = path.removeprefix(own)
        folder = _key(folder)
        base = path.rpartition("/")[2]
        if name := self._by_path.get(f"{folder}{path}") or self._by_path.get(path):
            return name
        if is_number(path):
            return None
        bare = without_suffix(path) if has_image_suffix(path) else path
        if name := self._by_long_stem.get(f"{folder}{bare}"):
            return name
        if not anywhere:
            return None
        if name := self._by_path.get(f"{folder}{base}") or self._by_name.get(base):
            return name
        return self._by_stem.get(bare.rpartition("/")[2])

    def part_of(self, list_name: str) -> ImageIndex | None:
        """Return the images that a list speaks of by its own name or folder; None for no such part.

        `train.csv` and `train_labels.csv` mean those in train/ or train_images/, `train/labels.txt`
        those in train/ and below it.
        """
        above = list_name.rpartition("/")[0]
        words = _words(without_suffix(list_name))
        below = [f for f in self._folders if above and f"{f}/".startswith(f"{above}/")]
        shared = [folder for folder, own in self._folders.items() if own & words]
        for part in map(frozenset, (below, shared)):
            if 0 < len(part) < len(self._folders):
                if part not in self._parts:
                    inside = [name for name in self.names if name.rpartition("/")[0] in part]
                    self._parts[part] = ImageIndex(inside, self._root_name)
                return self._parts[part]
        return None

    @functools.cached_property
    def _folders(self) -> dict[str, set[str]]:
        """The folders that have images, with the words in their paths."""
        return {folder: _words(folder) for folder in {n.rpartition("/")[0] for n in self.names}}

    def is_ambiguous(self, text: str) -> bool:
        """Return whether several images in different folders have the name that a cell has."""
        return self._files[_key(text).replace("\\", "/").rpartition("/")[2]] > 1

    def numbered(self, folder: str) -> dict[int, str]:
        """Return the images of a folder by number; none unless all are numbered, each its own."""
        if folder not in self._numbered:
            self._numbered[folder] = self._by_number(folder)
        return self._numbered[folder]

    def _by_number(self, folder: str) -> dict[int, str]:
        inside = [name for name in self.names if name.startswith(folder)]
        found = [re.fullmatch(r"(\D*)([0-9]+)", stem(name)) for name in inside]
        if not all(found) or len({match[1] for match in found if match}) > 1:
            return {}
        numbers = {
            int(match[2]): name
            for match, name in zip(found, inside, strict=True)
            if match and len(match[2]) <= MAX_DIGITS
        }
        return numbers if len(numbers) == len(inside) else {}


def _key(text: str) -> str:
    """Return a name as it is compared: macOS has accents apart, Windows any case."""
    return unicodedata.normalize("NFC", text).lower()


def _unique(names: Sequence[str], part: Callable[[str], str]) -> dict[str, str]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        found[_key(part(name))].append(name)
    return {text: same[0] for text, same in found.items() if len(same) == 1}


def _words(path: str) -> set[str]:
    return set(re.split(r"[\W_]+", _key(path))) - {"", "images", "image", "labels", "label"}


def is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS


def has_image_suffix(text: str) -> bool:
    suffix = text.rpartition(".")[2].lower() if "." in text else ""
    return suffix in IMAGE_SUFFIXES or suffix in OTHER_IMAGE_SUFFIXES


def without_suffix(name: str) -> str:
    return name[: len(name) - len(PurePosixPath(name).suffix)]
