"""How a trial ends."""

from __future__ import annotations

from collections.abc import Callable

from cnnlib import console
from cnnlib.errors import CaptchaError

FAILED = 1


def exit_code(trial: Callable[[], None], *errors: type[Exception]) -> int:
    """Run a trial; report a CaptchaError, or another of `errors`, and return the exit code."""
    caught: tuple[type[Exception], ...] = (CaptchaError, *errors)
    try:
        trial()
    except caught as error:
        console.warn(f"failed: {error}")
        return FAILED
    return 0
