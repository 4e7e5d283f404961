"""Sessions and their options, and what they depend on: bfloat16, GPUs, the pool of threads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cnnlib.cores import usable_cores
from cnnlib.networks.tensorflow_v1 import tf, without_noise

_first_threads: int | None = None  # of the first session


def session_options(enable_gpu: bool = False, bfloat16: bool = True) -> Any:
    """Return the options of a session, tf.ConfigProto; `bfloat16`: where the processor has it."""
    options = tf.ConfigProto()
    options.gpu_options.allow_growth = True  # otherwise it takes the whole card's memory at once
    if not enable_gpu:
        options.device_count["GPU"] = 0
    # Training steps are 1.4, batched inference 1.8 times as fast; elsewhere they are slower.
    if bfloat16 and has_bfloat16():
        rewrites = options.graph_options.rewrite_options
        rewrites.auto_mixed_precision_onednn_bfloat16 = type(rewrites).ON
    return options


def open_session(graph: tf.Graph, options: Any) -> Any:
    """Return a session, tf.Session, and remember the first of this process.

    TensorFlow makes one pool of threads for operations, as large as the first session says.
    """
    global _first_threads
    if _first_threads is not None:
        return tf.Session(graph=graph, config=options)
    _first_threads = options.intra_op_parallelism_threads or usable_cores()
    with without_noise():  # it looks for a GPU
        return tf.Session(graph=graph, config=options)


def threads_in_pool() -> int:
    """Return how many threads an operation can use in this process."""
    return _first_threads or usable_cores()


def has_bfloat16() -> bool:
    """Return whether the processor multiplies bfloat16 in hardware; known on Linux alone."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"\b(avx512_bf16|amx_bf16)\b", flags) is not None


def gpu_names() -> list[str]:
    return [device.name for device in tf.config.list_physical_devices("GPU")]
