"""How much texts look like labels of captchas, and not like serials, words or hashes."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from cnnlib.importing.source_folder import stem

SEPARATORS = "_-#@=+~,;!$&'()[]{}^` ."
CLOCK = re.compile(
    r"(([01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]|(19|20)[0-9]{2}(0[1-9]|1[0-2])[0-3][0-9])$"
)
COMMON_WORD_FROM = 10  # images: this many with one text have no label
DENSE = 2.0  # a serial has numbers for at least half of its range


def plausibility(labels: Mapping[Any, str]) -> float:
    """Return, from 0 to 1, how much these texts look like labels of captchas.

    They have few lengths, few characters, no order; a dense unique number is a serial.
    """
    texts = list(labels.values())
    if not texts:
        return 0.0
    counts = Counter(texts)
    if len(counts) == 1 and len(texts) >= COMMON_WORD_FROM:
        return 0.0
    return (
        _by_length(texts)
        * (0.02 if are_serials(labels) else 1.0)
        * (0.05 if _are_words(texts, counts) else 1.0)
        * _by_kind(texts, counts)
        * _by_separators(texts)
    )


def _by_length(texts: Sequence[str]) -> float:
    lengths = Counter(map(len, texts))
    common = [n for n, count in lengths.items() if count >= 0.01 * len(texts)]
    typical = max(lengths, key=lambda n: lengths[n])
    factor = next(f for most, f in ((2, 0.9), (8, 1.0), (12, 0.8), (20, 0.4), (999, 0.1))
                  if typical <= most)  # fmt: skip
    return factor / (1 + 0.06 * (len(common) - 1))


def are_serials(labels: Mapping[Any, str]) -> bool:
    """Return whether the texts are numbers that count the images, of each folder, or each word."""
    found = [re.fullmatch(r"(\D*)([0-9]+)", text) for text in labels.values()]
    words = {match[1] for match in found if match}
    if not all(found) or len(words) > max(1, len(labels) / 20):
        return False
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for name, match in zip(labels, found, strict=True):
        assert match, "all match"
        groups[str(name).rpartition("/")[0], match[1]].append(match[2])
    texts = max(groups.values(), key=len, default=[])
    if len(groups) > len(labels) / 2:
        texts = [text for group in groups.values() for text in group]
    numbers = {int(text) for text in texts}
    if len(numbers) < len(texts) or len(texts) < 3:
        return False
    span = max(numbers) - min(numbers) + 1
    lengths = Counter(map(len, texts))
    counted = len(lengths) > 1 and not any(t.startswith("0") and len(t) > 1 for t in texts)
    if counted and span <= 20 * len(texts):  # 1, 2, ... 10, 11: no captcha has such lengths
        return True
    # Of n numbers chosen at random out of 2 n nearly a quarter would be chosen again.
    whole_names = all(text == stem(str(name)) for name, text in labels.items())
    return span <= (1.1 if whole_names else DENSE) * len(texts)


def _are_words(texts: Sequence[str], counts: Counter[str]) -> bool:
    """Return whether few words come again and again, such as `train` and `test`.

    The characters of captchas are chosen one by one: their entropies add up to that of the texts.
    """
    if len(texts) < COMMON_WORD_FROM or len(counts) > len(texts) / 4:
        return False
    if not all(text.isalpha() and len(text) >= 3 for text in counts):
        return False
    single = sum(
        _entropy(Counter(text[i] for text in texts if i < len(text)))
        for i in range(max(map(len, texts)))
    )
    return single > 1.5 * _entropy(counts) + 0.5


def _entropy(counts: Counter[str]) -> float:
    total = counts.total()
    return -sum(n / total * math.log2(n / total) for n in counts.values())


def _by_kind(texts: Sequence[str], counts: Counter[str]) -> float:
    """Return a factor below 1 for what other programs write: hashes, times, random names."""
    typical = Counter(map(len, texts)).most_common(1)[0][0]
    all_differ = len(counts) == len(texts) > 3
    characters = set("".join(texts))
    if len(texts) >= COMMON_WORD_FROM and len(characters) > 5 and all(map(CLOCK.match, texts)):
        return 0.05
    is_hex = characters <= set("0123456789abcdef-") or characters <= set("0123456789ABCDEF-")
    if all_differ and typical >= 8 and is_hex:
        return 0.1 if typical >= 10 or not characters <= set("0123456789") else 0.6
    if all_differ and typical >= 16:
        return 0.2
    return 1.0 if not all_differ else 0.97


def _by_separators(texts: Sequence[str]) -> float:
    """Return a factor below 1 where texts fall into fields: one character at a fixed place."""
    factor = 1.0
    for separator in SEPARATORS:
        inside = [text for text in texts if separator in text[:-1]]
        if len(inside) < 0.5 * len(texts):
            continue
        sides = [text.partition(separator)[::2] for text in inside]
        if len(inside) > 0.9 * len(texts) and any(
            are_serials(dict(enumerate(side))) for side in zip(*sides, strict=True)
        ):
            return 0.3
        starts = Counter(text.find(separator) for text in inside)
        ends = Counter(len(text) - text.rfind(separator) for text in inside)
        fixed = max(starts.most_common(1)[0][1], ends.most_common(1)[0][1])
        if fixed > 0.9 * len(inside):
            factor = min(factor, 0.4 if separator in "_ " else 0.6)
    return factor
