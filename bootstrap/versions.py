"""Which Python is needed. This file must also run on one that is too old, to say so."""

import shutil

OLDEST, NEWEST = (3, 10), (3, 13)


def wrong_python(version: "tuple[int, ...]") -> str:
    """Return what to say where this Python cannot be used, else nothing."""
    if OLDEST <= version[:2] <= NEWEST:
        return ""
    known = [f"python3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    found = [name for name in known if shutil.which(name)]
    remedy = (
        f"run this file with {found[0]}"
        if found
        else "install Python 3.12 and run this file with python3.12 (Windows: py -3.12)"
    )
    return (
        f"Python 3.{OLDEST[1]} to 3.{NEWEST[1]} is needed (TensorFlow has no packages for "
        f"others), but this is {version[0]}.{version[1]}: {remedy}"
    )
