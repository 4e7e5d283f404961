"""Which images of a folder have which labels, where they are, and what is left out and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cnnlib.console import examples
from cnnlib.dataset.labels import has_suffix
from cnnlib.errors import SampleError
from cnnlib.importing.label_lists import (
    TEXTS,
    TEXTS_NAME,
    LabelList,
    is_list,
    read_label_list_file,
    read_label_lists,
)
from cnnlib.importing.label_rules import (
    FOLDER,
    STEM,
    USUAL,
    Hypothesis,
    NameRule,
    clear_rule,
    is_likely,
    is_stray,
    rank_rules,
)
from cnnlib.importing.source_folder import (
    ARCHIVE_SUFFIXES,
    SourceFolder,
    may_list,
    read_source_folder,
    stem,
)

UNLABELLED = re.compile(r"(^|/)un-?label+ed/", re.I)  # a folder that says so
DIFFER = 0.5  # of the labels, from where on names and lists do not mean the same


@dataclass
class LabelledFolder:
    """The images of a folder with their labels, and what is to be said about the others."""

    source: SourceFolder
    labels: dict[str, str] = field(default_factory=dict)  # image's path in the folder -> label
    listed: int = 0  # of these labels
    listed_in: str = ""  # the first of the lists that have them
    rule: NameRule | None = None  # where names have the others
    taken: list[str] = field(default_factory=list)  # what was taken, a line each
    left_out: list[str] = field(default_factory=list)  # what was not and why, a line each
    reported: set[str] = field(default_factory=set)  # lists that the two speak of

    @property
    def unlabelled(self) -> list[str]:
        return [name for name in self.source.images if name not in self.labels]


def read_unlabelled_folder(root: Path) -> LabelledFolder:
    """Take the images of a folder as images without labels; raises SampleError without any."""
    source = read_source_folder(root)
    if not source.images:
        raise SampleError(_no_image(source))
    return LabelledFolder(source)


def read_labelled_folder(
    root: Path,
    *,
    labels: str = "",
    separator: str = "",
    encoding: str = "",
) -> LabelledFolder:
    """Find out where a folder has its labels.

    `labels` and `separator` choose, where they are not empty: "before", "after", the number of a
    field from 1, "stem", "folder", "texts", or the path of a list. Raises SampleError where there
    is no image, no label, or where two rules are as likely.
    """
    source = read_source_folder(root)
    found = LabelledFolder(source)
    if not source.images:
        raise SampleError(_no_image(source))
    rule = _chosen_rule(labels, separator)
    if rule is not None:
        _take_names(found, Hypothesis.of(rule, source.images), set())
    else:
        _find_labels(found, labels, encoding)
    if not found.labels:
        raise SampleError(_no_label(found, rule))
    _report_the_rest(found)
    return found


def _find_labels(found: LabelledFolder, list_file: str, encoding: str) -> None:
    """Take the labels of the list that the user named, else of lists or names, whichever fit."""
    source = found.source
    ranked = rank_rules(source.images)
    clear = clear_rule(ranked)
    if list_file:
        lists = [read_label_list_file(source, list_file, encoding)]
    else:
        lists = read_label_lists(source, encoding, above_too=clear is None)
        if clear is not None:  # numbers, lines and other texts mean less than names with labels
            lists = [read for read in lists if not read.by_number and read.is_sure]
    _take_lists(found, lists)
    if found.labels and clear is not None:
        clear = _agreeing(found, clear, is_chosen=bool(list_file))
    if clear is None and not found.labels and is_likely(ranked):
        raise SampleError(_two_rules(found, ranked))
    if clear is not None:
        labels = dict(clear.labels)
        _leave_out_strays(found, labels)
        listed = {name for read in lists for name in read.named}
        _take_names(found, Hypothesis(clear.rule, labels, clear.score), listed)


def _agreeing(found: LabelledFolder, clear: Hypothesis, is_chosen: bool) -> Hypothesis | None:
    """Return the rule for names where it agrees with the lists; None where names have no labels.

    Raises SampleError where names in the form of this project have other labels than a list.
    """
    both = found.labels.keys() & clear.labels.keys()
    differ = [name for name in both if found.labels[name] != clear.labels[name]]
    if len(differ) > DIFFER * len(both):
        if is_chosen or clear.rule.kind in (STEM, FOLDER):  # names at random
            found.taken.append(f"their names say something else; {clear.rule.option} takes it")
            return None
        name = min(differ)
        lists = TEXTS if found.listed_in == TEXTS_NAME else found.source.root / found.listed_in
        raise SampleError(
            f"{found.listed_in} and the names in {found.source.root} do not agree on {len(differ)} "
            f"of {len(both)} images: {name} is {found.labels[name]!r} in the list and "
            f"{clear.labels[name]!r} {clear.rule}. Choose one of them:\n"
            f"  --labels '{lists}'\n  {clear.rule.option}"
        )
    if differ:
        pairs = [f"{name} ({found.labels[name]!r})" for name in sorted(differ)]
        found.taken.append(
            f"of these {len(differ)} differ from what is {clear.rule}: {examples(pairs)}"
        )
    return clear


def _report_the_rest(found: LabelledFolder) -> None:
    """Say which images have no label, and which files were not read."""
    source = found.source
    if unlabelled := found.unlabelled:
        found.left_out.append(f"{len(unlabelled)} images without a label: {examples(unlabelled)}")
    if source.other_images:
        found.left_out.append(
            f"{len(source.other_images)} images of formats that are not read, convert them: "
            f"{examples(source.other_images)}"
        )
    if not found.listed:
        stems = {stem(name) for name in source.images}
        unread = [name for name in source.others if may_list(name) or stem(name) in stems]
        if unread:
            found.left_out.append(f"{len(unread)} files that may have labels: {examples(unread)}")


def _chosen_rule(labels: str, separator: str) -> NameRule | None:
    """Return the rule that options choose; None where they name a list, or nothing."""
    if not labels and not separator:
        return None
    if labels in (STEM, FOLDER):
        return NameRule(labels)
    if labels in ("", "before", "after"):
        return NameRule(labels or "before", separator or USUAL.separator)
    if labels.isascii() and labels.isdecimal() and int(labels) >= 1:
        return NameRule("field", separator or USUAL.separator, int(labels) - 1)
    return None


# --- lists ---


def _take_lists(found: LabelledFolder, lists: Sequence[LabelList]) -> None:
    """Take the labels of all lists that agree; images under two labels are left out."""
    contradicted: dict[str, str] = {}
    for read in lists:
        if not read.labels:
            _report_list(found, read)
            continue
        for name, label in read.labels.items():
            if found.labels.get(name, label) != label:
                contradicted[name] = f"{name} ({found.labels[name]!r}, {label!r})"
        _take_list(found, read)
    for name in contradicted:
        del found.labels[name]
    found.listed = len(found.labels)
    if contradicted:
        found.left_out.append(
            f"{len(contradicted)} images that lists give two labels: "
            f"{examples(list(contradicted.values()))}"
        )


def _take_list(found: LabelledFolder, read: LabelList) -> None:
    found.labels |= read.labels
    found.listed_in = found.listed_in or read.name
    encoding = (
        ""
        if read.encoding in ("utf-8", "ascii")
        else f", read as {read.encoding} (--encoding says another)"
    )
    order = ", by the numbers of the images" if read.by_number else ""
    found.taken.append(
        f"{len(read.labels)} labels from {read.name}{encoding}{order}: {_shown(read.labels)}"
    )
    _report_list(found, read)


def _report_list(found: LabelledFolder, read: LabelList) -> None:
    found.reported.add(read.name)
    if read.missing:
        found.left_out.append(
            f"{read.name} names {len(read.missing)} files that are not there: "
            f"{examples(read.missing)}"
        )
    if read.wrong:
        found.left_out.append(
            f"{read.name}: {len(read.wrong)} lines are not understood: {examples(read.wrong)}"
        )


# --- names ---


def _take_names(found: LabelledFolder, hypothesis: Hypothesis, listed: set[str]) -> None:
    """Take the labels in the names of images that no list names."""
    labels = {
        name: label
        for name, label in hypothesis.labels.items()
        if name not in listed and not UNLABELLED.search(name)
    }
    if labels:
        found.rule = hypothesis.rule
        found.labels |= labels
        found.taken.append(f"{len(labels)} labels {_place(found.rule)}: {_shown(labels)}")


def _place(rule: NameRule) -> str:
    return f"that are {rule}" if rule.kind in (STEM, FOLDER) else str(rule)


def _leave_out_strays(found: LabelledFolder, labels: dict[str, str]) -> None:
    """Remove what has the length of no label, such as `screenshot` among texts of four."""
    lengths = Counter(map(len, labels.values()))
    strays = [name for name, label in labels.items() if is_stray(label, lengths)]
    for name in strays:
        del labels[name]
    if strays:
        common = Counter(map(len, labels.values())).most_common(3)
        usual = ", ".join(str(n) for n, _ in sorted(common))
        found.left_out.append(
            f"{len(strays)} names far longer or shorter than labels of {usual} characters: "
            f"{examples(strays)}"
        )


def _shown(labels: Mapping[str, str]) -> str:
    pairs = list(labels.items())
    chosen = dict.fromkeys((0, len(pairs) // 2, len(pairs) - 1))
    return ", ".join(f"{pairs[i][0]} is {pairs[i][1]!r}" for i in chosen)


def _two_rules(found: LabelledFolder, ranked: Sequence[Hypothesis]) -> str:
    one, other = (hypothesis.labels for hypothesis in ranked[:2])

    def lines() -> Iterator[str]:
        for hypothesis, against in zip(ranked, (other, one), strict=False):
            labels = hypothesis.labels
            differ = {name: label for name, label in labels.items() if against.get(name) != label}
            yield f"  {hypothesis.rule.option}\n      {_shown(differ or labels)}"

    shown = "\n".join(lines())
    return f"the names in {found.source.root} can be read in two ways. Choose one of them:\n{shown}"


def _no_image(source: SourceFolder) -> str:
    others = source.other_images
    formats = (
        f"; {len(others)} have formats that are not read: {examples(others)}" if others else ""
    )
    archives = [name for name in source.others if has_suffix(name, ARCHIVE_SUFFIXES)]
    packed = f"; unpack {examples(archives)}" if archives else ""
    return (
        f"no image in {source.root} or the folders in it{formats}: name a folder with "
        f"images{packed}"
    )


def _no_label(found: LabelledFolder, chosen: NameRule | None) -> str:
    """Say that there is no label, what was seen, and which options would find some."""
    source = found.source
    if undecoded := [name for name in source.images if not name.isprintable()]:
        found.left_out.append(
            f"{len(undecoded)} names that are not UTF-8: convert them, as with `convmv -f gbk -t "
            f"utf8`, or unpack them with their encoding, as `unzip -O gbk`: {examples(undecoded)}"
        )
    unread = [name for name in source.others if is_list(name) or may_list(name)]
    unread = [name for name in unread if name not in found.reported]
    if unread:
        found.left_out.append(f"{len(unread)} files without labels of these: {examples(unread)}")
    seen = "".join(f"\n- {line}" for line in found.left_out)
    seen += "".join(f"\n- {line}" for line in _offers(source, chosen))
    return (
        f"no image in {source.root} has a label, such as {source.images[0]}. "
        "Put the label into the name, as in 2e8j_1.png or 2e8j.png, or write a list labels.csv "
        "next to the images, a line `file,label` for each; --labels says where labels are. To "
        "label them on a page, say what occurs, such as --characters 0-9a-z --length 4, or 4-6."
        f"{seen}"
    )


def _offers(source: SourceFolder, chosen: NameRule | None) -> Iterator[str]:
    """Yield the rules that fit some of the names, with the option that takes each."""
    ranked = rank_rules(source.images)
    folders = Hypothesis.of(NameRule(FOLDER), source.images)
    if len(set(folders.labels.values())) > 2 and all(h.rule != folders.rule for h in ranked):
        ranked = [*ranked[:1], folders]
    for hypothesis in ranked[:2]:
        if hypothesis.rule != chosen:
            yield (
                f"{len(hypothesis.labels)} of {len(source.images)} images may have one "
                f"{_place(hypothesis.rule)}, {hypothesis.rule.option}: {_shown(hypothesis.labels)}"
            )
