"""What machine this is, for the figures that are measured on it."""

from __future__ import annotations

import contextlib
import json
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from bootstrap.processes import ROOT, environment
from bootstrap.virtual_environment import venv_python
from cnnlib.cores import usable_cores

VECTORS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")  # what decides the speed, best first
LIBRARIES = ("tensorflow", "numpy", "pillow", "captcha")


def machine() -> dict[str, Any]:
    """Return processor, cores, system, and the versions of Python and libraries in .venv."""
    code = (
        "import importlib.metadata as m, json, platform; print(json.dumps({'python': "
        f"platform.python_version(), 'libraries': {{n: m.version(n) for n in {LIBRARIES!r}}}}}))"
    )
    answer = subprocess.run(
        [venv_python(), "-c", code],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        check=True,
    )
    return {
        "processor": processor(),
        "cores": usable_cores(),
        "system": platform.system(),
        **json.loads(answer.stdout),
    }


def processor() -> str:
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        if platform.system() == "Linux":
            known = Path("/proc/cpuinfo").read_text("utf-8")
            match = re.search(r"model name\s*:\s*(.+)", known)
            vectors = [name for name in VECTORS if re.search(rf"\b{name}\b", known)]
            return " ".join([match[1].strip() if match else platform.machine(), *vectors[:1]])
        if platform.system() == "Darwin":
            brand = subprocess.check_output(["sysctl", "-n", "machdep.cpu.brand_string"])
            return brand.decode().strip()
    return platform.processor() or platform.machine()
