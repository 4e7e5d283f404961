"""The metrics of the recognition API, as /metrics answers them in the format of Prometheus.

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

SECONDS_BUCKETS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2, 5)
IMAGES_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Requests, times, batches and queues of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        shared: dict[str, Any] = {"registry": self._registry}
        self._requests = Counter(
            "captcha_requests",
            "requests, by the status of the answer",
            ["model", "status"],
            **shared,
        )
        self._request_seconds = Histogram(
            "captcha_request_seconds",
            "from the request to the answer",
            ["model"],
            buckets=SECONDS_BUCKETS,
            **shared,
        )
        self._batch_images = Histogram(
            "captcha_batch_images",
            "images in one run of the network",
            ["model"],
            buckets=IMAGES_BUCKETS,
            **shared,
        )
        self._pending_images = Gauge(
            "captcha_waiting_images",
            "images that wait or are recognised",
            ["model"],
            multiprocess_mode="livesum",
            **shared,
        )
        self._dropped_uploads = Counter(
            "captcha_images_not_kept", "images not written to api_image_dir", ["reason"], **shared
        )

    def observe_request(self, model: str, status: int, seconds: float) -> None:
        self._requests.labels(model, str(status)).inc()
        self._request_seconds.labels(model).observe(seconds)

    def observe_batch(self, model: str, images: int) -> None:
        self._batch_images.labels(model).observe(images)

    def set_pending_images(self, model: str, images: int) -> None:
        self._pending_images.labels(model).set(images)

    def count_dropped_upload(self, reason: str) -> None:
        self._dropped_uploads.labels(reason).inc()

    def exposition(self) -> bytes:
        """Return all metrics as Prometheus reads them."""
        registry = self._registry
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return generate_latest(registry)
