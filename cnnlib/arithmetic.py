"""The result of a sum that a captcha asks, such as 10x4= or 三加五等于?"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

TIMES, OVER, PLUS, MINUS = "*", "/", "+", "-"
WORDS = {  # longer ones before those that they begin with
    "乘以": TIMES,
    "除以": OVER,
    "加上": PLUS,
    "减去": MINUS,
    "乘": TIMES,
    "除": OVER,
    "加": PLUS,
    "减": MINUS,
    "減": MINUS,
    "—": MINUS,
    "x": TIMES,
    "×": TIMES,
    "·": TIMES,
    "÷": OVER,
    ":": OVER,
    "−": MINUS,
    "–": MINUS,
}
END = re.compile(r"(=|等于|是|得)(几|多少)?[?？]*$")
DIGITS = {c: i for i, c in enumerate("零一二三四五六七八九")} | {
    c: i for i, c in enumerate("〇壹贰叁肆伍陆柒捌玖")
}
DIGITS |= {"两": 2, "兩": 2, "貳": 2, "參": 3, "陸": 6}
UNITS = {"十": 10, "拾": 10, "百": 100, "佰": 100}
CHINESE = "".join((*DIGITS, *UNITS))
TOKEN = re.compile(rf"\d+|[{CHINESE}]+|[-+*/()]")
MAX_LENGTH = 40  # characters; a captcha's sum has some ten


def result_of(text: str) -> int | None:
    """Return the whole number that a sum comes to; None where the text is no sum, or it is none."""
    tokens = _tokens(text)
    if tokens is None:
        return None
    try:
        value = _Parser(tokens).whole()
    except (ValueError, ZeroDivisionError):
        return None
    return int(value) if value.denominator == 1 else None


def _tokens(text: str) -> list[str] | None:
    """Return numbers, signs and brackets; None where there is anything else."""
    if len(text) > MAX_LENGTH:
        return None
    text = "".join(unicodedata.normalize("NFKC", text).lower().split())
    text = END.sub("", text.rstrip("?"))
    for word, sign in WORDS.items():
        text = text.replace(word, sign)
    tokens = TOKEN.findall(text)
    return tokens if "".join(tokens) == text else None


class _Parser:
    """Read tokens from left to right; what is no sum raises ValueError."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = [*reversed(tokens)]
        self._operations = 0

    def whole(self) -> Fraction:
        value = self._sum()
        if self._tokens or not self._operations:
            raise ValueError("something is left, or it is a number alone")
        return value

    def _taken(self, signs: str) -> str:
        """Take the next token where it is one of these signs; else return ""."""
        if self._tokens and self._tokens[-1] in [*signs]:
            return self._tokens.pop()
        return ""

    def _sum(self) -> Fraction:
        value = self._product()
        while sign := self._taken(PLUS + MINUS):
            other = self._product()
            self._operations += 1
            value = value + other if sign == PLUS else value - other
        return value

    def _product(self) -> Fraction:
        value = self._factor()
        while sign := self._taken(TIMES + OVER):
            other = self._factor()
            self._operations += 1
            value = value * other if sign == TIMES else value / other
        return value

    def _factor(self) -> Fraction:
        if self._taken(MINUS):
            return -self._factor()
        if self._taken("("):
            value = self._sum()
            if not self._taken(")"):
                raise ValueError("a bracket is open")
            return value
        if not self._tokens:
            raise ValueError("a number is missing")
        return Fraction(_number(self._tokens.pop()))


def _number(token: str) -> int:
    """Return the value of digits, Arabic or Chinese; raises ValueError for other tokens."""
    if not set(token) & set(CHINESE):
        return int(token)
    if not set(token) & set(UNITS):
        return int("".join(str(DIGITS[c]) for c in token))
    value = digit = 0
    for i, character in enumerate(token):
        if character in UNITS:
            value += (digit or (1 if i == 0 else 0)) * UNITS[character]
            digit = 0
        else:
            digit = DIGITS[character]
    return value + digit
