"""Crashes at a chosen change on disk, file systems that lack something, and what changes when."""

from __future__ import annotations

import errno
import os
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

CHANGES = ("rename", "replace", "unlink", "link", "fsync")  # functions of os


def patch_system(patch: pytest.MonkeyPatch, name: str, function: Callable[..., Any]) -> None:
    """Replace a function of os; in Python 3.10 pathlib has one of its own."""
    patch.setattr(os, name, function)
    if accessor := getattr(pathlib, "_normal_accessor", None):
        patch.setattr(accessor, name, function, raising=False)


class Crash(BaseException):
    """The end of a program: nothing of it runs any more."""


def crash_at(patch: pytest.MonkeyPatch, number: int, *, done: bool) -> None:
    """Raise Crash at the change with this number, once it is `done` or before, and ever after.

    Nothing waits for the disk, which takes milliseconds each time.
    """
    count = 0

    def crashing(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count > number or (count == number and not done):
                raise Crash
            result = change(*args, **options)
            if count == number:
                raise Crash
            return result

        return call

    patch_system(patch, "fsync", lambda descriptor: None)
    for name in CHANGES:
        patch_system(patch, name, crashing(getattr(os, name)))


def fail_at(patch: pytest.MonkeyPatch, number: int) -> None:
    """Fail at the change with this number, as a disk may; the next ones succeed."""
    count = 0

    def failing(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == number:
                raise OSError(errno.EIO, os.strerror(errno.EIO), *args[:1])
            return change(*args, **options)

        return call

    patch_system(patch, "fsync", lambda descriptor: None)
    for name in CHANGES:
        patch_system(patch, name, failing(getattr(os, name)))


def other_device(patch: pytest.MonkeyPatch) -> None:
    """Make two folders as two file systems: nothing is renamed or linked from one to the other."""

    def refusing(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(source: Any, target: Any, **options: Any) -> Any:
            if os.path.dirname(source) != os.path.dirname(target):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            return change(source, target, **options)

        return call

    for name in ("rename", "link"):
        patch_system(patch, name, refusing(getattr(os, name)))


def no_links(patch: pytest.MonkeyPatch, code: int = errno.EPERM) -> None:
    """Make file systems as FAT is, without hard links."""

    def link(source: Any, target: Any, **_: Any) -> None:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        raise OSError(code, os.strerror(code))

    patch_system(patch, "link", link)


def changes_of(patch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Return a list that gets each change and the name of its (last) file, as they happen."""
    seen: list[tuple[str, str]] = []

    def noting(name: str, change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if name == "fsync":
                file = os.readlink(f"/proc/self/fd/{args[0]}")
            else:
                file = os.fspath(args[min(1, len(args) - 1)])
            result = change(*args, **options)
            seen.append((name, os.path.basename(file)))
            return result

        return call

    for name in CHANGES:
        patch_system(patch, name, noting(name, getattr(os, name)))
    return seen
