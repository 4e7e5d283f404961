"""Lists of labels as people have them: CSV, text, JSON, or a text next to each image."""

from __future__ import annotations

import codecs
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from cnnlib.dataset.labels import clean_label, has_suffix
from cnnlib.errors import SampleError
from cnnlib.files import reason
from cnnlib.importing.encodings import decode
from cnnlib.importing.image_index import ABOVE, ImageIndex, has_image_suffix, without_suffix
from cnnlib.importing.plausibility import is_alphabet, plausibility
from cnnlib.importing.source_folder import LIST_SUFFIXES, SourceFolder, stem
from cnnlib.importing.table_columns import (
    LABEL_WORDS,
    LIKE_LABELS,
    LabelList,
    heading,
    read_table,
)
from cnnlib.importing.tables import json_fault, tables

TEXT_SUFFIXES = (".gt.txt", ".txt")  # of a text next to an image, as tesstrain has them
MAX_LIST_BYTES = 200 << 20
TEXTS = "texts"  # the option that means those next to the images
TEXTS_NAME = "the text next to each image"
MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Folders that are named after what is in them.
KINDS = {"images", "image", "imgs", "img", "labels", "label", "txt", "texts", "text", "gt"}
KINDS |= {"annotations", "annotation"}
LINES_LIKE_LABELS = 0.5  # plausibility of lines that are labels


def read_label_lists(
    source: SourceFolder, encoding: str = "", above_too: bool = True
) -> list[LabelList]:
    """Return the lists in a folder, else above it, that name some of its images or should.

    Those that name them by number, or by the order of lines, come only where no other has labels.
    """
    images = ImageIndex(source.images, source.root.name)
    texts, used = _texts_next_to_images(source, encoding)
    found = [texts] if texts.named else []
    inside = [name for name in source.others if name not in used and is_list(name)]
    found += _without_single(_read_lists(source, inside, images, encoding))
    if above_too and not any(read.labels for read in found):
        above = _read_lists(source, _lists_above(source.root), images, encoding)
        above = [read for read in above if read.labels and not read.by_number]
        own = [read for read in above if source.root.name in PurePosixPath(read.name).stem]
        found += own or above  # test.csv for test/
    if any(read.labels and not read.by_number for read in found):
        found = [read for read in found if not read.by_number]
    return found


def read_label_list_file(source: SourceFolder, text: str, encoding: str = "") -> LabelList:
    """Return what a list says that the user named; raises SampleError where it is none.

    TEXTS are those next to the images.
    """
    if text == TEXTS:
        return _texts_next_to_images(source, encoding)[0]
    path = Path(text).expanduser().resolve()
    if not path.exists() and (source.root / text).exists():
        path = source.root / text
    if not path.is_file():
        raise SampleError(
            f"--labels {text}: there is no such file; other choices are before, after, a number, "
            f"stem, folder and {TEXTS}"
        )
    name = str(path)
    if path.is_relative_to(source.root):
        name = path.relative_to(source.root).as_posix()
    elif path.parent == source.root.parent:
        name = f"{ABOVE}{path.name}"
    try:
        decode(path.read_bytes(), encoding)
    except (OSError, UnicodeError, LookupError) as error:
        raise SampleError(f"{path} cannot be read: {error}; name its --encoding") from error
    images = ImageIndex(source.images, source.root.name)
    read = _read_list(source, name, images, encoding, is_chosen=True)
    if read is None or not read.labels:
        detail = f"; {'; '.join(read.wrong[:3])}" if read and read.wrong else ""
        missing = f", such as {read.missing[0]!r}" if read and read.missing else ""
        raise SampleError(
            f"{path} has no labels for images of {source.root}{missing}{detail}: expected a line "
            "`file,label` for each image"
        )
    return read


def is_list(name: str) -> bool:
    return has_suffix(name, LIST_SUFFIXES)


def _lists_above(root: Path) -> list[str]:
    try:
        names = sorted(entry.name for entry in os.scandir(root.parent) if entry.is_file())
    except OSError:  # another user's folder
        return []
    return [f"{ABOVE}{name}" for name in names if is_list(name) and not name.startswith(".")]


def _read_lists(
    source: SourceFolder, names: Sequence[str], images: ImageIndex, encoding: str
) -> list[LabelList]:
    return [read for name in names if (read := _read_list(source, name, images, encoding))]


def _without_single(lists: Sequence[LabelList]) -> list[LabelList]:
    """Leave out files of one image each, such as 1.json of 1.png, that say no labels."""
    single = {name: read for read in lists if len(read.labels) == 1 for name in read.labels}
    texts = {name: read.labels[name] for name, read in single.items()}
    if len(single) > 3 and plausibility(texts) < LIKE_LABELS:
        return [read for read in lists if len(read.labels) != 1]
    return list(lists)


