"""How file names carry labels: the rules to try, and which of them fits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cnnlib.dataset.labels import SEPARATOR, clean_label, label_of
from cnnlib.errors import SampleError
from cnnlib.importing.plausibility import SEPARATORS, are_serials, plausibility
from cnnlib.importing.source_folder import stem

STEM, FOLDER = "stem", "folder"
MAX_FIELDS = 4
# What file managers add to the name of a second file: `ab (2)`, `ab - Copy`, `ab (another copy)`.
COPY_MARK = re.compile(
    r"(?<=.)( ?[(（][0-9]{1,4}[)）]| ?\((another |[0-9]+(st|nd|rd|th) )?copy\)"
    r"|([ _-]+(copy|kopie|copie|copia|копия)|[ _-]*(副本|コピー))( ?\(?[0-9]{1,3}\)?)?)+$",
    re.I,
)
AGAIN = re.compile(r"(.+?)[ _-][0-9]{1,3}")
BRACKETS = "[](){}（）【】"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)
# After these digits may be a label; IMG is what cameras write.
WORD = r"((?-i:img|Img)|image|captcha|code|yzm|verify|vcode|picture|pic|photo|file)"
GIVEN_NAME = re.compile(
    rf"[0-9a-f]{{16,}}|[0-9]{{12,}}|tmp\w{{6,}}|{WORD}\(?[0-9]+\)?"
    r"|(download|frame|unknown|untitled|dsc|dscn|mmexport|(?-i:IMG))[ _-]*(e|_)?\(?[0-9]+\)?"
    r"|(screenshot|屏幕截图|微信图片|图片|截图)[ _-]?.*",
    re.I,
)
NUMBERED_NAME = re.compile(rf"({WORD}[ _-]+)\(?[0-9]+\)?", re.I)  # digits count, or are a label
LABELLED_TOO = 0.05  # of the names with that word, which have labels
FIRST_DIGITS = 5  # at least, of digits that are labels
SUM = re.compile(r"(?<![0-9])[0-9]{1,2} ?[-+*x×÷/] ?[0-9]{1,2}(?![0-9])")
OPERATORS = " -+*="  # of sums, of those that also separate
# The naming rule of this project comes first, then what is met most often in public sets.
PRIORS = {"before": 0.93, "after": 0.8, "field": 0.7, STEM: 0.95, FOLDER: 0.75}
CLEAR = 1.2  # times the next score
LEAST_SCORE = 0.25  # of a rule that is taken
SHOWN_FROM = 0.05
SEPARATED = 0.9
RARE = 0.01  # of the labels
STRAY_FROM = 20  # labels
LEAST_CLASSES = 5  # folders of single characters


@dataclass(frozen=True)
class NameRule:
    """Where a name has its label: a field between separators, the whole stem, or its folder."""

    kind: str  # "before", "after", "field", STEM or FOLDER
    separator: str = ""
    number: int = 0  # of the field, from 0
    or_stem: bool = False  # where there is no separator

    def label(self, name: str) -> str | None:
        """Return the label in a file's path, None where it has none, or bytes that are not text."""
        label = self._label(name)
        return label if label and label.isprintable() else None

    def _label(self, name: str) -> str | None:
        if self.kind == FOLDER:
            return clean_label(name.split("/")[-2]) if "/" in name else ""
        text = _name_text(name)
        if self.kind == STEM:
            return text or None
        if self.kind == "before" and self.separator == SEPARATOR and SEPARATOR in text:
            try:
                return clean_label(label_of(name.rpartition("/")[2])) or None  # it decodes, too
            except SampleError:
                return None
        fields = text.split(self.separator)
        if self.or_stem and len(fields) == 1:
            return text or None
        if len(fields) < max(2, self.number + 1) or not any(fields[1:]):
            return None
        place = -1 if self.kind == "after" else self.number
        return clean_label(fields[place].strip(BRACKETS)) or None

    @property
    def option(self) -> str:
        """What chooses this rule on the command line."""
        where = str(self.number + 1) if self.kind == "field" else self.kind
        separator = f" --separator '{self.separator}'" if self.separator else ""
        return f"--labels {where}{separator}"

    def __str__(self) -> str:
        if self.kind == STEM:
            return "the whole name"
        if self.kind == FOLDER:
            return "the name of the folder"
        if self.kind == "field":
            return f"field {self.number + 1} between '{self.separator}' of the name"
        end = "first" if self.kind == "before" else "last"
        rest = ", and whole names without one" if self.or_stem else ""
        return f"{self.kind} the {end} '{self.separator}' of the name{rest}"


