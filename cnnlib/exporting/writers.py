"""Exported files: written, each in its format, from one inference graph."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cnnlib.errors import CaptchaError, ConfigError
from cnnlib.exporting.inference_graph import CHAR_IDS, IMAGE, InferenceGraph
from cnnlib.networks.metadata import FLOAT16, FLOAT32, INT8, ModelMetadata
from cnnlib.networks.session import open_session, session_options
from cnnlib.networks.tensorflow_v1 import quiet_log, tf, tf_lite, without_noise
from cnnlib.packages import require

SIGNATURE = "serving_default"
TEXT = "text"
METADATA_FILE = "cnn_captcha.json"  # in a SavedModel's assets, and in what is appended to a TFLite
# What int8 leaves as it is in TFLite: scores, normalisation and masks lose too much, and XNNPACK,
# which interpreters use by default, refuses quantised dense layers at several places. Those of
# cnn5 have nearly all of its weights, and are quantised.
NOT_QUANTISED = [
    *("ADD", "ARG_MAX", "BATCH_MATMUL", "DIV", "FULLY_CONNECTED", "MEAN", "MUL", "REDUCE_MAX"),
    *("REDUCE_PROD", "RSQRT", "SOFTMAX", "SQRT", "SQUARED_DIFFERENCE", "SUB", "SUM"),
    *("TRANSPOSE", "UNPACK"),
]


def write_onnx(
    inference: InferenceGraph, metadata: ModelMetadata, images: np.ndarray, file: Path
) -> None:
    """Write an ONNX model, without its metadata.

    `images`, uint8 as the graph takes them, say between which values int8 lies.
    """
    from cnnlib.exporting.onnx_graph import to_onnx

    model = to_onnx(inference, halve=metadata.precision == FLOAT16)
    if metadata.precision == INT8:
        model = _quantised_onnx(model, images)
    file.write_bytes(model.SerializeToString())


def label_onnx(metadata: ModelMetadata, file: Path) -> None:
    """Make the metadata the metadata_props of an ONNX model."""
    import onnx

    model = onnx.load(file)
    onnx.helper.set_model_props(model, metadata.to_properties())
    file.write_bytes(model.SerializeToString())


def _quantised_onnx(model: Any, images: np.ndarray) -> Any:
    """Return a model whose convolutions and dense layers compute with int8."""
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization import shape_inference

    class Images(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(images[i : i + 1] for i in range(len(images)))

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._left, None)
            return None if image is None else {IMAGE: image}

    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, result = (str(Path(folder, name)) for name in ("a", "b", "c"))
        onnx.save(model, plain)
        shape_inference.quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            result,
            Images(),
            op_types_to_quantize=["Conv", "Gemm"],
            per_channel=True,
        )
        quantised = onnx.load(result)
        quantised.producer_name = model.producer_name  # by which its file may be replaced
        return quantised


def write_saved_model(
    inference: InferenceGraph, metadata: ModelMetadata, images: np.ndarray, folder: Path
) -> None:
    """Write a SavedModel with one signature, whose outputs have the text too, and its metadata."""
    if metadata.precision != FLOAT32:
        raise ConfigError(
            f"a SavedModel has float32 alone: leave out --precision {metadata.precision}, or take "
            "another format"
        )
    image, outputs = _copied(inference, checks_shape=True)
    with image.graph.as_default():
        # After the end a char id is -1, and its text the last of these, which is empty.
        characters = tf.constant([c.encode() for c in (*metadata.spec.char_set, "")])
        texts = tf.gather(characters, outputs[CHAR_IDS] % characters.shape[0])  # [B, P]
        _save(image, {**outputs, TEXT: tf.strings.reduce_join(texts, axis=-1)}, metadata, folder)


def write_tflite(
    inference: InferenceGraph, metadata: ModelMetadata, images: np.ndarray, file: Path
) -> None:
    """Write a TFLite model with one signature, without its metadata.

    `images` as in `write_onnx`.
    """
    with tempfile.TemporaryDirectory() as folder, without_noise(), tf_lite() as lite:
        saved = Path(folder, "saved_model")
        image, outputs = _copied(inference)
        with image.graph.as_default():
            _save(image, outputs, metadata, saved)
        converter = lite.TFLiteConverter.from_saved_model(str(saved), signature_keys=[SIGNATURE])
        if metadata.precision != FLOAT32:
            converter.optimizations = [lite.Optimize.DEFAULT]
        if metadata.precision == FLOAT16:
            converter.target_spec.supported_types = [tf.float16]
        if metadata.precision == INT8:
            content = _quantised_tflite(lite, converter, images, metadata.network)
        else:
            content = converter.convert()
    file.write_bytes(content)


def label_tflite(metadata: ModelMetadata, file: Path) -> None:
    """Append the metadata to a TFLite model, as a ZIP archive."""
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(METADATA_FILE, _json(metadata))


def _quantised_tflite(lite: Any, converter: Any, images: np.ndarray, network: str) -> bytes:
    """Return a model whose convolutions compute with int8."""
    kept = {*NOT_QUANTISED} - ({"FULLY_CONNECTED"} if network == "cnn5" else set())

    def samples() -> Iterator[dict[str, np.ndarray]]:
        yield from ({IMAGE: images[i : i + 1]} for i in range(len(images)))

    converter.representative_dataset = samples
    options = lite.experimental.QuantizationDebugOptions(denylisted_ops=sorted(kept))
    debugger = lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=samples, debug_options=options
    )
    model: bytes = debugger.get_nondebug_quantized_model()
    return model


def _copied(inference: InferenceGraph, checks_shape: bool = False) -> tuple[Any, dict[str, Any]]:
    """Return image and outputs in a graph of their own, which is not finalised.

    `checks_shape`: TensorFlow does not, where a signature is called, and would take pixels of one
    image for those of another.
    """
    outputs = [tensor.op.name for tensor in inference.outputs.values()]
    with quiet_log():
        wanted = tf.graph_util.extract_sub_graph(inference.graph.as_graph_def(), outputs)
    shape = inference.image.shape.as_list()
    with tf.Graph().as_default():
        image = tf.placeholder(tf.uint8, [None] * len(shape) if checks_shape else shape, IMAGE)
        checked = tf.ensure_shape(image, shape) if checks_shape else image
        copies = tf.import_graph_def(
            wanted,
            {f"{IMAGE}:0": checked},
            return_elements=[f"{name}:0" for name in outputs],
            name="",
        )
    return image, dict(zip(inference.outputs, copies, strict=True))


def _save(image: Any, outputs: dict[str, Any], metadata: ModelMetadata, folder: Path) -> None:
    """Write the graph of these tensors, which is the current one, as a SavedModel."""
    with tempfile.TemporaryDirectory() as scratch:
        asset = Path(scratch, METADATA_FILE)
        asset.write_text(_json(metadata), encoding="utf-8")
        tf.add_to_collection(tf.GraphKeys.ASSET_FILEPATHS, tf.constant(str(asset)))
        with open_session(image.graph, session_options()) as session, quiet_log():
            builder = tf.saved_model.Builder(str(folder))
            builder.add_meta_graph_and_variables(
                session,
                [tf.saved_model.tag_constants.SERVING],
                {SIGNATURE: tf.saved_model.predict_signature_def({IMAGE: image}, outputs)},
                assets_collection=tf.get_collection(tf.GraphKeys.ASSET_FILEPATHS),
            )
            try:
                builder.save()
            except tf.errors.OpError as error:
                raise CaptchaError(
                    f"cannot write to {folder.parent} ({error.message}): free some space, or make "
                    "the folder writable"
                ) from error


def _json(metadata: ModelMetadata) -> str:
    return json.dumps(metadata.to_json(), ensure_ascii=False, indent=1)


def require_onnx() -> None:
    """Raise MissingPackageError where what an export to ONNX needs is not installed."""
    require("onnx", "onnxruntime")
