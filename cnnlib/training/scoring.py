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
from cnnlib.networks.test_time_augmentation import shifted_columns
from cnnlib.training.graph import TrainingGraph

SCORED_PER_RUN = 250  # of the network
ALL = slice(None)
IMAGES_PER_PART = 1000  # whose probabilities are in memory


class Scorer:
    """Score images in the session of a training: no distortion, no dropout, loss unsmoothed."""

    def __init__(self, graph: TrainingGraph, session: Any, has_end_class: bool) -> None:
        self._graph, self._session, self._has_end_class = graph, session, has_end_class

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
        graph = self._graph
        parts = [
            self._session.run(
                (graph.logits, graph.losses),
                {
                    graph.X: pixels[start : start + SCORED_PER_RUN][:, :, columns],
                    graph.Y: char_ids[start : start + SCORED_PER_RUN],
                },
            )
            for start in range(0, len(pixels), SCORED_PER_RUN)
        ]
        logits, losses = (np.concatenate(column) for column in zip(*parts, strict=True))
        return logits, char_ids, losses

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
