#!/usr/bin/env python3
"""Two commands for a fresh machine, with nothing but Python 3.10 to 3.13:

    python3 quickstart.py demo     draw captchas, train on them, test, serve, recognise
    python3 quickstart.py test     ruff, mypy, import-linter, pytest; more arguments go to pytest

Both first make a virtual environment in .venv (where there is none) and install requirements.txt
into it, test also requirements-dev.txt: 2 to 10 minutes once, about 2 GB. Later runs start at once.

The demo reads conf/demo_captcha_config.json and conf/demo_config.json and writes only to
sample/demo, model/demo and logs/demo. A second run skips the steps already done; an interrupted
training goes on.
"""

# This file must also run on a Python that is too old, to say so: annotations in quotes, and what
# needs a newer one is imported late.

import argparse
import signal
import sys

from bootstrap.versions import wrong_python


def main(argv: "list[str] | None" = None) -> int:
    wrong = wrong_python(sys.version_info[:2])
    if wrong:
        print(wrong, file=sys.stderr)
        return 2
    from bootstrap.demo import Demo
    from bootstrap.processes import Failed, interrupt
    from bootstrap.virtual_environment import REQUIREMENTS, prepare

    options, pytest_arguments = parse(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        if options.command == "test":
            prepare(REQUIREMENTS)
            return test(pytest_arguments)
        prepare(REQUIREMENTS[:1])
        Demo(options.images, options.steps).run()
        return 0
    except Failed as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: run the same command again to go on", file=sys.stderr)
        return 130


def parse(argv: "list[str]") -> "tuple[argparse.Namespace, list[str]]":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="{demo,test}")
    demo_parser = commands.add_parser("demo", help="the whole pipeline on practice captchas")
    demo_parser.add_argument(
        "--images",
        type=int,
        metavar="N",
        help="practice captchas to draw (default: count in conf/demo_captcha_config.json)",
    )
    demo_parser.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="training steps (default: cycle_stop in conf/demo_config.json)",
    )
    commands.add_parser("test", help="ruff, mypy, import-linter and pytest", add_help=False)
    if argv[:1] == ["test"]:
        return parser.parse_args(["test"]), argv[1:]
    return parser.parse_args(argv), []


def test(pytest_arguments: "list[str]") -> int:
    """Run every check, whatever the one before it said."""
    from bootstrap.processes import run, say
    from bootstrap.virtual_environment import venv_python

    lint_imports = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    checks = {
        "ruff check": ["-m", "ruff", "check", "."],
        "ruff format": ["-m", "ruff", "format", "--check", "--quiet", "."],
        "mypy": ["-m", "mypy"],
        "lint-imports": ["-c", lint_imports, "--no-cache"],
        "pytest": [
            "-m",
            "pytest",
            "-n",
            "auto",
            "--dist",
            "loadfile",
            *pytest_arguments,
        ],
    }
    failed = []
    for name, arguments in checks.items():
        say(name)
        if run([venv_python(), *arguments]):
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
