"""nginx with the site of deploy/nginx.conf, on ports of one's choice, without a system's nginx."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from cnnlib.config import PROJECT_ROOT


def nginx(folder: Path, port: int, behind: int) -> Sequence[str]:
    """Return the command that starts it in the foreground, before a server on `behind`.

    `folder` is for its files.
    """
    site = (PROJECT_ROOT / "deploy/nginx.conf").read_text(encoding="utf-8")
    site = site.replace("listen 80;", f"listen 127.0.0.1:{port};").replace(
        "127.0.0.1:6000", f"127.0.0.1:{behind}")
    (folder / "nginx.conf").write_text(
        f"daemon off;\npid {folder}/pid;\nerror_log {folder}/errors;\nworker_processes 1;\n"
        "events { worker_connections 8192; }\n"
        f"http {{ access_log off; client_body_temp_path {folder}/body;\n{site}\n}}\n",
        encoding="utf-8")
    return (shutil.which("nginx") or "/usr/sbin/nginx", "-p", str(folder), "-c",
            str(folder / "nginx.conf"))
