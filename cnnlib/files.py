"""Files: written whole or not at all, read with a message where that fails."""

from __future__ import annotations

import errno
import functools
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cnnlib.errors import CaptchaError, SampleError
from cnnlib.paths import AnyPath

MARK = ".cnn_captcha-"  # begins the names of files that no other program makes
UNFINISHED = re.compile(re.escape(MARK) + r"[0-9a-f]{16}\.tmp")
KEEP_UNFINISHED_S = 3600  # since its last change: somebody may be writing it
# What a file system answers that has no hard links, or none of this file or to there.
NO_LINK = {
    errno.EPERM,
    errno.EXDEV,
    errno.EMLINK,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.ENOTSUP,
    errno.EINVAL,
    errno.EACCES,
}
# ... that cannot say when something is on the disk.
NO_SYNC = {errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EROFS}


def read_bytes(image: Path) -> bytes:
    """Read an image file that a user named; raises SampleError."""
    try:
        return image.read_bytes()
    except OSError as error:
        raise SampleError(
            f"{image} cannot be read: {reason(error)}; name an image file or a folder"
        ) from error


@contextmanager
def replacing(path: AnyPath) -> Iterator[Path]:
    """Give a path next to `path` to write to; at the end that file takes the place of `path`.

    The folder is made. After an error, a crash or a power cut, `path` is the file that was there
    before or the new one, whole. What a crash left is removed by a later call for the same folder.
    Raises CaptchaError where it cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f"{MARK}{secrets.token_hex(8)}.tmp")
    former = re.compile(rf"\.{re.escape(target.name)}\.\d+\.tmp")  # as version 3.0.0 named it
    try:
        make_folder(target.parent)
        _remove_unfinished(
            target.parent, lambda name: bool(UNFINISHED.fullmatch(name) or former.fullmatch(name))
        )
        yield temporary
        with open(temporary, "rb+") as file:
            _sync_descriptor(file.fileno())
        _replace(temporary, target)
        sync(target.parent)
    except OSError as error:
        raise CaptchaError(
            f"cannot write {target}: {reason(error)}; close the program that has it open, free "
            "some space, or make its folder writable"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_json(
    path: AnyPath,
    values: Any,
    *,
    indent: int | None = None,
    check: Callable[[Path], object] | None = None,
) -> None:
    """Write a JSON file whole or not at all, as `replacing`; `check` may refuse it before.

    It is UTF-8; names of files that are not text are escaped.
    """
    text = json.dumps(values, ensure_ascii=False, indent=indent)
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = json.dumps(values, indent=indent).encode()
    with replacing(path) as temporary:
        temporary.write_bytes(data + b"\n")
        if check:
            check(temporary)


@contextmanager
def replacing_folder(target: Path, mark: str) -> Iterator[Path]:
    """Give a path next to `target` for a folder, which takes its place at the end.

    A folder that is there is replaced where it is empty or holds a file named `mark`: other folders
    are somebody's own. Raises CaptchaError for such a one, and where it cannot be written.
    """
    if (
        target.exists()
        and not (target / mark).exists()
        and (target.is_file() or [*target.iterdir()])
    ):
        raise CaptchaError(f"{target} is in the way: remove it, or name another output")
    temporary, former = (
        target.with_name(f"{MARK}{secrets.token_hex(8)}{end}") for end in (".tmp", ".former")
    )
    try:
        make_folder(target.parent)
        for name in os.listdir(target.parent):  # of writers that crashed
            left = target.parent / name
            is_ours = UNFINISHED.fullmatch(name) and left.is_dir()
            if is_ours and left.stat().st_mtime < time.time() - KEEP_UNFINISHED_S:
                shutil.rmtree(left, ignore_errors=True)
        yield temporary
        if target.exists():
            os.rename(target, former)
        os.rename(temporary, target)
        sync(target.parent)
    except OSError as error:
        raise CaptchaError(
            f"cannot write {target}: {reason(error)}; free some space, or make its folder writable"
        ) from error
    finally:
        if former.exists() and not target.exists():
            os.rename(former, target)
        for folder in (temporary, former):
            shutil.rmtree(folder, ignore_errors=True)


def _replace(temporary: Path, target: Path) -> None:
    for pause_s in (0.05, 0.2, 0.5):
        try:
            os.replace(temporary, target)
            return
        except PermissionError:  # on Windows also while somebody reads the file
            time.sleep(pause_s)
    os.replace(temporary, target)


def _remove_unfinished(folder: Path, is_ours: Callable[[str], bool]) -> None:
    """Remove what writers that crashed have left, but for what may still be in work."""
    with suppress(OSError):
        for name in filter(is_ours, os.listdir(folder)):
            with suppress(OSError):
                if os.lstat(folder / name).st_mtime < time.time() - KEEP_UNFINISHED_S:
                    os.unlink(folder / name)


def make_folder(folder: Path) -> None:
    """Make a folder, with those above it, so that it outlasts a power cut."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync(made.parent)


def sync(path: Path) -> None:
    """Return when the names in a folder, or the content of a file, outlast a power cut.

    Where the system cannot say so (Windows for folders, some network file systems) at once.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        _sync_descriptor(descriptor)
    finally:
        os.close(descriptor)


def _sync_descriptor(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise


def give_name(file: Path, target: Path) -> None:
    """Rename a file; raises FileExistsError where the name is taken, in the same moment.

    os.rename would replace a file that comes there between a check and the renaming.
    """
    if not linked(file, target):
        copy_new(file, target)
    os.unlink(file)


def linked(file: Path, target: Path) -> bool:
    """Give a file a second name; False where there are no hard links, or none of it to there.

    Raises FileExistsError where the name is taken.
    """
    try:
        os.link(file, target)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        return False
    return True


def copy_new(source: Path, target: Path) -> None:
    """Copy a file to a name that is free, and to the disk; after an error nothing is there.

    Raises FileExistsError where the name is taken.
    """
    with open(source, "rb") as original, open(target, "xb") as copy:
        try:
            shutil.copyfileobj(original, copy)
            copy.flush()
            _sync_descriptor(copy.fileno())
        except BaseException:
            copy.close()
            os.unlink(target)
            raise
    with suppress(OSError):  # such as permissions that the other file system does not know
        shutil.copystat(source, target)


def store_image(data: bytes, folder: AnyPath, *names: str) -> Path:
    """Write an image's bytes to a folder under the first of these names that is free.

    It is written whole or not at all; the folder is made. Returns the path; raises SampleError
    where it cannot be written.
    """
    temporary = Path(folder) / f"{MARK}{secrets.token_hex(8)}.tmp"
    try:
        os.makedirs(folder, exist_ok=True)
        _remove_unfinished_images(Path(folder), int(time.time() // KEEP_UNFINISHED_S))
        with open(temporary, "xb") as file:
            file.write(data)
        for name in names:
            with suppress(FileExistsError):
                give_name(temporary, Path(folder) / name)
                return Path(folder) / name
        raise FileExistsError(errno.EEXIST, "the name is taken", names[-1])
    except OSError as error:
        raise SampleError(
            f"cannot write an image to {folder} ({os.fspath(folder)}): {reason(error)}; free "
            "some space, or make the folder writable"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@functools.lru_cache(maxsize=64)  # a folder of images is long to list: once an hour
def _remove_unfinished_images(folder: Path, hour: int) -> None:
    _remove_unfinished(folder, lambda name: bool(UNFINISHED.fullmatch(name)))


def reason(error: OSError) -> str:
    """Return what an error says, without its number and its file."""
    return error.strerror or str(error)
