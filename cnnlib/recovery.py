"""The way back from a training that has collapsed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnnlib.network import assign

KEEP_STEPS = 100  # between two states that are kept
CALMER = 0.5  # of the learning rate, each time


class Recovery:
    """Keep the state of a training in memory, and take it back where the loss has leapt.

    Steps of a high rate can be far too long where gradients grow faster than Adam's mean of their
    squares, which then holds the training down for thousands of steps. `guessing` is the loss of
    answers without looking: a training that was at half of it and is above it has collapsed. With
    0 nothing is kept.
    """

    def __init__(self, session: Any, variables: Sequence[Any], guessing: float) -> None:
        self._session, self._variables, self._guessing = session, variables, guessing
        self._kept: list[Any] = []
        self._kept_at = 0
        self.calm = 1.0  # factor of the learning rate
        self.since = 0  # the step from which on the rate is to rise anew

    def look(self, step: int, loss: float) -> int:
        """Take the loss of a report; return the step that was gone back to, 0 for none."""
        if loss < self._guessing / 2:
            if not self._kept or step >= self._kept_at + KEEP_STEPS:
                self._kept = []  # frees the memory
                self._kept, self._kept_at = self._session.run(self._variables), step
            return 0
        if loss <= self._guessing or not self._kept:  # neither holds for nan
            return 0
        assign(self._session, zip(self._variables, self._kept, strict=True))
        self.calm *= CALMER
        self.since = step + 1
        return self._kept_at
