"""Time how one exported file reads images, with one thread, in a process of its own.

    python3 -m bench.lib.format_process onnx|savedmodel|tflite FILE IMAGES.npy

Prints JSON: when the first answer was there, and milliseconds of a call with 1 and 32 images. What
a format does not need is not imported: it would count.
"""

import functools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

RUNS, REPEATS = 5, {1: 200, 32: 20}  # medians of medians, by images in a call


@contextmanager
def reader(kind: str, file: Path) -> Iterator[Callable[[np.ndarray], object]]:
    if kind == "onnx":
        from cnnlib.onnx_recognizer import OnnxRecognizer

        with OnnxRecognizer(file) as recognizer:
            yield recognizer.probabilities
    else:
        from cnnlib.exporting.export import FORMATS

        with FORMATS[kind].runner(file, 1) as run:
            yield run


def median_ms(call: Callable[[], object], repeats: int) -> float:
    medians = []
    for _ in range(RUNS):
        times = []
        for _ in range(repeats):
            began_s = time.perf_counter()
            call()
            times.append(time.perf_counter() - began_s)
        medians.append(statistics.median(times))
    return 1000 * statistics.median(medians)


def main(kind: str, file: str, images_file: str) -> None:
    images = np.load(images_file)
    with reader(kind, Path(file)) as read:
        read(images[:1])
        figures = {"first_answer": time.time()}
        for count, repeats in REPEATS.items():
            some = images[:count]
            figures[f"ms_{count}"] = median_ms(functools.partial(read, some), repeats)
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
