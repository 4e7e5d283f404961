"""The log of the servers on stderr: a JSON object for each request, other lines with their time."""

from __future__ import annotations

import logging
import sys

access_log = logging.getLogger("cnnlib.access")


def log_to_stderr() -> None:
    """Show this project's log; further calls change nothing."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("cnnlib").setLevel(logging.INFO)
    # waitress would report each moment in which all of its threads are busy.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    if not access_log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        access_log.addHandler(handler)
        access_log.propagate = False
