"""Which column of a table names images, and which has their labels."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cnnlib.config_reader import IMAGE_SUFFIXES
from cnnlib.dataset.labels import clean_label
from cnnlib.importing.image_index import ImageIndex, has_image_suffix, is_number
from cnnlib.importing.plausibility import FLOAT, is_alphabet, plausibility
from cnnlib.importing.tables import Row, Table

FILE_WORDS = (
    *("file", "filename", "filepath", "name", "image", "img", "imagename", "imagepath", "path"),
    *("id", "no", "number", "picture", "文件", "文件名", "图片", "图片名", "路径", "序号", "编号"),
)
LABEL_WORDS = (
    *("label", "labels", "text", "words", "word", "captcha", "value", "answer", "code"),
    *("solution", "string", "transcription", "transcript", "groundtruth", "gt", "truth", "target"),
    *("标签", "标注", "文本", "内容", "验证码", "答案"),
)
RESULT_WORDS = ("result", "结果")  # where no heading is one of those; else what a program read
OTHER_WORDS = (  # also as parts of others
    *("pred", "conf", "score", "split", "width", "height", "size", "length", "level", "index"),
    *("url", "date", "time", "md5", "sha256", "hash", "count", "shape", "region", "annot", "point"),
)
SAMPLE_ROWS = 2000
Find = Callable[[str], str | None]  # the image that a cell names
MOST_ROWS = 0.5  # must name images
# The plausibility of labels: of one column among several, and of the only one next to the files.
LIKE_LABELS, ONLY_LABELS = 0.3, 0.1
POOL = 4  # times at least the same few come, on average, where they need be no more like labels
FILE_NAME = re.compile(rf"\.({'|'.join(IMAGE_SUFFIXES)})\b", re.I)
WHOLE_FLOAT = re.compile(r"[0-9]+\.0")
CLEAR = 1.3  # times that of the next column


@dataclass
class LabelList:
    """What one file, or the texts next to the images, say."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)  # image's path in the folder -> label
    named: set[str] = field(default_factory=set)  # images, with and without a label
    contradicted: set[str] = field(default_factory=set)  # images with two labels
    missing: list[str] = field(default_factory=list)  # files that it names and that are not there
    wrong: list[str] = field(default_factory=list)  # "line 7: why"
    encoding: str = "utf-8"
    by_number: bool = False  # images are meant by number, or by the order of lines
    is_sure: bool = True  # a heading says where labels are, or they look like labels

    @property
    def quality(self) -> tuple[int, float]:
        """How good a reading of a file this is, to compare with others."""
        return (round(len(self.labels), -1), plausibility(self.labels))


def read_table(
    found: LabelList, table: Table, images: ImageIndex, folder: str, is_chosen: bool = False
) -> None:
    """Fill in what a table in `folder` says of the images, where it is a list of labels.

    In one that the user chose, the only column next to that of the files has labels.
    """
    width = table.width
    if width < 2:
        return
    header, body = _split_header(table, images, folder)
    whole = [cells for _, cells in body if len(cells) == width]
    sample = whole[:SAMPLE_ROWS]
    if not sample:
        return
    anywhere = not any(images.find(cell, folder, anywhere=False) for row in sample for cell in row)
    find = functools.partial(images.find, folder=folder, anywhere=anywhere)
    numbered = images.numbered(folder)
    file_at, numbers = _file_column(whole, header, find, numbered)
    may_have_heading = not any(header) and len(whole) > 2  # of unknown words
    if file_at is None and may_have_heading and not re.search("[0-9]", "".join(whole[0])):
        file_at, numbers = _file_column(whole[1:], header, find, numbered)
    if file_at is None:
        return
    if may_have_heading and _is_heading(body[0][1], file_at):
        body, sample = body[1:], sample[1:]
    label_at = _label_column(sample, header, file_at, found, is_chosen)
    if label_at is None:
        return
    if all(WHOLE_FLOAT.fullmatch(cells[label_at]) for cells in sample if cells[label_at]):
        body = [(number, _without_fraction(cells, label_at)) for number, cells in body]
    found.by_number = bool(numbers)
    for row in body:
        _read_row(found, row, width, (file_at, label_at), images, find, numbers)
    for image in found.contradicted:
        found.labels.pop(image, None)


def _split_header(table: Table, images: ImageIndex, folder: str) -> tuple[list[str], Sequence[Row]]:
    """Return the words of a table's header, empty ones where there is none, and its other rows."""
    width, rows = table.width, table.rows
    words = [heading(cell) for cell in rows[0][1]]
    has_header = table.has_keys or (
        len(words) == width
        and (bool({*words} & {*FILE_WORDS, *LABEL_WORDS}) or any(map(_is_other, words)))
        and not any(images.find(cell, folder) for cell in rows[0][1])
    )
    return (words, rows[1:]) if has_header else ([""] * width, rows)


def _without_fraction(cells: list[str], place: int) -> list[str]:
    """Return a row whose label is 1234 instead of 1234.0, as pandas writes it where some lack."""
    return [c.removesuffix(".0") if i == place else c for i, c in enumerate(cells)]


def heading(cell: str) -> str:
    """Return a cell as headings are compared."""
    return re.sub(r"[\s_-]+", "", cell.strip().lower())


def _is_other(word: str) -> bool:
    return any(other in word for other in OTHER_WORDS)


