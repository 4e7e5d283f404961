"""Proof that an exported file reads what the Recognizer reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cnnlib.console import Reporter
from cnnlib.errors import ModelError
from cnnlib.exporting.inference_graph import CHAR_IDS, CONFIDENCE, PROBABILITIES
from cnnlib.exporting.runners import Run
from cnnlib.networks.decoding import decode
from cnnlib.networks.metadata import FLOAT32, ModelMetadata

TOLERANCE = 1e-4  # of a probability, float32 against float32
# Of a network that has hardly learned: where scores are in the hundreds their last digits count.
YOUNG_TOLERANCE = 2e-2
IMAGES_PER_RUN = 32


@dataclass(frozen=True, eq=False)
class Comparison:
    """What the file and the model say of the same images; accuracies where there are labels."""

    captchas: int
    images: int  # with those that are made up
    differing: int  # texts of captchas
    largest_difference: float  # of a probability
    model_accuracy: float | None
    file_accuracy: float | None
    model_char_ids: np.ndarray  # of captchas, int [n, P]
    is_float32: bool  # the file

    def summary(self) -> str:
        made_up = self.images - self.captchas
        images = f"{self.captchas} images" if self.captchas else ""
        images += f"{' and ' * bool(images)}{made_up} made-up images" if made_up else ""
        young = self.largest_difference > TOLERANCE and self.is_float32
        return (
            f"compared with the model on {images}: {self.differing} texts differ, probabilities by "
            f"{self.largest_difference:.1g} at most"
            + ": the model has hardly learned, and is sure all the same"
            * young
        )


def run_in_parts(run: Run, images: np.ndarray, reporter: Reporter) -> dict[str, np.ndarray]:
    """Return the outputs of a file for all images, uint8 [N, H, W] or [N, H, W, 3]."""
    starts = range(0, len(images), IMAGES_PER_RUN)
    parts = [
        run(images[start : start + IMAGES_PER_RUN])
        for start in reporter.progress(starts, "comparing", unit="batch")
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def compare(
    outputs: Mapping[str, np.ndarray],
    expected: np.ndarray,
    labels: np.ndarray,
    metadata: ModelMetadata,
) -> Comparison:
    """Compare a file's outputs with the probabilities of the model, float [N, P, C].

    `labels` are char ids, int [n, P], of the first n images; texts are compared of these, the
    others are no captchas. Raises ModelError where a file of float32 gives another text, or a
    probability that is off by more than YOUNG_TOLERANCE.
    """
    char_ids = outputs[CHAR_IDS]
    expected_ids, confidences = decode(expected, metadata.spec.has_end_class)
    differs = (char_ids != expected_ids).any(axis=-1)[: len(labels)]  # [n]
    off = max(
        np.abs(outputs[PROBABILITIES] - expected).max(),
        np.abs(outputs[CONFIDENCE] - confidences.prod(axis=-1)).max(),
    )
    if metadata.precision == FLOAT32 and (differs.any() or off > YOUNG_TOLERANCE):
        raise ModelError(
            f"the exported file does not read as the model does: {differs.sum()} of {len(labels)} "
            f"texts differ, a probability is off by {off:.1e}. Nothing was written; please report "
            "this with the versions of the libraries"
        )
    return Comparison(
        len(labels),
        len(expected),
        int(differs.sum()),
        float(off),
        accuracy(expected_ids, labels),
        accuracy(char_ids, labels),
        expected_ids[: len(labels)],
        metadata.precision == FLOAT32,
    )


def accuracy(char_ids: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the share of images that are read as labelled, the first of all; None without any."""
    if not len(labels):
        return None
    return float((char_ids[: len(labels)] == labels).all(axis=-1).mean())


def made_up_images(count: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Return images of random spots, uint8 [count, H, W] or [count, H, W, 3]."""
    rng = np.random.default_rng(seed)
    height, width = shape[:2]
    images = np.empty((count, *shape), np.uint8)
    for image in images:
        small = rng.integers(0, 256, (max(2, height // 8), max(2, width // 8), 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        image[:] = np.array(picture if len(shape) == 3 else picture.convert("L"))
    return images
