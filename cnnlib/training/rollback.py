"""The way back from a training that has collapsed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnnlib.networks.checkpoint import assign

KEEP_STEPS = 100  # between two states that are kept
RATE_BACKOFF = 0.5  # of the learning rate, each time
MIN_RATE_FACTOR = 1 / 32  # a training that collapses even then is not mended by a lower rate
# Images whose mean loss is compared, at least: of four, 7 of 300 means leapt by chance.
MIN_IMAGES = 64
# A training that has learned nothing yet is at the loss of answers by chance, give or take; from
# twice that, it hardly comes back by itself. Averages of batch norm mean little before.
LEAP = 2.0
LEAPS_FROM = 100  # steps


class Rollback:
    """Keep the state of a training in memory, and restore it where the loss has leapt.

    Steps at a high rate can be far too long where gradients grow faster than Adam's mean of their
    squares, which then holds the training down for thousands of steps. `chance_loss` is the loss of
    answers by chance: a training that was at half of it and is above it has collapsed, and one that
    was not is so at LEAP times it. With 0 nothing is kept. `rate_factor` and `rewarm_from` are
    those of an interrupted run.
    """

    def __init__(
        self,
        session: Any,
        variables: Sequence[Any],
        chance_loss: float,
        rate_factor: float = 1.0,
        rewarm_from: int = 0,
    ) -> None:
        self._session, self._variables, self._chance_loss = session, variables, chance_loss
        self._kept: list[Any] = []
        self._kept_at = 0
        self._knows = False  # the state that is kept
        self.rate_factor = rate_factor
        self.rewarm_from = rewarm_from  # the step from which on the rate is to rise again

    def keep_start(self, step: int, loss: float) -> None:
        """Take the loss of MIN_IMAGES or more before the first step of this start.

        A run that has gone back before had a state below half of the chance loss, and may have
        come back to it a little above.
        """
        if self._chance_loss:
            limit = self._chance_loss if self.rate_factor < 1.0 else self._chance_loss / 2
            self._keep(step, knows=loss < limit)

    def check_spike(self, step: int, loss: float) -> int:
        """Take the loss of MIN_IMAGES or more after a step; return the step restored, 0 for none.

        A state of before step 1 is restored as step 1 would be.
        """
        if loss < self._chance_loss / 2:
            if not self._knows or step >= self._kept_at + KEEP_STEPS:
                self._keep(step, knows=True)
            return 0
        if not self._collapsed(step, loss) or self.rate_factor <= MIN_RATE_FACTOR:
            return 0
        assign(self._session, zip(self._variables, self._kept, strict=True))
        self.rate_factor *= RATE_BACKOFF
        self.rewarm_from = step + 1
        return max(1, self._kept_at)

    def _collapsed(self, step: int, loss: float) -> bool:
        if not self._kept:
            return False
        if self._knows:
            return not loss <= self._chance_loss  # so does nan
        return step >= LEAPS_FROM and not loss <= LEAP * self._chance_loss

    def _keep(self, step: int, knows: bool) -> None:
        self._kept = []  # frees the memory
        self._kept, self._kept_at = self._session.run(self._variables), step
        self._knows = knows
