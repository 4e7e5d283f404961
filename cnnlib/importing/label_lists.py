"""Lists of labels as people have them: CSV, text, JSON, or a text next to each image."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from cnnlib.dataset.labels import clean_label
from cnnlib.errors import SampleError
from cnnlib.files import reason
from cnnlib.importing.image_index import ImageIndex, without_suffix
from cnnlib.importing.plausibility import plausibility
from cnnlib.importing.source_folder import SourceFolder, natural_key, stem
from cnnlib.importing.tables import Row, decoded, tables

LIST_SUFFIXES = ("csv", "tsv", "txt", "json", "jsonl", "ndjson", "lst", "list")
FILE_WORDS = (
    *("file", "filename", "file_name", "filepath", "name", "image", "img", "image_name"),
    *("path", "image_path", "id", "文件", "文件名", "图片", "图片名", "路径"),
)
LABEL_WORDS = (
    *("label", "labels", "text", "words", "word", "captcha", "value", "answer", "code"),
    *("transcription", "ground_truth", "标签", "标注", "文本", "内容", "验证码"),
)
MAX_LIST_BYTES = 200 << 20
TEXT_SUFFIXES = (".gt.txt", ".txt")  # of a text next to an image, as tesstrain has them
LIKE_LABELS = 0.5  # `plausibility` of lines that are labels
FEWEST_ROWS = 0.5  # of a list's rows, which must name images


@dataclass
class LabelList:
    """What one file, or the texts next to the images, say."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)  # image's path in the folder -> label
    named: set[str] = field(default_factory=set)  # images, with and without a label
    missing: list[str] = field(default_factory=list)  # files that it names and that are not there
    wrong: list[str] = field(default_factory=list)  # "line 7: why"
    encoding: str = "utf-8"
    in_order: bool = False  # the labels alone, in the order of numbered images


def read_label_lists(source: SourceFolder, encoding: str = "") -> list[LabelList]:
    """Return the lists in a folder, else above it, that name some of its images or should."""
    images = ImageIndex(source.images)
    texts, used = _texts_next_to_images(source)
    found = [texts] if texts.labels else []
    inside = [name for name in source.others if name not in used and _is_list(name)]
    above = _lists_above(source.root)
    for names in (inside, above):
        lists = [read for name in names if (read := _read_list(source, name, images, encoding))]
        if names is above:  # what does not name these images belongs to something else
            lists = [read for read in lists if read.labels and not read.in_order]
        found += lists
        if any(read.labels for read in found):
            break
    return found


def read_label_list_file(source: SourceFolder, path: Path, encoding: str = "") -> LabelList:
    """Return what a list says that the user named; raises SampleError where it is none."""
    read = _read_list(source, str(path), ImageIndex(source.images), encoding)
    if read is None or not read.labels:
        detail = f"; {'; '.join(read.wrong[:3])}" if read and read.wrong else ""
        missing = f", such as {read.missing[0]!r}" if read and read.missing else ""
        raise SampleError(
            f"{path} names no image of {source.root}{missing}{detail}: expected a line "
            "`file,label` for each image"
        )
    return read


def _lists_above(root: Path) -> list[str]:
    try:
        names = sorted(entry.name for entry in os.scandir(root.parent) if entry.is_file())
    except OSError:  # another user's folder
        return []
    return [f"../{name}" for name in names if _is_list(name) and not name.startswith(".")]


def _is_list(name: str) -> bool:
    return PurePosixPath(name).suffix.lstrip(".").lower() in LIST_SUFFIXES


# --- files ---


def _texts_next_to_images(source: SourceFolder) -> tuple[LabelList, set[str]]:
    """Read NAME.gt.txt or NAME.txt of each NAME.png; return what they say, and their names."""
    found, used = LabelList("the text next to each image"), set()
    others = set(source.others)
    for image in source.images:
        for suffix in TEXT_SUFFIXES:
            text = f"{without_suffix(image)}{suffix}"
            if text not in others:
                continue
            used.add(text)
            found.named.add(image)
            try:
                lines = decoded(source.path(text).read_bytes(), "")[0].split("\n")
            except OSError as error:
                found.wrong.append(f"{text}: {reason(error)}")
                break
            lines = [line for line in map(clean_label, lines) if line]
            if len(lines) == 1:
                found.labels[image] = lines[0]
            elif lines:
                found.wrong.append(f"{text}: {len(lines)} lines")
            break
    return found, used


