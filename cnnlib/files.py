"""Files: written whole or not at all, read with a message where that fails."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cnnlib.config import AnyPath
from cnnlib.errors import CaptchaError, SampleError


def read_bytes(image: Path) -> bytes:
    """Read an image file that a user named; raises SampleError."""
    try:
        return image.read_bytes()
    except OSError as error:
        raise SampleError(f"{image} cannot be read: {error.strerror}; name an image file "
                          "or a folder") from error


@contextmanager
def replacing(path: AnyPath) -> Iterator[Path]:
    """Give a path beside `path` to write to; at the end that file takes the place of `path`.

    The folder is made. After an error, or a crash, the file that was there before is intact.
    Raises CaptchaError where it cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        _replace(temporary, target)
    except OSError as error:
        raise CaptchaError(f"cannot write {target}: {error.strerror}; close what shows it, make "
                           "room, or make its folder writable") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _replace(temporary: Path, target: Path) -> None:
    for pause_s in (0.05, 0.2, 0.5):
        try:
            os.replace(temporary, target)
            return
        except PermissionError:  # on Windows also while somebody reads the file
            time.sleep(pause_s)
    os.replace(temporary, target)