def _is_heading(cells: Sequence[str], file_at: int) -> bool:
    """Return whether a row has unknown words as its heading."""
    return file_at < len(cells) and not any(c in "./\\0123456789" for c in cells[file_at])


def _file_column(
    rows: Sequence[Sequence[str]], header: Sequence[str], find: Find, numbers: dict[int, str]
) -> tuple[int | None, dict[int, str]]:
    """Return the column that names images, and the images by number where it does so by number."""
    sample = rows[:SAMPLE_ROWS]

    def rank(i: int) -> tuple[float, int, bool]:
        cells = [row[i] for row in sample]
        found = sum(find(cell) is not None for cell in cells)
        return found / len(cells), sum(map(has_image_suffix, cells)), header[i] in FILE_WORDS

    ranks = {i: rank(i) for i in range(len(sample[0]))}
    best = max(ranks, key=lambda i: ranks[i])
    if ranks[best][0] >= MOST_ROWS:
        return best, {}
    has_files = any(files > len(sample) / 2 for _, files, _ in ranks.values())
    for i in sorted(ranks, key=lambda i: header[i] not in FILE_WORDS):
        cells = [row[i] for row in rows]
        if numbers and not has_files and _are_numbers_of(cells, numbers):
            return i, numbers
    looks_like_files = ranks[best][1] >= MOST_ROWS * len(sample)
    said = [i for i in ranks if header[i] in FILE_WORDS]
    if looks_like_files or (said and {*header} & {*LABEL_WORDS}):
        return (best if looks_like_files else said[0]), {}
    return None, {}


def _are_numbers_of(cells: Sequence[str], numbers: dict[int, str]) -> bool:
    """Return whether the cells are the numbers of all images, or of some in order, and no others.

    Numbers from 0 do not name images from 1.
    """
    if not all(map(is_number, cells)):
        return False
    given = [int(cell) for cell in cells]
    if not set(given) <= set(numbers) or len(set(given)) < len(given):
        return False
    return len(given) == len(numbers) or (given == sorted(given) and len(given) >= 10)


def _label_column(
    sample: Sequence[Sequence[str]],
    header: Sequence[str],
    file_at: int,
    found: LabelList,
    is_chosen: bool,
) -> int | None:
    """Return the column that has labels; None where none looks like them, or two do."""
    scores: dict[int, float] = {}  # above 1 where the header says so
    width = len(sample[0])
    words = LABEL_WORDS if {*header} & {*LABEL_WORDS} else RESULT_WORDS
    for i in range(width):
        cells = [row[i] for row in sample]
        said = header[i] in words or any(header[i].endswith(word) for word in LABEL_WORDS[:9])
        least = LIKE_LABELS
        if said or (width == 2 and is_chosen):
            least = 0.0
        elif width == 2 and len(set(cells)) <= len(cells) / POOL:
            least = ONLY_LABELS
        score = _like_labels(cells)
        if i != file_at and not _is_other(header[i]) and score > least:
            scores[i] = score + said
    found.is_sure = is_chosen or max(scores.values(), default=0.0) >= LIKE_LABELS
    ranked = sorted(scores, key=lambda i: -scores[i])
    if not ranked:
        return None
    best = ranked[0]
    if len(ranked) > 1 and scores[best] <= 1 and scores[best] < CLEAR * scores[ranked[1]]:
        found.wrong.append(
            f"columns {best + 1} and {ranked[1] + 1} may both have the labels: give one the "
            "heading `label`, another the heading `file`"
        )
        return None
    return best


def _like_labels(cells: Sequence[str]) -> float:
    """Return how much the cells of a column look like labels, by what they are and how varied."""
    given = [cell for cell in cells if cell]
    if not given or sum(bool(FILE_NAME.search(cell)) for cell in given) > len(given) / 2:
        return 0.0
    if all(WHOLE_FLOAT.fullmatch(cell) for cell in given):
        given = [cell.removesuffix(".0") for cell in given]
    if all(FLOAT.fullmatch(cell) for cell in given) or any("://" in cell for cell in given):
        return 0.0
    if is_alphabet(given):
        return 0.0
    varied = 1.0 if len(given) < 10 or len(set(given)) > len(given) / 10 else 0.3
    return varied * plausibility(dict(enumerate(given)))


def _read_row(
    found: LabelList,
    row: Row,
    width: int,
    places: tuple[int, int],
    images: ImageIndex,
    find: Find,
    numbers: dict[int, str],
) -> None:
    number, cells = row
    file_at, label_at = places
    where = f"line {number}"
    if len(cells) != width:
        found.wrong.append(f"{where}: {len(cells)} cells, the others have {width}")
        return
    cell, label = cells[file_at], clean_label(cells[label_at])
    image = find(cell)
    if numbers:
        image = numbers.get(int(cell)) if is_number(cell) else None
    elif image is None and images.is_ambiguous(cell):
        image = next(filter(None, (find(f"{other}/{cell}") for other in cells if other)), None)
        if image is None:
            found.wrong.append(f"{where}: {cell} is in several folders, and none is named")
            return
    if image is None:
        found.missing.append(cell)
        return
    found.named.add(image)
    if not label:
        found.wrong.append(f"{where}: no label")
    elif not label.isprintable():
        found.wrong.append(f"{where}: a label that cannot be printed")
    elif found.labels.setdefault(image, label) != label:
        found.contradicted.add(image)
        found.wrong.append(f"{where}: {image} is {found.labels[image]!r} above")
