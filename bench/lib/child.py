"""Measurements in a process of their own, whose memory is that of nothing else."""

from __future__ import annotations

import json
import subprocess
import sys


def measured_in_child(script: str, *arguments: str) -> dict[str, float]:
    """Run a script with `--child` and these arguments; return the JSON that it prints last."""
    command = [sys.executable, script, "--child", *arguments]
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return dict(json.loads(out.splitlines()[-1]))