USUAL = NameRule("before", SEPARATOR)


@dataclass(frozen=True)
class Hypothesis:
    """A rule, and the labels it gives."""

    rule: NameRule
    labels: dict[str, str] = field(repr=False)  # by the image's path
    score: float  # 0 to 1

    @classmethod
    def of(cls, rule: NameRule, names: Sequence[str]) -> Hypothesis:
        labels = {name: label for name in names if (label := rule.label(name))}
        return cls(rule, labels, 1.0)


def rank_rules(names: Sequence[str]) -> list[Hypothesis]:
    """Return the rules that some labels speak for, the best first.

    Names that a program gave, such as numbers in order, have no labels and speak against no rule.
    """
    own = _without_given_names(names)
    found = []
    for rule in _rules(names, own):
        pool = names if rule.kind == FOLDER else own
        labels = Hypothesis.of(rule, pool).labels
        if rule.kind == STEM:
            labels = _without_serials(labels)
        score = _prior(rule) * _fit(rule, labels) * (len(labels) / len(pool)) ** 2
        if score >= SHOWN_FROM:
            found.append(Hypothesis(rule, labels, score))
    found.sort(key=lambda hypothesis: -hypothesis.score)
    return _without_doubles(found)


def _fit(rule: NameRule, labels: dict[str, str]) -> float:
    """Return how much labels look like labels, and like those of this rule."""
    score = plausibility(labels)
    if rule.kind == FOLDER:
        folders = set(labels.values())
        few = len(folders) < max(3, len(labels) / 10) or are_serials({f: f for f in folders})
        if few and not _are_classes(folders, labels):
            return 0.0
    if rule.kind == STEM and sum(SEPARATOR in label for label in labels.values()) > (
        0.8 * len(labels)
    ):
        return 0.2 * score  # it separates something
    if rule.or_stem:  # AB12_2 next to CD34
        split = {len(labels[name]) for name in labels if rule.separator in _name_text(name)}
        whole = Counter(len(labels[n]) for n in labels if rule.separator not in _name_text(n))
        if not split <= {n for n, count in whole.items() if count >= RARE * whole.total()}:
            return 0.0
    if rule == USUAL and score < 1:  # this project's labels may have separators of other kinds
        plain = {name: re.sub(r"[^\w]", "x", label) for name, label in labels.items()}
        return max(score, SEPARATED * plausibility(plain))
    return score


def _are_classes(folders: set[str], labels: dict[str, str]) -> bool:
    """Return whether folders are single characters, and each counts its images by itself.

    Else they may be parts of a set, such as those of equal first digits of a hash.
    """
    if len(folders) < LEAST_CLASSES or max(map(len, folders)) > 1:
        return False
    texts = {_name_text(name).removeprefix(label) for name, label in labels.items()}
    return len(texts) <= len(labels) / 2


def clear_rule(ranked: Sequence[Hypothesis]) -> Hypothesis | None:
    """Return the rule that can be taken without asking; None where two are as good.

    Where labels only end earlier or later, that of this project is taken.
    """
    likely = [h for h in ranked if h.score >= LEAST_SCORE]
    near = [h for h in likely if h.score * CLEAR > ranked[0].score]
    if all(h.rule.kind == "before" for h in near):
        near = [h for h in near if h.rule == USUAL] or near
    return near[0] if len(near) == 1 else None


def is_likely(ranked: Sequence[Hypothesis]) -> bool:
    """Return whether the best rule is good enough to be offered."""
    return bool(ranked) and ranked[0].score >= LEAST_SCORE


def is_stray(label: str, lengths: Counter[int]) -> bool:
    """Return whether a label has a length so far from the common ones that it is none."""
    total = lengths.total()
    common = [n for n, count in lengths.items() if count >= RARE * total]
    return (
        total >= STRAY_FROM
        and lengths[len(label)] < RARE * total
        and not min(common) / 2 <= len(label) <= 1.5 * max(common)
    )


