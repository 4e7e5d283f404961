"""A project of its own for one kind of captcha: conf/NAME.json, sample/NAME/, model/NAME/."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cnnlib.config import SampleConfig, load_sample_config
from cnnlib.config_reader import IMAGE_SUFFIXES, read_json
from cnnlib.console import CONSOLE, Reporter, examples
from cnnlib.dataset.labels import (
    LABELS_FILE,
    clean_label,
    has_suffix,
    label_of,
    read_label_list,
)
from cnnlib.errors import ConfigError, SampleError
from cnnlib.files import MARK, write_json
from cnnlib.importing.copying import ImportResult, ProjectImages
from cnnlib.importing.inspection import Inspection, inspect_images
from cnnlib.importing.labelled_folder import LabelledFolder
from cnnlib.importing.proposal import proposed_config
from cnnlib.importing.source_folder import SourceFolder, read_source_folder
from cnnlib.paths import PROJECT_ROOT, ProjectPath

SOURCES_FILE = "sources.json"  # in sample/NAME/: the folders that images were copied from


class Project:
    """The places of a project; raises ConfigError for a name that is not possible."""

    def __init__(self, name: str, root: Path = PROJECT_ROOT) -> None:
        if not re.fullmatch(r"[\w-]+", name):
            raise ConfigError(f"--name {name!r}: only letters, digits, '-' and '_' are possible")
        self.name, self.root = name, root
        self.config_file = root / "conf" / f"{name}.json"
        self.folder = root / "sample" / name
        self._sources_file = self.folder / SOURCES_FILE

    @property
    def config_name(self) -> str:
        """The path of the config, as commands take it."""
        return f"conf/{self.name}.json"

    @property
    def exists(self) -> bool:
        """Whether images can be added to it."""
        return self._sources_file.exists() and self.config_file.exists()

    def check_free(self, may_exist: bool = True) -> None:
        """Raise ConfigError where something else has this name, or the project if it may not."""
        if self._sources_file.exists() and may_exist:
            return
        if self.config_file.exists():
            raise ConfigError(f"{self.config_file} exists: remove it, or choose another --name")
        for taken in (f"conf/{self.name}_config.json", f"sample/{self.name}", f"model/{self.name}"):
            if _is_used(self.root / taken):
                raise ConfigError(f"{taken} exists: choose another --name")

    def add_source(self, folder: Path, is_named: bool) -> None:
        """Note a folder that images come from.

        Raises ConfigError where the project has other sources, unless the user named the project.
        """
        sources = read_json(self._sources_file) if self._sources_file.exists() else []
        if not isinstance(sources, list) or not ProjectImages(self.folder).has_images:
            sources = []
        if sources and str(folder) not in sources and not is_named:
            raise ConfigError(
                f"sample/{self.name} has images of {sources[0]}: --name {self.name} adds those of "
                f"{folder} to them, another --name makes a new project"
            )
        write_json(self._sources_file, [*dict.fromkeys([*sources, str(folder)])])

    # --- images ---

    def copy_images(
        self,
        found: LabelledFolder,
        unlabelled_dir: Path | None,
        reporter: Reporter = CONSOLE,
    ) -> tuple[ImportResult, Inspection]:
        """Copy the images of a folder, and those without a label of another; return what they show.

        Raises SampleError where there is no room, or no image that can be used.
        """
        source = found.source
        more = SourceFolder(source.root)
        if unlabelled_dir is not None:
            more = read_source_folder(unlabelled_dir)
        images = ProjectImages(self.folder)
        images.check_room(len(source.images) + len(more.images), source.bytes + more.bytes)
        with images.locked():
            images.read()
            result = images.add(source.root, found.labels, found.unlabelled, reporter)
            if more.images:
                added = images.add(more.root, {}, more.images, reporter)
                result.unlabelled += added.unlabelled
                result.broken += added.broken
                result.suffixes.update(added.suffixes)
            labels = images.labels()
        sizes = result.sizes if found.labels else result.unlabelled_sizes
        if not sizes:
            raise SampleError(f"no image of {source.root} can be used: {examples(result.broken)}")
        seen = inspect_images(
            [source.path(name) for name in found.labels or found.unlabelled],
            labels,
            sizes=sizes,
            suffixes=[suffix for suffix, _ in result.suffixes.most_common()],
            reporter=reporter,
        )
        return result, seen

    # --- configuration ---

    def write_config(self, seen: Inspection, origin: ProjectPath | None = None) -> dict[str, Any]:
        """Write the configuration that fits what was seen, and return its values."""
        values = proposed_config(seen, self.name, origin)
        write_json(self.config_file, values, indent=2, check=load_sample_config)
        return values

    def config(self, **overrides: Any) -> SampleConfig:
        return load_sample_config(self.config_file, **overrides)


def _is_used(path: Path) -> bool:
    """Return whether there is a file, or a folder with more in it than what a failure left."""
    if not path.is_dir():
        return path.exists()
    return any(not name.startswith(MARK) for name in os.listdir(path))


def describe_import(found: LabelledFolder, result: ImportResult) -> Iterator[str]:
    """Yield a line for each thing that was taken, and for each that was left out and why."""
    yield from found.taken
    again = f"; {result.present} were there before" if result.present else ""
    if found.labels:
        yield f"{result.added} images copied{again}"
    if result.unlabelled:
        yield f"{result.unlabelled} images without a label copied to unlabelled/"
    for line in found.left_out:
        yield f"left out: {line}"
    for what, names in (
        ("the same content again", result.duplicates),
        ("one content under two labels", result.contradictions),
        ("cannot be used", result.broken),
    ):
        if names:
            yield f"left out, {what} ({len(names)}): {examples(names)}"


def describe_changes(seen: Inspection, config: SampleConfig) -> Iterator[str]:
    """Yield a line for each thing that new images need and an older config does not have."""
    new = "".join(c for c in seen.characters if config.spec.normalize(c) not in config.char_set)
    if new:
        yield f"characters that are new: append {new!r} to char_set"
    longest, shortest = max(seen.lengths), min(seen.lengths)
    if longest > config.max_captcha or shortest < config.min_captcha:
        yield f"labels of {shortest} to {longest} characters: change min_captcha and max_captcha"
    size = config.image_width, config.image_height
    if not config.resize and (others := seen.sizes.total() - seen.sizes[size]):
        yield f"{others} images have other sizes than {size[0]}x{size[1]}: set resize to true"
    if more := set(seen.suffixes) - set(config.image_suffix):
        yield f"files of other formats: add {', '.join(sorted(more))} to image_suffix"


def with_plain_forms(found: LabelledFolder) -> None:
    """Give labels the plain form of each character, such as 1 for a full-width one."""
    for name, label in found.labels.items():
        found.labels[name] = unicodedata.normalize("NFKC", label)


def inspect_in_place(found: LabelledFolder, reporter: Reporter = CONSOLE) -> Inspection:
    """Return what a folder shows whose images are to be moved, not copied.

    Raises SampleError unless its names, or its labels.csv, are as this project writes them.
    """
    root, rule = found.source.root, found.rule
    separator = rule.separator if rule is not None else "_"
    listed = read_label_list(ProjectPath(root)) if (root / LABELS_FILE).exists() else {}
    for name, label in found.labels.items():
        if listed.get(name) == label:
            continue
        usual = rule is not None and rule.kind == "before" and not rule.or_stem
        if (
            "/" in name
            or not usual
            or name in listed
            or not has_suffix(name, IMAGE_SUFFIXES)
            or clean_label(label_of(name, separator)) != label
        ):
            raise SampleError(
                f"{name} in {root} is not as --in-place needs it: images that are not copied "
                "stand in the folder itself, and are named label_serial.suffix or listed in a "
                f"{LABELS_FILE} with lines `file,label`; leave out --in-place"
            )
    return inspect_images(
        [found.source.path(name) for name in found.labels],
        list(found.labels.values()),
        separator=separator,
        reporter=reporter,
    )
