"""Scores of images with the weights as they are now, as inference would read them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from cnnlib.dataset.image_set import ImageSet
from cnnlib.evaluation import metrics
from cnnlib.evaluation.metrics import Scores, softmax
from cnnlib.networks.decoding import decode
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.test_time_augmentation import shifted_columns
from cnnlib.training.graph import TrainingGraph

SCORED_PER_RUN = 250  # of the network, or fewer where memory does not suffice
ALL = slice(None)
IMAGES_PER_PART = 1000  # whose probabilities are in memory


class Scorer:
    """Score images in the session of a training: no distortion, no dropout, loss unsmoothed."""

    def __init__(self, graph: TrainingGraph, session: Any, has_end_class: bool) -> None:
        self._graph, self._session, self._has_end_class = graph, session, has_end_class
        self._per_run = SCORED_PER_RUN

    def score(self, pixels: np.ndarray, char_ids: np.ndarray) -> Scores:
        return self.scores_of(*self.outputs(pixels, char_ids))

    def score_all(self, images: ImageSet) -> Scores:
        return self.score(images.pixels, images.char_ids)

    def outputs(
        self, pixels: np.ndarray, char_ids: np.ndarray, columns: np.ndarray | slice = ALL
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return logits [N, P, C], class ids [N, L] and losses [N] of images.

        `columns`, int [W], are those that are shown.
        """
        parts, start = [], 0
        while start < len(pixels):
            part = slice(start, start + self._per_run)
            try:
                parts.append(self._run(pixels[part][:, :, columns], char_ids[part]))
            except tf.errors.ResourceExhaustedError:
                if self._per_run == 1:
                    raise
                self._per_run //= 2
            else:
                start = part.stop
        logits, losses = (np.concatenate(column) for column in zip(*parts, strict=True))
        return logits, char_ids, losses

    def _run(self, pixels: np.ndarray, char_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        graph = self._graph
        feeds = {graph.X: pixels, graph.Y: char_ids}
        logits, losses = self._session.run((graph.logits, graph.losses), feeds)
        return logits, losses

    def averaged_logits(self, images: ImageSet, logits: np.ndarray) -> np.ndarray:
        """Return logits with test-time augmentation; `logits` are without, both [N, P, C]."""
        others = [
            self.outputs(images.pixels, images.char_ids, columns)[0]
            for columns in shifted_columns(*images.pixels.shape[1:3])
        ]
        return np.mean([logits, *others], axis=0)

    def right_images(self, logits: np.ndarray, char_ids: np.ndarray) -> np.ndarray:
        """Return which images are wholly right, bool [N]."""
        return (decode(softmax(logits), self._has_end_class)[0] == char_ids).all(axis=1)

    def scores_of(self, logits: np.ndarray, char_ids: np.ndarray, losses: np.ndarray) -> Scores:
        return metrics.scores(logits, char_ids, losses, self._has_end_class)


def probabilities_in_parts(
    scorer: Scorer, images: ImageSet, stop: threading.Event, temperature: float = 1.0
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield which images come next, and their probabilities, float [n, P, C].

    Ends early where `stop` is set.
    """
    for start in range(0, len(images), IMAGES_PER_PART):
        if stop.is_set():
            return
        part = slice(start, start + IMAGES_PER_PART)
        logits = scorer.outputs(images.pixels[part], images.char_ids[part])[0]
        yield part, softmax(logits / temperature)