def _texts_next_to_images(source: SourceFolder, encoding: str) -> tuple[LabelList, set[str]]:
    """Read NAME.gt.txt or NAME.txt of each NAME.png; return what they say, and their names."""
    found, used = LabelList(TEXTS_NAME), set()
    others = set(source.others)
    texts: dict[str, bytes] = {}
    by_stem = _texts_by_stem(source)
    for image in source.images:
        bare = without_suffix(image)
        near = [bare + suffix for suffix in TEXT_SUFFIXES] + [f"{image}.txt"]
        text = next((name for name in near if name in others), by_stem.get(image, ""))
        if not text:
            continue
        used.add(text)
        found.named.add(image)
        try:
            texts[image] = source.path(text).read_bytes()
        except OSError as error:
            found.wrong.append(f"{text}: {reason(error)}")
    plain = [data for data in texts.values() if not data.startswith(MARKS)]
    try:  # all together: a single one is too short to tell its encoding
        _, found.encoding = decode(b"\n".join(plain), encoding)
    except (UnicodeError, LookupError) as error:
        found.wrong.append(f"cannot be read: {error}; name their --encoding")
        texts.clear()
    for image, data in texts.items():
        lines = [line for line in map(clean_label, _decoded_lines(data, found.encoding)) if line]
        if len(lines) == 1 and lines[0].isprintable():
            found.labels[image] = lines[0]
        elif lines:
            found.wrong.append(f"the text of {image}: {len(lines)} lines")
    if found.labels and plausibility(found.labels) < LIKE_LABELS:
        example = next(iter(found.labels.values()))
        found.wrong.append(
            f"{len(found.labels)} texts do not look like labels, such as {example!r}"
        )
        found.labels.clear()
    if not found.labels:
        found.named.clear()
    return found, used


def _texts_by_stem(source: SourceFolder) -> dict[str, str]:
    """Return the texts of folders of their own, such as labels/ab.txt, by the image.

    Paths may differ in the folder that says what is in it: train/images/ab.png, train/gt/ab.txt.
    """
    texts = [name for name in source.others if name.lower().endswith(".txt")]
    found = {_bare_path(name.removesuffix(".txt").removesuffix(".gt")): name for name in texts}
    paths = Counter(_bare_path(without_suffix(name)) for name in source.images)
    alone = Counter(stem(name) for name in source.images)
    by_stem = {stem(name).removesuffix(".gt"): name for name in texts}
    once = {}
    for image in source.images:
        path = _bare_path(without_suffix(image))
        if paths[path] == 1 and path in found:
            once[image] = found[path]
        elif alone[stem(image)] == 1 and stem(image) in by_stem:
            once[image] = by_stem[stem(image)]
    return once if len(once) == len(texts) >= len(source.images) / 2 else {}


def _bare_path(path: str) -> tuple[str, ...]:
    """Return the parts of a path but those that name a kind of files."""
    *folders, name = path.split("/")
    return (*(part for part in folders if part.lower() not in KINDS), name)


def _decoded_lines(data: bytes, encoding: str) -> list[str]:
    try:
        marked = encoding == "utf-8" or data.startswith(MARKS)
        return decode(data, "" if marked else encoding)[0].splitlines()
    except UnicodeError:
        return []


def _read_list(
    source: SourceFolder, name: str, images: ImageIndex, encoding: str, is_chosen: bool = False
) -> LabelList | None:
    """Return what a file says; None where it is not a list of labels, unless the user chose it."""
    path = source.root / name
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            return None
        text, encoding = decode(path.read_bytes(), encoding)
    except (OSError, UnicodeError, LookupError):
        return None  # it has no text
    file = PurePosixPath(name)
    folder = "" if file.is_absolute() or "/" not in name else f"{file.parent}/"
    suffix = file.suffix.lower()
    is_json = suffix == ".json"
    as_tables = list(tables(text, suffix))
    # A list may be of the part that it is named after, or of all images.
    part = images.part_of(file.name if file.is_absolute() else name)
    readings: list[LabelList] = []
    for among in filter(None, (part, images)):
        is_above = among is part and not any(n.startswith(folder) for n in among.names)
        place = "" if is_above else folder
        read = [LabelList(name, encoding=encoding) for _ in as_tables]
        for found, table in zip(read, as_tables, strict=True):
            read_table(found, table, among, place, is_chosen)
        if not is_json and not any(each.labels for each in read):
            read.append(LabelList(name, encoding=encoding))
            _read_lines_alone(read[-1], text, among, place)
        with_labels = [each for each in read if each.labels]
        readings += [max(with_labels, key=lambda each: each.quality)] if with_labels else read
    if any(each.labels for each in readings):
        return max(readings, key=lambda each: len(each.labels))
    if is_json and (fault := json_fault(text)):
        return LabelList(name, wrong=[fault])
    named = [each for each in readings if each.missing or each.wrong]
    return min(named, key=lambda each: len(each.missing), default=None)


def _read_lines_alone(found: LabelList, text: str, images: ImageIndex, folder: str) -> None:
    """Take line N as the label of image N, where lines and numbered images are as many."""
    lines = [clean_label(line.strip(" \t,;\"'")) for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    numbers = {} if folder == ABOVE else images.numbered(folder)
    if not lines or not numbers or is_alphabet(lines):
        return
    if sum(map(has_image_suffix, lines)) or plausibility(dict(enumerate(lines))) < (
        LINES_LIKE_LABELS
    ):
        return
    if len(lines) == len(numbers) + 1 and heading(lines[0]) in LABEL_WORDS:
        del lines[0]
    if len(lines) != len(numbers):
        found.wrong.append(f"{len(lines)} lines alone for {len(numbers)} numbered images")
        return
    found.by_number = True
    for label, number in zip(lines, sorted(numbers), strict=True):
        found.named.add(numbers[number])
        if label:
            found.labels[numbers[number]] = label
