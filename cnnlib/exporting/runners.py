"""Exported files as functions, each run by the library that its users have.

`threads` compute; 0: as many as the library takes by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cnnlib.exporting.inference_graph import CHAR_IDS, CONFIDENCE, IMAGE, PROBABILITIES
from cnnlib.exporting.writers import SIGNATURE
from cnnlib.networks.session import open_session, session_options
from cnnlib.networks.tensorflow_v1 import quiet_log, tf, tf_lite, without_noise

NAMES = (PROBABILITIES, CHAR_IDS, CONFIDENCE)
# Takes images, uint8 [n, H, W] or [n, H, W, 3]; returns the outputs by their names.
Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]


@contextmanager
def onnx_runner(file: Path, threads: int = 0) -> Iterator[Run]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        file.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    yield lambda images: dict(zip(NAMES, session.run(NAMES, {IMAGE: images}), strict=True))


@contextmanager
def saved_model_runner(folder: Path, threads: int = 0) -> Iterator[Run]:
    graph = tf.Graph()
    options = session_options(bfloat16=False)
    options.intra_op_parallelism_threads = options.inter_op_parallelism_threads = threads
    with graph.as_default(), open_session(graph, options) as session:
        with quiet_log():
            model = tf.saved_model.load(
                session, [tf.saved_model.tag_constants.SERVING], str(folder)
            )
        signature = model.signature_def[SIGNATURE]
        outputs = {name: signature.outputs[name].name for name in NAMES}
        yield lambda images: session.run(outputs, {signature.inputs[IMAGE].name: images})


@contextmanager
def tflite_runner(file: Path, threads: int = 0) -> Iterator[Run]:
    with tf_lite() as lite, without_noise():
        interpreter = lite.Interpreter(model_content=file.read_bytes(), num_threads=threads or None)
        runner = interpreter.get_signature_runner(SIGNATURE)
        yield lambda images: runner(**{IMAGE: images})