def _without_given_names(names: Sequence[str]) -> list[str]:
    texts = {name: _name_text(name) for name in names}
    left = {name: text for name, text in texts.items() if not GIVEN_NAME.fullmatch(text)}
    for name in _numbered_names(left):
        del left[name]
    numbers = {name: text for name, text in left.items() if text.isascii() and text.isdecimal()}
    if len(numbers) < len(left) and are_serials(numbers):
        return [name for name in left if name not in numbers]
    return list(left)


def _numbered_names(texts: dict[str, str]) -> list[str]:
    """Return which are a word and a number that is not a label: a few, or those that count.

    Digits that are labels are equally many, and begin with any. Where others have a label after the
    same word, such as captcha_a7f2, a number is one as well.
    """
    words = {
        name: match[1].lower()
        for name, text in texts.items()
        if (match := NUMBERED_NAME.fullmatch(text))
    }
    digits = [re.sub("[^0-9]", "", texts[name]) for name in words]
    firsts = {text[0] for text in digits}
    are_labels = len(set(map(len, digits))) == 1 and len(firsts) >= FIRST_DIGITS
    if len(words) > len(texts) / 2 and are_labels and not are_serials({n: texts[n] for n in words}):
        return []
    counts = Counter(words.values())
    rest = [text.lower() for name, text in texts.items() if name not in words]
    others = {word: sum(text.startswith(word) for text in rest) for word in counts}
    return [n for n, word in words.items() if others[word] < LABELLED_TOO * counts[word]]


def _name_text(name: str) -> str:
    """Return a file's name without what was added for a copy; UUIDs without their separators."""
    text = UUID.sub(lambda match: match[0].replace("-", ""), stem(name))
    return clean_label(COPY_MARK.sub("", text))


def _without_serials(labels: dict[str, str]) -> dict[str, str]:
    """Take off the number of a text that occurs again, such as AB12_2 where AB12 is another."""
    texts = set(labels.values())
    return {
        name: match[1] if (match := AGAIN.fullmatch(text)) and match[1] in texts else text
        for name, text in labels.items()
    }


def _prior(rule: NameRule) -> float:
    return PRIORS[rule.kind] * (1.07 if rule.separator == SEPARATOR else 1.0)


def _without_doubles(ranked: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Leave out rules whose labels a better one gives too, such as `stem` where all names agree."""
    kept: list[Hypothesis] = []
    for hypothesis in ranked:
        if all(hypothesis.labels != other.labels for other in kept):
            kept.append(hypothesis)
    return kept


def _rules(names: Sequence[str], own: Sequence[str]) -> Iterator[NameRule]:
    """Yield the rules that may be; `own` are the names that people gave."""
    if sum("/" in name for name in names) > len(names) / 2:
        yield NameRule(FOLDER)
    if not own:
        return
    yield NameRule(STEM)
    stems = [_name_text(name) for name in own]
    separators = SEPARATORS
    if _are_sums(stems):
        separators = "".join(c for c in SEPARATORS if c not in OPERATORS)
    runs = re.compile(f"[{re.escape(separators)}]+")
    occur: Counter[str] = Counter()
    for text in stems:
        found = set(runs.findall(text))
        occur.update(found | {c for run in found for c in run})
    for separator, count in sorted(occur.items(), key=lambda item: (-len(item[0]), item)):
        if 0.05 * len(own) <= count < 0.95 * len(own):
            yield NameRule("before", separator, or_stem=True)
        if count < len(own) / 2 or not any(
            c.isalnum() for text in stems for c in text.partition(separator)[2]
        ):
            continue
        yield NameRule("before", separator)
        fields = Counter(len(text.split(separator)) for text in stems).most_common(1)[0][0]
        yield NameRule("after", separator)
        for number in range(1, min(fields - 1, MAX_FIELDS)):
            yield NameRule("field", separator, number)


def _are_sums(texts: Sequence[str]) -> bool:
    """Return whether names have sums in them, with several operators; one alone may separate."""
    found = [match[0] for text in texts if (match := SUM.search(text))]
    used = {c for text in found for c in text if c in "-+*x×÷/"}
    return len(found) > SEPARATED * len(texts) and (len(used) > 1 or "+" in used)
