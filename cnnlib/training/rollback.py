"""The way back from a training that has collapsed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnnlib.networks.checkpoint import assign

KEEP_STEPS = 100  # between two states that are kept
RATE_BACKOFF = 0.5  # of the learning rate, each time


class Rollback:
    """Keep the state of a training in memory, and restore it where the loss has leapt.

    Steps at a high rate can be far too long where gradients grow faster than Adam's mean of their
    squares, which then holds the training down for thousands of steps. `chance_loss` is the loss of
    answers by chance: a training that was at half of it and is above it has collapsed. With 0
    nothing is kept.
    """

    def __init__(self, session: Any, variables: Sequence[Any], chance_loss: float) -> None:
        self._session, self._variables, self._chance_loss = session, variables, chance_loss
        self._kept: list[Any] = []
        self._kept_at = 0
        self.rate_factor = 1.0
        self.rewarm_from = 0  # the step from which on the rate is to rise again

    def check_spike(self, step: int, loss: float) -> int:
        """Take the loss of a report; return the step that was restored, 0 for none."""
        if loss < self._chance_loss / 2:
            if not self._kept or step >= self._kept_at + KEEP_STEPS:
                self._kept = []  # frees the memory
                self._kept, self._kept_at = self._session.run(self._variables), step
            return 0
        if loss <= self._chance_loss or not self._kept:  # neither holds for nan
            return 0
        assign(self._session, zip(self._variables, self._kept, strict=True))
        self.rate_factor *= RATE_BACKOFF
        self.rewarm_from = step + 1
        return self._kept_at
