"""Rules for images."""

from __future__ import annotations

import dataclasses
from typing import Any

from cnnlib.config_reader import IMAGE_SUFFIXES
from cnnlib.dataset.verification import Rules
from tests.helpers import SPEC


def rules(suffixes: tuple[str, ...] = IMAGE_SUFFIXES, **changed: Any) -> Rules:
    """Return rules for SPEC, unless something in it is changed."""
    return Rules(dataclasses.replace(SPEC, **changed), suffixes)
