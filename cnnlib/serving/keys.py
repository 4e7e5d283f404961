"""The keys that callers of the recognition API may have to send."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from cnnlib.errors import ConfigError
from cnnlib.paths import AnyPath


def read_api_keys(path: AnyPath) -> list[str]:
    """Read a file of keys, one a line; raises ConfigError where there is none in it."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            keys = [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}): name a text file with one key a line"
        ) from error
    if not keys:
        raise ConfigError(f"{path} is empty: write one key a line to it")
    if not all(key.isascii() for key in keys):
        raise ConfigError(f"{path} has a key with letters that headers cannot hold: use ASCII")
    return keys


def is_known(given: str, keys: Sequence[str]) -> bool:
    """Return whether a key is one of these.

    All are compared, each in constant time: how long it takes reveals nothing.
    """
    data = given.encode(errors="replace")
    return any([hmac.compare_digest(key.encode(), data) for key in keys])
