"""Compare the networks: operations, weights, and the time of an image in ONNX on one core.

    python3 bench/bench_networks.py [--config conf/pretrained_config.json]

Exports each network with random weights, for the captchas of the config, and lets onnxruntime read
images with one thread, the networks in turn. Nothing else should run meanwhile. Writes
bench/networks_results.json and the table in docs/*/results.md. How accurate they are is measured by
bench_training.py.
"""

import functools
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import onnxruntime

from bench.lib.pages import write_tables
from bench.lib.results import write_results
from bench.lib.timing import seconds_of
from cnnlib import console
from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.config import NETWORK_NAMES, load_sample_config
from cnnlib.exporting.inference_graph import build_inference_graph
from cnnlib.exporting.onnx_graph import to_onnx
from cnnlib.network import CNN, DEFAULT_NETWORK
from cnnlib.networks.cost import cost
from cnnlib.networks.metadata import ModelMetadata
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.paths import PROJECT_ROOT

RESULTS = PROJECT_ROOT / "bench" / "networks_results.json"
MARKER = "networks results"
ROUNDS, CALLS = 20, {1: 50, 32: 5}  # of each network in turn, by images in a call
HEADS = {
    "en": "| network | MFLOP an image | weights | one image | 32 images |",
    "zh": "| 网络 | 每张图片的 MFLOP | 权重 | 1 张图片 | 32 张图片 |",
}
LINES = {
    "en": "| `{name}` | {mflop:.0f} | {millions:.2f} million | {ms_1:.2f} ms, {ratio_1:.2f} | "
    "{ms_32:.1f} ms, {ratio_32:.2f} |",
    "zh": "| `{name}` | {mflop:.0f} | {millions:.2f} 百万 | {ms_1:.2f} 毫秒，{ratio_1:.2f} | "
    "{ms_32:.1f} 毫秒，{ratio_32:.2f} |",
}


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    args = console.parser(__doc__, "conf/pretrained_config.json").parse_args(argv)
    spec = load_sample_config(args.config).spec
    sessions = {name: exported(name, spec) for name in NETWORK_NAMES}
    results: dict[str, dict[str, Any]] = {}
    for name in NETWORK_NAMES:
        counted = cost(name, spec)
        results[name] = {"mflop": counted.flop / 1e6, "millions": counted.parameters / 1e6}
    for count, calls in CALLS.items():
        images = np.zeros((count, *spec.shape), np.uint8)
        times: dict[str, list[float]] = {name: [] for name in sessions}
        for _ in range(ROUNDS):
            for name, session in sessions.items():
                run = functools.partial(session.run, None, {"image": images})
                run()  # brings its weights back into the processor's cache
                times[name] += [seconds_of(run) for _ in range(calls)]
        medians = {name: 1000 * statistics.median(values) for name, values in times.items()}
        for name, ms in medians.items():
            results[name] |= {f"ms_{count}": ms, f"ratio_{count}": ms / medians[DEFAULT_NETWORK]}
    write_results(RESULTS, results)
    console.say(write_tables(MARKER, HEADS, lambda language: lines(results, language)))
    return 0


def exported(network: str, spec: CaptchaSpec) -> onnxruntime.InferenceSession:
    """Return a network with random weights, ready to run with one thread."""
    cnn = CNN(
        spec.image_height,
        spec.image_width,
        spec.max_captcha,
        spec.char_set,
        "",
        spec=spec,
        network=network,
    )
    cnn.model()
    with cnn.graph.as_default(), tf.Session() as session:
        session.run(tf.global_variables_initializer())
        weights = session.run({v.op.name: v for v in tf.global_variables()})
    metadata = ModelMetadata(spec, network, 0, 0.0, 1.0, "", "")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = to_onnx(build_inference_graph(metadata, weights)).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def lines(results: Mapping[str, Mapping[str, Any]], language: str) -> Iterator[str]:
    for name, run in results.items():
        yield LINES[language].format(name=name, **run)


if __name__ == "__main__":
    sys.exit(main())
