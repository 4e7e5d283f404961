"""Numbered images, their labels, and lists that say so."""

from __future__ import annotations

LABELS = ["5gn8", "aB3x", "77qp", "k2M9", "zz11", "0o0o", "p4ss", "W8rd", "n0pe", "y3ah", "f1sh"]


NUMBERED = [f"{i}.jpg" for i in range(11)]
EXPECTED = dict(zip(NUMBERED, LABELS, strict=True))
PAIRS = list(EXPECTED.items())


def lines(pattern: str, header: str = "", end: str = "\n") -> str:
    """Return a line for each image: the pattern with its file, id and label."""
    rows = [pattern.format(file=file, id=file[:-4], label=label) for file, label in PAIRS]
    return end.join([header] * bool(header) + rows) + end
