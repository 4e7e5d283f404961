"""What a training runs of its graph: steps, and where in an image the characters are."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnlib.dataset.image_set import ImageSet
from cnnlib.errors import CaptchaError
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.training.batches import Batch, TrainingBatches
from cnnlib.training.graph import TrainingGraph
from cnnlib.training.options import RunOptions


class Stepper:
    """Run what needs a training step's memory; raises CaptchaError where it is not enough."""

    def __init__(self, graph: TrainingGraph, session: Any, options: RunOptions) -> None:
        self._graph, self._session, self._options = graph, session, options

    def batches(
        self, images: ImageSet, first_step: int, rng: np.random.Generator
    ) -> TrainingBatches:
        """Return what the steps after `first_step` learn from."""
        options = self._options
        return TrainingBatches(
            images,
            options.own_batch_size,
            options.cycle_stop,
            first_step,
            None if self._graph.saliency is None else options.recipe.splicing,
            rng,
        )

    def step(self, batch: Batch, rate: float) -> None:
        """Learn from a batch; in a cluster the rate is that of the chief.

        There it raises an OpError where the servers cannot learn.
        """
        graph = self._graph
        feeds = {
            graph.X: batch.pixels,
            graph.Y: batch.char_ids,
            graph.training: True,
            graph.rate: rate,
            graph.keep_prob: self._options.recipe.keep_prob,
        }
        self._run(graph.train_step, feeds)
        if graph.replication and graph.replication.failure:
            raise graph.replication.failure

    def saliency(self, pixels: np.ndarray, char_ids: np.ndarray) -> np.ndarray:
        """Return what each column contributes to each character, float32 [B, L, W]."""
        graph = self._graph
        return np.asarray(self._run(graph.saliency, {graph.X: pixels, graph.Y: char_ids}))

    def _run(self, fetches: Any, feeds: dict[Any, Any]) -> Any:
        try:
            return self._session.run(fetches, feeds)
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            size = self._options.train_batch_size
            raise CaptchaError(
                f"not enough memory for train_batch_size {size}: set a smaller one in conf/, such "
                f"as {max(1, size // 2)}, or end other programs. The same command goes on from the "
                "last save"
            ) from error
