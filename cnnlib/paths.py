"""Paths of a project: relative ones are relative to its root, never to the working directory.

Those typed on the command line are the exception: what is to be read is looked for in the working
directory first, and what is to be written goes there.
"""

from __future__ import annotations

import os
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parent.parent

AnyPath = str | os.PathLike[str]


class ProjectPath(os.PathLike[str]):
    """A path with the text as it was written: `str()` gives that, `os.fspath()` the full path."""

    def __init__(self, text: AnyPath, root: Path = PROJECT_ROOT) -> None:
        self.text: str = text.text if isinstance(text, ProjectPath) else os.fspath(text)
        # An absolute text stays as it is.
        self.full: Path = text.full if isinstance(text, ProjectPath) else root / self.text
        self.root: Path = text.root if isinstance(text, ProjectPath) else root

    def __fspath__(self) -> str:
        return str(self.full)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"ProjectPath({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ProjectPath) and self.full == other.full

    def __hash__(self) -> int:
        return hash(self.full)


def resolve_input_path(text: AnyPath) -> Path:
    """Resolve a path typed on the command line: as the shell means it, else from the root."""
    typed = _expanded(text)
    return typed.absolute() if os.path.exists(typed) else PROJECT_ROOT / typed


def resolve_output_path(text: AnyPath) -> Path:
    """Resolve a path typed on the command line for what is to be written: as the shell means it.

    Whether something is there does not matter: the same command always writes to the same place.
    """
    return _expanded(text).absolute()


def _expanded(text: AnyPath) -> Path:
    """Replace a leading ~ by the home folder; that of an unknown user stays, as in a shell."""
    return Path(os.path.expanduser(text))
