"""What the machine does: its matrix product, and the memory of a process."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np

from cnnlib.networks.session import session_options
from cnnlib.networks.tensorflow_v1 import tf

KB_PER_MB = 1024


def matrix_peak(size: int = 2048, repeats: int = 7) -> float:
    """Return the median floating-point operations a second of a matrix product."""
    with tf.Graph().as_default(), tf.Session(config=session_options()) as session:
        factor = tf.placeholder(tf.float32, [size, size])
        # The sum is fetched, so that no part of the product can be left out.
        product = tf.reduce_sum(tf.matmul(tf.matmul(factor, factor), factor))
        values = np.random.default_rng(0).random((size, size), np.float32)
        seconds = []
        for _ in range(repeats):
            began_s = time.perf_counter()
            session.run(product, {factor: values})
            seconds.append(time.perf_counter() - began_s)
    return 2 * 2 * size**3 / statistics.median(seconds)


def anonymous_mb(pid: int | str = "self") -> float:
    """Return the memory that a process has of its own; NaN where the system does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        return int(status.split("RssAnon:")[1].split()[0]) / KB_PER_MB
    except (OSError, IndexError):
        return float("nan")
