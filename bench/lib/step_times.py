"""Times of training steps; what is compared runs in turn, so that noise meets all."""

from __future__ import annotations

import statistics
import time

import numpy as np

from cnnlib.dataset.image_set import ImageSet
from cnnlib.networks.session import session_options
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.training import TrainModel
from cnnlib.training.batches import Batch, TrainingBatches, prefetch
from cnnlib.training.graph import TrainingGraph

BLOCK_STEPS = 10  # of one kind at a time
RATE = 1e-3


def step_times(model: TrainModel, images: ImageSet, steps: int) -> tuple[float, float]:
    """Return the median milliseconds of `steps` on batches as they come, and on one batch."""
    graph = model.build_graph(len(images))
    keep_prob = model.options.recipe.keep_prob
    block = min(BLOCK_STEPS, steps)
    times: dict[bool, list[float]] = {True: [], False: []}
    with (
        tf.Session(graph=graph.graph, config=session_options()) as session,
        prefetch(_spliced_batches(model, images).batches()) as batches,
    ):
        session.run(graph.initializer)
        constant = next(batches)
        for step in range(-BLOCK_STEPS, 2 * steps):
            as_they_come = step < 0 or step // block % 2 == 1
            began_s = time.perf_counter()
            batch = next(batches) if as_they_come else constant
            session.run(graph.train_step, _feeds(graph, batch, keep_prob))
            if step >= 0:  # the steps before set things up
                times[as_they_come].append(time.perf_counter() - began_s)
    return 1000 * statistics.median(times[True]), 1000 * statistics.median(times[False])


def _spliced_batches(model: TrainModel, images: ImageSet) -> TrainingBatches:
    """Return batches whose characters are spliced from the first step on, cut at equal widths."""
    options, spec = model.options, model.spec
    batches = TrainingBatches(
        images,
        options.train_batch_size,
        options.cycle_stop,
        0,
        options.recipe.splicing,
        np.random.default_rng(0),
    )
    cuts = np.arange(1, spec.max_captcha) * spec.image_width // spec.max_captcha  # [L - 1]
    batches.cuts = np.tile(cuts, (len(images), 1))  # [N, L - 1]
    return batches


def _feeds(graph: TrainingGraph, batch: Batch, keep_prob: float) -> dict[object, object]:
    return {
        graph.X: batch.pixels,
        graph.Y: batch.char_ids,
        graph.training: True,
        graph.rate: RATE,
        graph.keep_prob: keep_prob,
    }
