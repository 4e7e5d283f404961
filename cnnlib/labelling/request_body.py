"""What the labelling page sends: a JSON object, checked value by value."""

from __future__ import annotations

import re
from typing import Any

from flask import request

from cnnlib.labelling.desk import LabelError

MOST_INT = 2**63 - 1  # of an id


class RequestBody:
    """The JSON object of a request; every access checks the type, and raises LabelError."""

    def __init__(self) -> None:
        values = request.get_json(silent=True)
        if not isinstance(values, dict):
            raise LabelError("malformed", "expected a JSON object")
        self._values = values

    def text(self, name: str) -> str:
        return str(self._checked(name, str))

    def labeller(self) -> str:
        labeller = self.text("labeller")
        if not re.fullmatch(r"[\w-]{1,64}", labeller):
            raise LabelError("malformed", "labeller must be letters, digits, '-' and '_'")
        return labeller

    def number(self, name: str) -> int:
        return int(self._checked(name, int))

    def optional(self, name: str, kind: type, default: Any) -> Any:
        return default if self._values.get(name) is None else self._checked(name, kind)

    def numbers(self, name: str) -> list[int]:
        return [self._item(name, item, int) for item in self.optional(name, list, [])]

    def pairs(self, name: str) -> list[tuple[int, int]]:
        pairs = [self._item(name, item, list) for item in self.optional(name, list, [])]
        if any(len(pair) != 2 for pair in pairs):
            raise LabelError("malformed", f"{name} must be a list of pairs")
        return [(self._item(name, a, int), self._item(name, b, int)) for a, b in pairs]

    def texts_by_image(self, name: str) -> dict[int, str]:
        items = [self._item(name, item, dict) for item in self.optional(name, list, [])]
        return {
            self._item(name, item.get("id"), int): self._item(name, item.get("text"), str)
            for item in items
        }

    def _checked(self, name: str, kind: type) -> Any:
        return self._item(name, self._values.get(name), kind)

    @staticmethod
    def _item(name: str, value: Any, kind: type) -> Any:
        good = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
        if kind is int:
            good = good and 0 <= value <= MOST_INT
        if kind is str:
            good = good and value.isprintable()
        if not good:
            raise LabelError("malformed", f"{name} must be of type {kind.__name__}")
        return value
