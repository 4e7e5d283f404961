"""What a worker of a cluster does: its share of each step, for as long as the chief goes on."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

from cnnlib.console import Reporter
from cnnlib.dataset.image_set import ImageSet
from cnnlib.network import CNN
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.training.batches import TrainingBatches, prefetch
from cnnlib.training.discovery import Discovery
from cnnlib.training.graph import TrainingGraph
from cnnlib.training.options import RunOptions
from cnnlib.training.replication import POLL_S, Phase, Replication
from cnnlib.training.scoring import Scorer
from cnnlib.training.stepping import Stepper

# The chief has closed the tokens or has not begun; the phase of the run says which.
NO_STEP = (
    tf.errors.OutOfRangeError,
    tf.errors.CancelledError,
    tf.errors.FailedPreconditionError,
)


class Worker:
    """Compute gradients of its images; `reporter` learns when this begins and ends."""

    def __init__(
        self,
        cnn: CNN,
        graph: TrainingGraph,
        replication: Replication,
        session: Any,
        options: RunOptions,
        train: ImageSet,
        test: ImageSet,
        unlabelled: ImageSet | None,
        reporter: Reporter,
    ) -> None:
        self._graph, self._session, self._options = graph, session, options
        self._what = options.number_of(cnn)
        self._replication, self._reporter = replication, reporter
        self._train = options.own_share(train)
        self._stepper = Stepper(graph, session, options)
        self._discovery = Discovery(
            cnn.spec,
            options,
            self._train,
            test,
            options.own_share(unlabelled) if unlabelled else None,
            Scorer(graph, session, cnn.spec.has_end_class),
            self._stepper,
        )

    def run(self) -> None:
        """Take part until the run has ended; a chief that starts again finds this worker there."""
        while (begun := self._wait()) is not None:
            self._work(*begun)
        self._replication.leave(self._session)
        self._reporter.say("the run has ended")

    def _wait(self) -> tuple[int, bool] | None:
        """Return the step of a run that has begun, and whether it started; None where it ended."""
        phase, step, started = self._look()
        if phase is Phase.WAITING:
            self._reporter.say("waiting for the chief")
        while phase is Phase.WAITING:
            time.sleep(POLL_S)
            phase, step, started = self._look()
        return None if phase is Phase.ENDED else (step, started)

    def _look(self) -> tuple[Phase, int, bool]:
        return self._replication.look(self._session, self._what)

    def _work(self, first_step: int, started: bool) -> None:
        options, replication, stop = self._options, self._replication, threading.Event()
        name = replication.cluster.name
        self._reporter.say(f"{name} takes part after step {first_step}: {len(self._train)} images")
        source = TrainingBatches(
            self._train,
            options.own_batch_size,
            options.cycle_stop,
            first_step,
            None if self._graph.saliency is None else options.recipe.splicing,
            np.random.default_rng((options.seed, replication.cluster.position, first_step)),
        )
        replication.join(self._session)
        with prefetch(source.batches()) as batches:
            while True:
                phase, step, _ = self._look()
                if phase is not Phase.RUNNING:
                    return
                try:
                    self._discovery.look(step + 1, source, started, stop)
                    self._stepper.step(next(batches), rate=0.0)
                except NO_STEP:
                    time.sleep(POLL_S)
