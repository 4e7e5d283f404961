"""When a run may end before its last step, because the loss of the test set no longer falls."""

from __future__ import annotations

import statistics

OBSERVE_STEPS = 50  # between two losses
WINDOW = 3  # losses whose median is compared
EARLIEST = 300  # step of a run, and EARLIEST_SHARE of it
EARLIEST_SHARE = 0.2
COMPARED = 0.6  # with the loss after this share of the steps since the images became as they are
LEAST_FALL = 0.05  # of the loss
NEGLIGIBLE = 0.001  # of a loss without smoothing: all texts are right with certainty
MIN_TESTED = 20  # images: the loss of fewer falls and stays by luck
COOLING_SHARE = 0.1  # of a run's steps, in which the rate falls to nothing


class Plateau:
    """Observe losses of the same test images, and say once they no longer fall."""

    def __init__(self, cycle_stop: int) -> None:
        self._earliest = max(EARLIEST, round(EARLIEST_SHARE * cycle_stop))
        self._losses: list[tuple[int, float]] = []

    def observe(self, step: int, loss: float, since: int = 0) -> bool:
        """Take the loss after a step; return whether it has stopped falling.

        `since` is the step at which training images or the rate became of another kind.
        """
        self._losses.append((step, loss))
        compared_at = since + COMPARED * (step - since)
        now = [loss for _, loss in self._losses[-WINDOW:]]
        before = [loss for at, loss in self._losses[:-WINDOW] if since < at <= compared_at]
        if step < self._earliest + since or len(before) < WINDOW:
            return False
        fallen = statistics.median(before[-WINDOW:]) - statistics.median(now)
        return fallen < max(LEAST_FALL * statistics.median(before[-WINDOW:]), NEGLIGIBLE)


def cooling_steps(cycle_stop: int) -> int:
    """Return over how many steps the rate falls to nothing, once the loss no longer does."""
    return max(1, round(COOLING_SHARE * cycle_stop))
