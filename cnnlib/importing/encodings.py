"""The text of a list, whatever program wrote it."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import NamedTuple


class _Local(NamedTuple):
    """An encoding of spreadsheet programs, and how much of a text in it is common."""

    name: str
    common_share: Callable[[bytes, str], float]


def decode(data: bytes, encoding: str = "") -> tuple[str, str]:
    """Return a text and its encoding: UTF-8, UTF-16, or what spreadsheet programs write.

    Raises UnicodeError where it is in none of them, or not in `encoding`, and LookupError where
    Python does not know that.
    """
    if encoding:
        return data.decode(encoding).removeprefix("\ufeff"), codecs.lookup(encoding).name
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16"), "utf-16"
    for order, nulls in (("utf-16-le", data[1:200:2]), ("utf-16-be", data[0:200:2])):
        if len(data) > 3 and nulls.count(0) > len(nulls) * 0.4:  # Latin letters have one each
            return data.decode(order), order
    try:
        return data.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError as error:
        return _decode_local(data, error)


def _decode_local(data: bytes, failure: UnicodeDecodeError) -> tuple[str, str]:
    """Return the text in the encoding in which most of it is common; the first of equals."""
    best, text, most = "", "", 0.0
    for local in LOCAL:
        try:
            candidate = data.decode(local.name)
        except UnicodeDecodeError:
            continue
        share = local.common_share(data, candidate)
        if share > most + 0.05:
            best, text, most = local.name, candidate, share
    if not best:
        raise failure
    return text, best


def _pairs(lead: bytes, trail: bytes, least: int = 1) -> Callable[[bytes, str], float]:
    """Return what measures the share of characters of two bytes in these ranges.

    `least`: characters that are needed to be sure.
    """
    pair, common = re.compile(rb"[\x81-\xfe][\x30-\xfe]"), re.compile(b"[%b][%b]" % (lead, trail))

    def share(data: bytes, _: str) -> float:
        found = pair.findall(data)
        right = sum(common.fullmatch(each) is not None for each in found)
        return right / max(least, len(found))

    return share


def _share_of_letters(in_words: bool) -> Callable[[bytes, str], float]:
    """Return what measures letters: whole words of them (Cyrillic), or single ones (Latin)."""

    def share(_: bytes, text: str) -> float:
        foreign = [c for c in text if ord(c) > 127]
        words = [w for w in re.findall(r"[^\W\d_]+", text) if any(ord(c) > 127 for c in w)]
        whole = sum(len(w) > 1 and all(ord(c) > 127 for c in w) for w in words)
        letters = sum(c.isalpha() for c in foreign) / max(1, len(foreign))
        is_right = whole > len(words) / 2 if in_words else whole <= len(words) / 2
        return letters * (1.0 if is_right else 0.5)

    return share


# What is common: Hangul, the 3,755 characters of GB 2312's first level, kana and the first level of
# JIS, Big5's first level. Of equals the first is taken: all Hangul would be Chinese as well.
LOCAL = (
    _Local("cp949", _pairs(rb"\xb0-\xc8", rb"\xa1-\xfe", least=10)),
    _Local("gb18030", _pairs(rb"\xb0-\xd7", rb"\xa1-\xfe")),
    _Local("shift_jis", _pairs(rb"\x82\x83\x88-\x97", rb"\x40-\xfc")),
    _Local("big5", _pairs(rb"\xa4-\xc6", rb"\x40-\x7e\xa1-\xfe")),
    _Local("cp1251", _share_of_letters(in_words=True)),
    _Local("cp1252", _share_of_letters(in_words=False)),
)
