"""Run the tests at both ends of the supported versions.

    python3 tests/trials/run_corners.py [--folder FOLDER] [--only oldest|newest]
                                        [--python310 PROGRAM] [--python313 PROGRAM]

oldest: Python 3.10 with the lower bounds of the requirements (tests/oldest.txt).
newest: Python 3.13 with the newest releases that the requirements allow.
Makes a virtual environment for each, in FOLDER (kept for the next time) or in a temporary folder;
each takes about 2.5 GB and some minutes. Exit code 1 where a corner fails.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORNERS: dict[str, tuple[str, list[str]]] = {
    "oldest": ("3.10", ["--constraint", str(ROOT / "tests" / "oldest.txt")]),
    "newest": ("3.13", ["--upgrade", "--upgrade-strategy", "eager"]),
}


def main() -> int:
    args = parse()
    missing = [
        f"Python {CORNERS[corner][0]} ({program})"
        for corner, program in args.programs
        if not shutil.which(program)
    ]
    if missing:
        print(
            f"not found: {', '.join(missing)}; install it or name the program with an option",
            file=sys.stderr,
        )
        return 2
    with tempfile.TemporaryDirectory(prefix="corners-") as temporary:
        folder = args.folder or Path(temporary)
        results = {corner: run_corner(corner, program, folder) for corner, program in args.programs}
    print()
    for corner, result in results.items():
        print(f"{corner:8} Python {CORNERS[corner][0]:5} {result}")
    return 0 if set(results.values()) == {"passed"} else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=lambda text: Path(text).absolute())
    parser.add_argument("--only", choices=CORNERS)
    for version, _ in CORNERS.values():
        name = f"python{version}"
        parser.add_argument(
            f"--{name.replace('.', '')}",
            default=name,
            metavar="PROGRAM",
            dest=version,
            help=f"(default: {name} on PATH)",
        )
    args = parser.parse_args()
    args.programs = [
        (corner, getattr(args, version))
        for corner, (version, _) in CORNERS.items()
        if args.only in (None, corner)
    ]
    return args


def run_corner(corner: str, program: str, folder: Path) -> str:
    """Return "passed", or which step failed."""
    venv = folder / corner
    bin_dir = "Scripts" if sys.platform == "win32" else "bin"
    python = str(venv / bin_dir / "python")
    _, options = CORNERS[corner]
    steps = {
        "virtual environment": [program, "-m", "venv", str(venv)],
        "installation": [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            *options,
            "-r",
            str(ROOT / "requirements-dev.txt"),
        ],
        "tests": [python, "-m", "pytest", "-p", "no:cacheprovider"],
    }
    for name, command in steps.items():
        print(f"== {corner}: {name}", flush=True)
        if subprocess.run(command, cwd=ROOT).returncode:
            return f"failed: {name}"
    return "passed"


if __name__ == "__main__":
    sys.exit(main())
