"""Export a trained model: write the file, prove that it reads as the model does, then keep it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cnnlib.config import SampleConfig
from cnnlib.console import CONSOLE, Reporter, SilentReporter
from cnnlib.dataset.image_set import ImageSet, load_images
from cnnlib.dataset.verification import Rules
from cnnlib.errors import CaptchaError, ModelError, SampleError
from cnnlib.exporting.equality import (
    Comparison,
    accuracy,
    compare,
    made_up_images,
    run_in_parts,
)
from cnnlib.exporting.inference_graph import CHAR_IDS, InferenceGraph, build_inference_graph
from cnnlib.exporting.runners import Run, onnx_runner, saved_model_runner, tflite_runner
from cnnlib.exporting.writers import (
    TEXT,
    label_onnx,
    label_tflite,
    require_onnx,
    write_onnx,
    write_saved_model,
    write_tflite,
)
from cnnlib.files import replacing, replacing_folder
from cnnlib.networks.checkpoint import read_best
from cnnlib.networks.decoding import decode
from cnnlib.networks.metadata import FLOAT32, GRAY, INT8, OF_FILE, RGB, ModelMetadata
from cnnlib.networks.model_folder import ONNX_FILE, ModelFolder
from cnnlib.networks.session import has_bfloat16
from cnnlib.paths import ProjectPath
from cnnlib.recognizer import Recognizer

QUIET = SilentReporter()
LEAST_COMPARED = 200  # images
COMPARED_IN_TRAINING = 1000  # test images, at each new best
CALIBRATED = 200  # images that say between which values int8 lies
FEW_CALIBRATED = 20


@dataclass(frozen=True)
class Format:
    """How a format is written, and run to compare it."""

    write: Callable[[InferenceGraph, ModelMetadata, np.ndarray, Path], None]
    runner: Callable[..., AbstractContextManager[Run]]
    name: str  # of the file, by default
    label: Callable[[ModelMetadata, Path], None]  # adds what a file says of itself
    mark: str = ""  # a file that tells this format's folder; "" where it is a file
    also: tuple[tuple[str, str], ...] = ()  # further outputs and their shapes


FORMATS = {
    "onnx": Format(write_onnx, onnx_runner, ONNX_FILE, label_onnx),
    "savedmodel": Format(
        write_saved_model,
        saved_model_runner,
        "saved_model",
        lambda *_: None,  # it was written with it
        "saved_model.pb",
        ((TEXT, "string [B]"),),
    ),
    "tflite": Format(write_tflite, tflite_runner, "model.tflite", label_tflite),
}


@dataclass(frozen=True, eq=False)
class Captchas:
    """The images that an export needs, as the file takes them."""

    test: ImageSet
    training: ImageSet  # to compare more, where the test images are few
    calibration: np.ndarray  # pixels that say between which values int8 lies

    @property
    def compared(self) -> ImageSet:
        return self.test.joined(self.training)


@dataclass(frozen=True)
class Export:
    """A file that was written, and how it was compared with the model."""

    file: Path
    metadata: ModelMetadata
    megabytes: float
    shapes: dict[str, str]  # of what goes in and comes out, in words
    comparison: Comparison
    bfloat16_differing: int = 0  # texts, where the Recognizer computes with bfloat16


def export_model(
    config: SampleConfig,
    format_name: str = "onnx",
    precision: str = FLOAT32,
    input_kind: str = GRAY,
    output: Path | None = None,
    reporter: Reporter = CONSOLE,
) -> Export:
    """Export the best weights of a config's model_save_dir, by default into that folder.

    Raises ConfigError for what the format does not have, and ModelError where there is no model or
    where the file does not read as it does; then nothing is written.
    """
    if format_name == "onnx":
        require_onnx()
    folder = ModelFolder(config.model_save_dir)
    info, values = read_best(folder)
    folder.check_fits(info, config.spec, info.network, "Correct conf/")
    metadata = ModelMetadata.of(
        info, input_kind, precision, test_time_augmentation=config.test_time_augmentation
    )
    captchas = _captchas(config, metadata, reporter)
    target = output or folder.full / default_name(FORMATS[format_name], metadata)
    export = write_checked(
        FORMATS[format_name], target, folder, metadata, values, captchas, reporter
    )
    compared = captchas.compared
    if not (has_bfloat16() and len(compared)):
        return export
    probabilities = _probabilities(folder, metadata, compared.pixels, float32=False)
    texts, _ = decode(probabilities, metadata.spec.has_end_class)
    differing = (texts != export.comparison.model_char_ids).any(axis=-1).sum()
    return dataclasses.replace(export, bfloat16_differing=int(differing))


def export_new_best(folder: ModelFolder, test: ImageSet, reporter: Reporter = QUIET) -> Export:
    """Export what a training has just saved, to the ONNX file that is served; see `export_model`.

    `test` are images to compare it on.
    """
    info, values = read_best(folder)
    some = test.take(np.arange(min(len(test), COMPARED_IN_TRAINING)))
    captchas = Captchas(some, some.take(np.arange(0)), some.pixels[:0])
    metadata = ModelMetadata.of(info)
    target = folder.full / ONNX_FILE
    return write_checked(FORMATS["onnx"], target, folder, metadata, values, captchas, reporter)


def write_checked(
    kind: Format,
    target: Path,
    folder: ModelFolder,
    metadata: ModelMetadata,
    values: Mapping[str, np.ndarray],
    captchas: Captchas,
    reporter: Reporter,
) -> Export:
    """Write weights to `target` in a format, once the file reads captchas as the folder's model.

    The metadata of a file that may read otherwise get the accuracy that it has. Raises what
    `export_model` raises.
    """
    if not kind.mark:
        _refuse_other_files(target)
    inference = build_inference_graph(metadata, values)
    compared = captchas.compared
    missing = max(0, LEAST_COMPARED - len(compared))
    images = np.concatenate([compared.pixels, made_up_images(missing, compared.pixels.shape[1:])])
    with replacing_folder(target, kind.mark) if kind.mark else replacing(target) as temporary:
        kind.write(inference, metadata, captchas.calibration, temporary)
        with kind.runner(temporary) as run:
            outputs = run_in_parts(run, images, reporter)
        expected = _probabilities(folder, metadata, images, float32=True)
        comparison = compare(outputs, expected, compared.char_ids, metadata)
        measured = accuracy(outputs[CHAR_IDS], captchas.test.char_ids)
        if metadata.precision != FLOAT32 and measured is not None:
            metadata = dataclasses.replace(metadata, accuracy=measured, accuracy_of=OF_FILE)
        kind.label(metadata, temporary)
    return Export(
        target,
        metadata,
        sum(f.stat().st_size for f in (target, *target.rglob("*")) if f.is_file()) / 1e6,
        {**_shapes(inference), **dict(kind.also)},
        comparison,
    )


def _refuse_other_files(target: Path) -> None:
    """Raise CaptchaError where there is something that is not an exported file."""
    if target.is_dir():
        raise CaptchaError(f"{target} is a folder: name a file in it")
    if target.exists():
        with open(target, "rb") as file:
            start = file.read(64)
        if b"cnn_captcha" not in start and start[4:8] != b"TFL3":
            raise CaptchaError(
                f"{target} is in the way, and not an exported file: remove it, or name another "
                "output"
            )


def default_name(kind: Format, metadata: ModelMetadata) -> str:
    """Return a name that says in what the file differs from the usual one."""
    stem, dot, suffix = kind.name.partition(".")
    unusual = metadata.input == RGB and metadata.spec.image_channels == 1
    parts = [stem, RGB * unusual, metadata.precision * (metadata.precision != FLOAT32)]
    return "-".join(filter(None, parts)) + dot + suffix


def _shapes(inference: InferenceGraph) -> dict[str, str]:
    letters = {"image": "BHW3", "probabilities": "BPC", "char_ids": "BP", "confidence": "B"}
    tensors = {"image": inference.image, **inference.outputs}
    return {
        name: f"{tensor.dtype.name} [{', '.join(_sizes(tensor, letters[name]))}]"
        for name, tensor in tensors.items()
    }


def _sizes(tensor: Any, letters: str) -> Iterator[str]:
    for letter, size in zip(letters, tensor.shape.as_list(), strict=False):
        yield letter if size is None or letter == "3" else f"{letter} = {size}"


# --- images ---


def _captchas(config: SampleConfig, metadata: ModelMetadata, reporter: Reporter) -> Captchas:
    """Load test images; training images where these are few, and to calibrate int8."""
    test = _load(config, config.test_image_dir, metadata, None, reporter)
    more = test.take(np.arange(0))
    if len(test) < LEAST_COMPARED:
        limit = LEAST_COMPARED - len(test)
        more = _load(config, config.train_image_dir, metadata, limit, reporter)
    calibrated = metadata.precision == INT8
    calibration = _calibration(config, metadata, reporter) if calibrated else test.pixels[:0]
    return Captchas(test, more, calibration)


def _calibration(config: SampleConfig, metadata: ModelMetadata, reporter: Reporter) -> np.ndarray:
    """Return training images that say between which values int8 lies; raises SampleError."""
    images = _load(config, config.train_image_dir, metadata, CALIBRATED, reporter)
    if not len(images):
        raise SampleError(
            f"int8 is calibrated on training images, and there are none in "
            f"{config.train_image_dir}: put some there, or take another --precision"
        )
    if len(images) < FEW_CALIBRATED:
        reporter.warn(
            f"int8 is calibrated on {len(images)} training images alone: where it reads worse, put "
            f"more in {config.train_image_dir}, {CALIBRATED} at best, or take --precision float16"
        )
    return images.pixels


def _load(
    config: SampleConfig,
    folder: ProjectPath,
    metadata: ModelMetadata,
    limit: int | None,
    reporter: Reporter,
) -> ImageSet:
    """Return the images of a folder; none where it has none that can be used."""
    rules = dataclasses.replace(Rules.from_config(config), spec=metadata.image_spec)
    rng = np.random.default_rng(config.seed)
    try:
        return load_images(folder, rules, limit=limit, rng=rng, reporter=reporter)
    except SampleError:
        spec = metadata.image_spec
        nothing = np.empty((0, *spec.shape), np.uint8), np.empty((0, spec.max_captcha), np.int32)
        return ImageSet([], *nothing)


# --- the model ---


def _probabilities(
    folder: ModelFolder, metadata: ModelMetadata, images: np.ndarray, float32: bool
) -> np.ndarray:
    """Return what the Recognizer gives of images, as of pictures of their own, float [N, P, C]."""
    with Recognizer.from_spec(
        metadata.spec,
        folder.path,
        float32=float32,
        test_time_augmentation=metadata.test_time_augmentation,
    ) as recognizer:
        if recognizer.info.best != metadata.checkpoint:
            raise ModelError(f"a training has saved newer weights in {folder}: export again")
        if images.ndim > 1 + len(recognizer.spec.shape):  # RGB, and the model reads gray
            images = np.stack([recognizer.pixels_of(Image.fromarray(image)) for image in images])
        return recognizer.probabilities(images)
