"""Files: written whole or not at all, read with a message where that fails."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cnnlib.errors import CaptchaError, SampleError
from cnnlib.paths import AnyPath


def read_bytes(image: Path) -> bytes:
    """Read an image file that a user named; raises SampleError."""
    try:
        return image.read_bytes()
    except OSError as error:
        raise SampleError(
            f"{image} cannot be read: {error.strerror}; name an image file or a folder"
        ) from error


@contextmanager
def replacing(path: AnyPath) -> Iterator[Path]:
    """Give a path next to `path` to write to; at the end that file takes the place of `path`.

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
        raise CaptchaError(
            f"cannot write {target}: {error.strerror or error}; close the program that has it "
            "open, free some space, or make its folder writable"
        ) from error
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


def store_image(data: bytes, folder: AnyPath, *names: str) -> Path:
    """Write an image's bytes to a folder under the first of these names that is free.

    It is written whole or not at all; the folder is made. Returns the path; raises SampleError
    where it cannot be written.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        for name in names:
            path = Path(folder) / name
            if _write_new(path, data):
                return path
        raise FileExistsError(errno.EEXIST, "the name is taken", names[-1])
    except OSError as error:
        raise SampleError(
            f"cannot write an image to {folder} ({os.fspath(folder)}): {error.strerror or error}; "
            "free some space, or make the folder writable"
        ) from error


def _write_new(path: Path, data: bytes) -> bool:
    """Return False where the name is taken."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        file = open(temporary, "xb")  # noqa: SIM115 - from here on the name is this call's alone
    except FileExistsError:
        return False
    try:
        with file:
            file.write(data)
        if path.exists():
            return False
        os.rename(temporary, path)
        return True
    finally:
        temporary.unlink(missing_ok=True)
