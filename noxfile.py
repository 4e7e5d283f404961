"""Run the tests at both ends of the supported versions.

    .venv/bin/python -m nox             both
    .venv/bin/python -m nox -s oldest   Python 3.10, lower bounds of the requirements
    .venv/bin/python -m nox -s newest   Python 3.13, newest releases that the requirements allow

Each makes an environment of its own in .nox, of about 2.5 GB, and takes some minutes. Arguments
after `--` go to pytest.
"""

import nox

REQUIREMENTS = ("-r", "requirements.txt", "-r", "requirements-dev.txt")
PYTEST = ("pytest", "-p", "no:cacheprovider", "-n", "auto", "--dist", "loadfile")

nox.options.reuse_existing_virtualenvs = True


@nox.session(python="3.10")
def oldest(session: nox.Session) -> None:
    session.install("--constraint", "tests/oldest.txt", *REQUIREMENTS)
    session.run(*PYTEST, *session.posargs)


@nox.session(python="3.13")
def newest(session: nox.Session) -> None:
    session.install("--upgrade", "--upgrade-strategy", "eager", *REQUIREMENTS)
    session.run(*PYTEST, *session.posargs)
