"""What a worker of a cluster does: its share of each step, for as long as the chief goes on."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

from cnnlib.console import Reporter
from cnnlib.dataset.image_set import ImageSet
from cnnlib.errors import CaptchaError
from cnnlib.network import CNN
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.training.batches import prefetch
from cnnlib.training.cluster_sessions import POLL_S
from cnnlib.training.discovery import Discovery
from cnnlib.training.graph import TrainingGraph
from cnnlib.training.options import RunOptions
from cnnlib.training.replication import Phase, Replication
from cnnlib.training.scoring import Scorer
from cnnlib.training.stepping import Stepper

TRIES = 60  # of a step that the servers refuse, POLL_S apart


class Worker:
    """Compute gradients of its images; `reporter` learns when this begins and ends.

    `stop` is set from outside where the run has ended meanwhile.
    """

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
        stop: threading.Event,
        reporter: Reporter,
    ) -> None:
        self._session, self._options = session, options
        self._fingerprint = options.fingerprint(cnn, train)
        self._replication, self._stop, self._reporter = replication, stop, reporter
        self._train = options.own_share(train)
        self._stepper = Stepper(graph, session, options)
        self._discovery = Discovery(
            cnn.spec,
            options,
            self._train,
            test,
            unlabelled,
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
        phase, step, started = self._state()
        if phase is Phase.WAITING:
            self._reporter.say("waiting for the chief")
        while phase is Phase.WAITING:
            time.sleep(POLL_S)
            phase, step, started = self._state()
        return None if phase is Phase.ENDED else (step, started)

    def _state(self) -> tuple[Phase, int, bool]:
        return self._replication.state(self._session, self._fingerprint)

    def _work(self, first_step: int, started: bool) -> None:
        replication = self._replication
        name, refused, seen = replication.cluster.name, 0, first_step
        self._reporter.say(f"{name} takes part after step {first_step}: {len(self._train)} images")
        seed = (self._options.seed, replication.cluster.position, first_step)
        source = self._stepper.batches(self._train, first_step, np.random.default_rng(seed))
        replication.join(self._session)
        with prefetch(source.batches()) as batches:
            while True:
                phase, done, _ = self._state()
                if phase is not Phase.RUNNING:
                    return
                try:
                    for step in range(seen + 1, done + 2):  # each once, also one that is past
                        self._discovery.act_if_due(step, source, started, self._stop)
                    seen = max(seen, done + 1)
                    self._stepper.step(next(batches), rate=0.0)
                    refused = 0
                except tf.errors.FailedPreconditionError as error:  # the chief begins again
                    refused += 1
                    if refused > TRIES:
                        raise CaptchaError(f"the servers refuse each step: {error}") from error
                    time.sleep(POLL_S)
                    replication.join(self._session)
