"""TensorFlow in its 1.x style as `tf`, imported without its start-up lines.

TensorFlow prints what it finds on the machine (oneDNN, CUDA, cuInit) to the process's stderr before
any setting of its log applies. Those lines mean no harm and hide what matters, so they are filtered
out while it starts; all other lines pass.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from cnnlib.packages import importing

# What TensorFlow 2.16 to 2.21 prints on machines without a GPU; a line with one of these is noise.
NOISE = (
    "All log messages before absl::InitializeLog()",
    "oneDNN custom operations are on",
    "Could not find cuda drivers on your machine",
    "Could not find TensorRT",
    "TF-TRT Warning",
    "failed call to cuInit",
    "This TensorFlow binary is optimized to use available CPU instructions",
    "To enable the following instructions:",
    "Unable to register cuDNN factory",
    "Unable to register cuBLAS factory",
    "Unable to register cuFFT factory",
    "computation_placer already registered",
    "MLIR V1 optimization pass is not enabled",
    "Cannot dlopen some GPU libraries",
    "Skipping registering GPU devices",
    "Created TensorFlow Lite XNNPACK delegate for CPU",
    "fully_quantize: ",
)
# A process of its own passes the lines on: they also arrive where this one is aborted.
FILTER = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
noise = [part.encode() for part in sys.argv[1:]]
for line in sys.stdin.buffer:
    if not any(part in line for part in noise):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""
PASS_ON_S = 2.0  # for the last lines


@contextmanager
def without_noise() -> Iterator[None]:
    """Filter what the process writes to stderr, also from C++; where it cannot, all passes."""
    command = [sys.executable, "-I", "-S", "-c", FILTER, *NOISE]
    try:
        stderr = os.dup(2)
    except OSError:  # there is none, as below pythonw
        yield
        return
    try:
        passing_on = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)
    except OSError:
        os.close(stderr)
        yield
        return
    assert passing_on.stdin
    os.dup2(passing_on.stdin.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        passing_on.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            passing_on.wait(PASS_ON_S)


@contextmanager
def heeding_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end where Ctrl-C was pressed and an import swallowed it."""
    former = signal.getsignal(signal.SIGINT)
    if not callable(former) or threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupts = []

    def note(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        former(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
        if interrupts:
            raise KeyboardInterrupt


with without_noise(), heeding_interrupts(), importing("tensorflow"):
    import tensorflow.compat.v1 as tf


@contextmanager
def quiet_log() -> Iterator[None]:
    """Keep TensorFlow's advice on functions of its 1.x style off the screen."""
    log = tf.get_logger()
    level = log.level
    log.setLevel("ERROR")
    try:
        yield
    finally:
        log.setLevel(level)


@contextmanager
def tf_lite() -> Iterator[Any]:
    """Give tf.lite, whose converter and interpreter are those of TensorFlow 2."""
    from tensorflow import lite

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated")
        yield lite


def cond(condition: Any, if_true: Callable[[], Any], if_false: Callable[[], Any]) -> Any:
    """Return tf.cond; the first one of a process looks for GPUs, and says so."""
    _look_for_gpus()
    return tf.cond(condition, if_true, if_false)


@functools.cache
def _look_for_gpus() -> None:
    with without_noise(), tf.Graph().as_default():
        tf.cond(tf.constant(False), lambda: tf.constant(0), lambda: tf.constant(0))


__all__ = ["cond", "quiet_log", "tf", "tf_lite", "without_noise"]