def _read_list(
    source: SourceFolder, name: str, images: ImageIndex, encoding: str
) -> LabelList | None:
    """Return what a file says; None where it is no list of labels."""
    path = source.root / name
    found = LabelList(name)
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            return None
        text, found.encoding = decoded(path.read_bytes(), encoding)
    except (OSError, UnicodeError, LookupError) as error:
        if encoding:
            raise SampleError(f"{path} cannot be read as {encoding}: {error}") from error
        found.wrong.append(f"cannot be read: {error}")
        return found
    folder = "" if name.startswith(("..", "/")) else name.rpartition("/")[0]
    folder = f"{folder}/" if folder else ""
    read = []
    for rows in tables(text, PurePosixPath(name).suffix.lower()):
        read.append(LabelList(name, encoding=found.encoding))
        _read_table(read[-1], rows, images, folder)
    best = max(read, key=lambda table: (len(table.labels), -len(table.missing)), default=None)
    if best is not None and best.labels:
        return best
    alone = _labels_alone(found, text, images, folder)
    if alone.labels or alone.wrong:
        return alone
    named = [table for table in read if table.missing and not table.wrong]
    return min(named, key=lambda table: len(table.missing), default=None)


def _read_table(found: LabelList, rows: Sequence[Row], images: ImageIndex, folder: str) -> None:
    """Fill in what a table says: one column names images, another one has their labels."""
    rows = [(number, [cell.strip() for cell in cells]) for number, cells in rows]
    rows = [(number, cells) for number, cells in rows if any(cells)]
    width = Counter(len(cells) for _, cells in rows).most_common(1)[0][0] if rows else 0
    if width < 2:
        return
    sample = [cells for _, cells in rows if len(cells) == width][:2000]
    found_in = [{images.find(cells[i], folder) for cells in sample} for i in range(width)]
    named = [len(names - {None}) for names in found_in]
    header = [cell.lower() for cell in rows[0][1]]
    file_at = _file_column(named, header, len(sample))
    if file_at is None:
        return
    is_header = len(header) == width and not images.find(rows[0][1][file_at], folder) and (
        not {*header}.isdisjoint({*FILE_WORDS, *LABEL_WORDS})
        or not rows[0][0]  # the keys of JSON objects
        or not any(c in "./\\0123456789" for c in header[file_at])
    )  # fmt: skip
    if is_header:
        rows, sample = rows[1:], sample[1:]
    label_at = _label_column(sample, header if is_header else [], file_at)
    if label_at is None:
        return
    for number, cells in rows:
        _read_row(found, number, cells, width, (file_at, label_at), images, folder)
    return


def _read_row(
    found: LabelList,
    number: int,
    cells: Sequence[str],
    width: int,
    places: tuple[int, int],
    images: ImageIndex,
    folder: str,
) -> None:
    file_at, label_at = places
    if len(cells) != width:
        found.wrong.append(f"line {number}: {len(cells)} cells, the others have {width}")
        return
    image, label = images.find(cells[file_at], folder), clean_label(cells[label_at])
    if image is None:
        found.missing.append(cells[file_at])
        return
    found.named.add(image)
    if not label:
        found.wrong.append(f"line {number}: no label")
    elif found.labels.get(image, label) != label:
        found.wrong.append(f"line {number}: {image} is {found.labels[image]!r} above")
    else:
        found.labels[image] = label


def _file_column(named: Sequence[int], header: Sequence[str], rows: int) -> int | None:
    """Return the column that names images: most of its cells do, or its header says so."""
    best = max(range(len(named)), key=lambda i: named[i])
    if named[best] >= max(1, FEWEST_ROWS * (rows - 1)):
        return best
    said = [i for i, word in enumerate(header) if word in FILE_WORDS and i < len(named)]
    if said:
        return said[0]
    return best if named[best] else None


def _label_column(
    sample: Sequence[Sequence[str]], header: Sequence[str], file_at: int
) -> int | None:
    said = [header.index(word) for word in LABEL_WORDS if word in header]
    for i in said:
        if i != file_at:
            return i
    others = [i for i in range(len(sample[0]) if sample else 0) if i != file_at]
    return max(
        others,
        key=lambda i: plausibility({n: cells[i] for n, cells in enumerate(sample)}),
        default=None,
    )


def _labels_alone(found: LabelList, text: str, images: ImageIndex, folder: str) -> LabelList:
    """Read line N as the label of image N, where lines and numbered images are as many."""
    lines = [clean_label(line) for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    inside = [name for name in images.names if name.startswith(folder)]
    numbers = _numbers(inside)
    if not lines or not inside or len(numbers) != len(inside):
        return found
    if len(lines) != len(inside):
        if plausibility(dict(enumerate(lines))) > LIKE_LABELS:
            found.wrong.append(f"{len(lines)} lines alone for {len(inside)} numbered images")
        return found
    found.in_order = True
    for label, number in zip(lines, sorted(numbers), strict=True):
        found.named.add(numbers[number])
        if label:
            found.labels[numbers[number]] = label
    return found


def _numbers(names: Iterable[str]) -> dict[int, str]:
    """Return the images whose names end in a number, by it; none where two have the same."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for name in sorted(names, key=natural_key):
        if match := re.search(r"[0-9]+$", stem(name)):
            found[int(match[0])].append(name)
    if any(len(same) > 1 for same in found.values()):
        return {}
    return {number: same[0] for number, same in found.items()}
