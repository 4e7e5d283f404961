"""nginx with the site of deploy/nginx.conf, on ports of one's choice, without a system's nginx."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from cnnlib.paths import PROJECT_ROOT

DEBIAN_NGINX = "/usr/sbin/nginx"  # not on the PATH of every user


def is_installed() -> bool:
    return bool(shutil.which("nginx")) or Path(DEBIAN_NGINX).exists()


def nginx(folder: Path, port: int, behind: int) -> Sequence[str]:
    """Return the command that starts it in the foreground, before a server on port `behind`.

    `folder` is for its files.
    """
    site = (PROJECT_ROOT / "deploy/nginx.conf").read_text(encoding="utf-8")
    site = site.replace("listen 80;", f"listen 127.0.0.1:{port};")
    site = site.replace("127.0.0.1:6000", f"127.0.0.1:{behind}")
    conf = folder / "nginx.conf"
    # Started by root, its worker would be nobody, who may not write to the folder.
    user = "user root;\n" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
    conf.write_text(
        f"{user}daemon off;\npid {folder}/pid;\nerror_log {folder}/errors;\nworker_processes 1;\n"
        "events { worker_connections 8192; }\n"
        f"http {{ access_log off; client_body_temp_path {folder}/body;\n{site}\n}}\n",
        encoding="utf-8",
    )
    return (shutil.which("nginx") or DEBIAN_NGINX, "-p", str(folder), "-c", str(conf))
