"""The script that serves the labelling page, as a process."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request

from cnnlib.paths import PROJECT_ROOT


def test_the_page_is_served_until_a_signal(project, draw_images):
    draw_images(project.root / "sample" / "unlabelled", 3)
    command = [sys.executable, "webserver_label_images.py", "--port", "0"]
    with subprocess.Popen(
        [*command, "--config", str(project.config_path)],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as server:
        assert server.stdout and server.stderr
        lines = [server.stdout.readline() for _ in range(2)]
        assert "sample/unlabelled" in lines[0]
        url = lines[1].split()[-1]
        with urllib.request.urlopen(url) as answer:
            assert b"label-token" in answer.read()
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0, server.stderr.read()


def test_a_folder_that_is_none_is_said(project):
    result = subprocess.run(
        [sys.executable, "webserver_label_images.py", "nowhere", "--config", project.config_path],
        cwd=PROJECT_ROOT,
        capture_output=True,
        encoding="utf-8",
    )
    assert result.returncode == 2 and "nowhere is not a folder" in result.stderr
