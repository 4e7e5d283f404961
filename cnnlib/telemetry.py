"""What /metrics tells: requests, times, batches, queues, in the format of Prometheus.

Under several worker processes the variable PROMETHEUS_MULTIPROC_DIR must name a folder that they
share, before prometheus_client is imported; /metrics then answers for all of them.
"""

from __future__ import annotations

import os
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

SECONDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2, 5)
IMAGES = (1, 2, 4, 8, 16, 32, 64)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Telemetry:
    """The metrics of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        shared: dict[str, Any] = {"registry": self._registry}
        self._requests = Counter("captcha_requests", "requests, by the status of the answer",
                                 ["model", "status"], **shared)
        self._seconds = Histogram("captcha_request_seconds", "from the request to the answer",
                                  ["model"], buckets=SECONDS, **shared)
        self._batch = Histogram("captcha_batch_images", "images in one run of the network",
                                ["model"], buckets=IMAGES, **shared)
        self._waiting = Gauge("captcha_waiting_images", "images that wait or are recognised",
                              ["model"], multiprocess_mode="livesum", **shared)
        self._lost = Counter("captcha_images_not_kept", "images not written to api_image_dir",
                             ["reason"], **shared)

    def request(self, model: str, status: int, seconds: float) -> None:
        self._requests.labels(model, str(status)).inc()
        self._seconds.labels(model).observe(seconds)

    def run(self, model: str, images: int) -> None:
        self._batch.labels(model).observe(images)

    def waiting(self, model: str, images: int) -> None:
        self._waiting.labels(model).set(images)

    def lost(self, reason: str) -> None:
        self._lost.labels(reason).inc()

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
            return generate_latest(registry)
        return generate_latest(self._registry)
