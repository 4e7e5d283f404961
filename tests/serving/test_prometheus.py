"""The metrics, as Prometheus reads them."""

from __future__ import annotations

import os
import subprocess
import sys

from cnnlib.paths import PROJECT_ROOT
from tests.serving.helpers import Named, png, upload


def test_metrics_count_requests_by_model_and_status(make_app):
    client = make_app(Named("a")).test_client()
    for data in (png(), png(), b"not an image"):
        client.post("/b", **upload(data))
    client.get("/health/live")
    text = client.get("/metrics").get_data(as_text=True)
    assert 'captcha_requests_total{model="a",status="200"} 2.0' in text
    assert 'captcha_requests_total{model="a",status="415"} 1.0' in text
    assert 'captcha_requests_total{model="-",status="200"} 1.0' in text
    assert 'captcha_request_seconds_count{model="a"} 3.0' in text
    assert 'captcha_batch_images_count{model="a"} 2.0' in text
    assert 'captcha_waiting_images{model="a"} 0.0' in text


def test_several_processes_answer_for_all_of_them(tmp_path):
    program = """
from cnnlib.serving.prometheus import Metrics
metrics = Metrics()
metrics.observe_request("a", 200, 0.1)
print(metrics.exposition().decode())
"""
    for count in (1, 2):
        text = subprocess.run(
            [sys.executable, "-c", program],
            cwd=PROJECT_ROOT,
            env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
            capture_output=True,
            encoding="utf-8",
            check=True,
        ).stdout
        assert f'captcha_requests_total{{model="a",status="200"}} {count}.0' in text
