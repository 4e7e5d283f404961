"""How much texts look like labels of captchas, and not like serials, words or hashes."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from cnnlib.importing.source_folder import stem

SEPARATORS = "_-#@=+~,;!$&'()[]{}^` .、，：；（）【】＿－．–—"
CLOCK = re.compile(  # times and dates
    r"([01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]"
    r"|(19|20)[0-9]{2}-?(0[1-9]|1[0-2])-?[0-3][0-9]|[0-3][0-9](0[1-9]|1[0-2])(19|20)[0-9]{2}"
)
FLOAT = re.compile(r"-?[0-9]*\.[0-9]+(e-?[0-9]+)?")
COMMON_WORD_FROM = 10  # images: this many with one text have no label
SAME_LENGTH_FROM = 20  # different texts
DENSE = 2.0  # a serial has numbers for at least half of its range
SURE_PAIRS = 6.0  # equal pairs expected of numbers at random, so that none is no chance
MAX_DIGITS = 15


def plausibility(labels: Mapping[Any, str]) -> float:
    """Return, from 0 to 1, how much these texts look like labels of captchas.

    They have few lengths, few characters, no order; a dense unique number is a serial.
    """
    texts = list(labels.values())
    if not texts:
        return 0.0
    counts = Counter(texts)
    return (
        _by_length(texts)
        * (0.02 if are_serials(labels) else 0.5 if _are_all_different(texts) else 1.0)
        * _by_serials(labels)
        * (0.05 if _are_words(texts, counts) else 1.0)
        * _by_number(texts, counts)
        * _by_kind(texts, counts)
        * _by_separators(texts)
    )


def is_alphabet(texts: Sequence[str]) -> bool:
    """Return whether these are single characters, each once: a list of what can occur."""
    return len(set(texts)) == len(texts) > 5 and max(map(len, texts)) == 1


def _by_number(texts: Sequence[str], counts: Counter[str]) -> float:
    """Return a factor below 1 for few texts that come again and again."""
    if len(counts) == 1 and len(texts) > 3:
        return 0.0 if len(texts) >= COMMON_WORD_FROM else 0.3
    few = len(texts) >= 6 and len(counts) <= max(3, len(texts) / 10)
    return 0.5 if few else 1.0


def _by_length(texts: Sequence[str]) -> float:
    lengths = Counter(map(len, texts))
    common = [n for n, count in lengths.items() if count >= 0.01 * len(texts)]
    typical = max(lengths, key=lambda n: lengths[n])
    factors = ((2, 0.9), (8, 1.0), (12, 0.8), (20, 0.4), (math.inf, 0.1))
    factor = next(factor for most, factor in factors if typical <= most)
    return factor / (1 + 0.06 * (len(common) - 1))


def are_serials(labels: Mapping[Any, str]) -> bool:
    """Return whether the texts are numbers that count the images, of each folder, or each word."""
    found = [re.fullmatch(r"(\D*)([0-9]+)", text) for text in labels.values()]
    words = {match[1] for match in found if match}
    if not all(found) or len(words) > max(1, len(labels) / 20):
        return False
    texts = list(labels.values())
    if len(texts) < 3:
        return all(len(text) == 1 for text in texts)
    if all(isinstance(name, int) for name in labels):  # in the order of lines
        numbers = [int(match[2]) for match in found if match and len(match[2]) <= MAX_DIGITS]
        up = sum(a < b for a, b in itertools.pairwise(numbers))
        if up < 0.9 * (len(numbers) - 1):
            return False
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for name, match in zip(labels, found, strict=True):
        assert match, "all match"
        groups[str(name).rpartition("/")[0], match[1]].append(match[2])
    are_whole = all(t == stem(str(n)) for n, t in labels.items())
    longest = max(groups.values(), key=len, default=[])
    together = [text for group in groups.values() for text in group]
    if len(groups) <= len(labels) / 2 and _count(longest, are_whole):
        return True
    # Of all folders together; also where each of them goes on counting from the one before.
    return len(groups) > 1 and _count(together, are_whole)


def _count(texts: Sequence[str], whole_names: bool) -> bool:
    """Return whether these digits count: most numbers as often as each other, and close."""
    counts = Counter(int(text) for text in texts if len(text) <= MAX_DIGITS)
    if len(counts) < 3 or len(counts) < len(texts) / 4:
        return False
    if Counter(counts.values()).most_common(1)[0][1] < 0.8 * len(counts):
        return False
    numbers = sorted(counts)
    cut = len(numbers) // 20  # a few may be far away
    middle = numbers[cut : len(numbers) - cut]
    span = middle[-1] - middle[0] + 1
    lengths = Counter(map(len, texts))
    counted = len(lengths) > 1 and not any(t.startswith("0") and len(t) > 1 for t in texts)
    if counted and span <= 20 * len(middle):  # 1, 2, ... 10, 11: no captcha has such lengths
        return True
    if whole_names:  # a folder has no name twice, so all differ anyway
        return span <= 1.1 * len(middle)
    return span <= DENSE * len(middle)


def _are_all_different(texts: Sequence[str]) -> bool:
    """Return whether no number is there twice, though some should be by chance.

    Of n numbers chosen at random out of s about n * n / 2 s pairs are the same.
    """
    if not all(text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS for text in texts):
        return False
    numbers = set(map(int, texts))
    span = max(numbers) - min(numbers) + 1
    return len(numbers) == len(texts) and len(texts) ** 2 > 2 * SURE_PAIRS * span


def _by_serials(labels: Mapping[Any, str]) -> float:
    """Return a factor below 1 where some of the texts count, and the others do not."""
    numbers = {name: text for name, text in labels.items() if text.isascii() and text.isdecimal()}
    share = len(numbers) / len(labels)
    if not 0.05 < share < 1 or not are_serials(numbers):
        return 1.0
    return 0.2 if share > 0.2 else 0.5


def _are_words(texts: Sequence[str], counts: Counter[str]) -> bool:
    """Return whether few words come again and again, such as `train` and `test`.

    The characters of captchas are chosen one by one: their entropies add up to that of the texts.
    """
    if len(texts) < COMMON_WORD_FROM or len(counts) > len(texts) / 4:
        return False
    if not all(text.isalpha() and len(text) >= 3 for text in counts):
        return False
    if len(counts) >= SAME_LENGTH_FROM and len(set(map(len, counts))) == 1:
        return False  # words have several lengths
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
    if len(texts) >= 3 and len(characters) > 3 and all(map(CLOCK.fullmatch, texts)):
        return 0.3 if len(texts) < COMMON_WORD_FROM else 0.05
    if all(map(FLOAT.fullmatch, texts)):
        return 0.1
    is_hex = characters <= set("0123456789abcdef-") or characters <= set("0123456789ABCDEF-")
    if all_differ and is_hex and typical >= 6:
        has_letters = not characters <= set("0123456789")
        return 0.1 if typical >= 10 or (typical >= 8 and has_letters) else 0.6 if (
            typical >= 8 or has_letters
        ) else 0.97  # fmt: skip
    if all_differ and any(c.isdigit() for c in characters) and _are_glued(texts):
        return 0.1
    if all_differ and typical >= 16:
        return 0.2
    return 1.0 if not all_differ else 0.97


def _are_glued(texts: Sequence[str]) -> bool:
    """Return whether all begin with a number of some digits that counts, such as 0001ab."""
    digits = [re.match(r"[0-9]{3,}(?=\D)", text) for text in texts]
    if not all(digits):
        return False
    return _count([match[0] for match in digits if match], whole_names=False)


def _by_separators(texts: Sequence[str]) -> float:
    """Return a factor below 1 where texts fall into fields: one character at a fixed place."""
    factor = 1.0
    for separator in SEPARATORS:
        inside = [text for text in texts if separator in text[:-1]]
        if len(inside) < 0.3 * len(texts):
            continue
        sides = [text.partition(separator)[::2] for text in inside]
        if any(
            are_serials({str(i): text for i, text in enumerate(side)})
            for side in zip(*sides, strict=True)
        ):
            return 0.2
        starts = Counter(text.find(separator) for text in inside)
        ends = Counter(len(text) - text.rfind(separator) for text in inside)
        fixed = max(starts.most_common(1)[0][1], ends.most_common(1)[0][1])
        if fixed > 0.9 * len(inside) and len(inside) > 0.5 * len(texts):
            factor = min(factor, 0.4 if separator in "_ " else 0.6)
    return factor
