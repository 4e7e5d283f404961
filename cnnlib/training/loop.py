"""One training run: its steps, and what happens every few of them."""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from cnnlib.console import Reporter, is_output_gone
from cnnlib.dataset.image_set import ImageSet
from cnnlib.errors import CaptchaError
from cnnlib.evaluation.metrics import Scores
from cnnlib.exporting.export import export_new_best
from cnnlib.network import CNN
from cnnlib.networks.model_folder import ModelInfo, Run
from cnnlib.training.batches import Batch, TrainingBatches, prefetch
from cnnlib.training.cluster_sessions import watched
from cnnlib.training.discovery import Discovery
from cnnlib.training.graph import TrainingGraph
from cnnlib.training.history import TrainingRecord
from cnnlib.training.options import RunOptions, TrainingResult
from cnnlib.training.plateau import MIN_TESTED, OBSERVE_STEPS, Plateau
from cnnlib.training.reports import RunReports
from cnnlib.training.rollback import MIN_IMAGES, Rollback
from cnnlib.training.saving import ModelSaver, check_finite
from cnnlib.training.scoring import Scorer
from cnnlib.training.signals import stop_signals
from cnnlib.training.stepping import Stepper

REPORT_STEPS = 10  # docs/en/version-2.md, 2.4
FIRST_PROGRESS_STEPS = 20  # after these the time to expect is known
PROGRESS_STEPS = 100
WORTH_SAVING = 20  # steps: --fresh that is stopped before leaves the model that was there
OBSERVED_IMAGES = 1000  # of the test set, at most, to see whether their loss falls
ACC_STOP_STEPS = 50  # at least, between two scorings of the whole test set because of acc_stop


class TrainingLoop:
    """Train a built graph in a session, and keep the model folder up to date.

    `views` is how often the run sees each image.
    """

    def __init__(
        self,
        cnn: CNN,
        graph: TrainingGraph,
        session: Any,
        options: RunOptions,
        train: ImageSet,
        test: ImageSet,
        reporter: Reporter,
        *,
        views: float,
        unlabelled: ImageSet | None = None,
        advises: bool = True,
    ) -> None:
        self._cnn, self._graph, self._session = cnn, graph, session
        self._options, self._recipe = options, options.recipe
        self._train, self._test, self._reporter = options.own_share(train), test, reporter
        self._all_images = train  # also those that others learn from
        self._scorer = Scorer(graph, session, cnn.spec.has_end_class)
        self._saver = ModelSaver(cnn, graph, session, self._scorer, options, test)
        self._reports = RunReports(
            cnn, options, train, test, self._scorer, self._saver, reporter, advises
        )
        self._stepper = Stepper(graph, session, options)
        self._discovery = Discovery(
            cnn.spec,
            options,
            self._train,
            test,
            unlabelled,
            self._scorer,
            self._stepper,
            reporter,
            advises,
        )
        self._views = views
        self._next_acc_stop_check = 0
        self._plateau = Plateau(options.cycle_stop)

    def run(self, previous: ModelInfo | None) -> TrainingResult:
        """Train to the end of the run; `previous` is the model to go on from."""
        self._reports.begin(self._saver.restore(previous))
        saver, options = self._saver, self._options
        self._rollback = self._new_rollback(previous)
        replication = self._graph.replication
        if replication:
            fingerprint = options.fingerprint(self._cnn, self._all_images)
            replication.begin(self._session, saver.first_step, saver.started, fingerprint)
        done_before = saver.earlier_steps + saver.first_step
        self._record = TrainingRecord(options.log_dir, self._cnn.folder.full, done_before)
        try:
            # A run that goes on does not repeat its first batches.
            seed = (options.seed, saver.earlier_steps, saver.first_step)
            rng, batch_rng = np.random.default_rng(seed).spawn(2)
            source = self._stepper.batches(self._train, saver.first_step, batch_rng)
            with (
                stop_signals() as stop,
                self._watched(stop),
                prefetch(source.batches()) as batches,
            ):
                last, interrupted = self._train_steps(stop, source, batches, rng)
        finally:
            self._record.close()
        return self._reports.end(last, interrupted)

    def _new_rollback(self, previous: ModelInfo | None) -> Rollback:
        """Return a rollback that knows the weights the run starts from."""
        options, saver = self._options, self._saver
        chance_loss = 0.0 if self._recipe.sigmoid else math.log(self._cnn.spec.classes)
        resumed = previous.run if previous and saver.first_step else Run(0, 0, 0, False)
        rollback = Rollback(
            self._session,
            self._graph.all_variables,
            chance_loss,
            resumed.rate_factor,
            resumed.rewarm_from,
        )
        if chance_loss:
            rng = np.random.default_rng(options.seed)
            sample = self._train.sample(max(MIN_IMAGES, options.train_batch_size), rng)
            rollback.keep_start(saver.first_step, self._scorer.score(*sample).loss)
        return rollback

    def _watched(self, stop: threading.Event) -> AbstractContextManager[None]:
        """Give a block in which the machines that train together are watched, if there are any."""
        replication = self._graph.replication
        if replication is None:
            return nullcontext()
        return watched(replication, self._session, stop, self._reporter)

    # Steps

    def _train_steps(
        self,
        stop: threading.Event,
        source: TrainingBatches,
        batches: Iterator[Batch],
        rng: np.random.Generator,
    ) -> tuple[int, bool]:
        """Return the last step done, and whether it was a signal that ended the run.

        `rng` chooses the test images to report on.
        """
        options = self._options
        step, cycle_stop = self._saver.first_step, options.cycle_stop
        if step >= cycle_stop:
            self._save(step, done=True)
        seconds: list[float] = []
        steps = self._reporter.progress(range(step + 1, cycle_stop + 1), "training", unit="step")
        for step in steps:
            self._discovery.act_if_due(step, source, self._saver.started, stop)
            began_s = time.perf_counter()
            batch = next(batches)
            rate = self._rate(step, source)
            self._stepper.step(batch, rate)
            seconds.append(time.perf_counter() - began_s)
            done = self._report_if_due(step, batch, rate, rng, seconds, stop)
            if not done:
                self._observe_plateau(step, source)
            stopping = stop.is_set() and not done
            if stopping:
                self._reports.stopping()
            spares = stopping and step < WORTH_SAVING and self._saver.spares_old_model
            if (done or stopping or step % options.cycle_save == 0) and not spares:
                if step % REPORT_STEPS:
                    self._check_spike(step, self._batch_scores(batch))
                self._save(step, done)
            if done or stopping:
                return step, stopping
            steps.set_postfix_str(self._reports.best_so_far(), refresh=False)
        return step, False

    def _rate(self, step: int, source: TrainingBatches) -> float:
        rewarm_from = max(source.splicing_starts_at, self._rollback.rewarm_from)
        rate = self._recipe.rate(
            self._cnn.network,
            step,
            self._options.cycle_stop,
            rewarm_from,
            self._saver.started,
            self._views,
        )
        return self._rollback.rate_factor * self._cooling(step) * rate

    def _cooling(self, step: int) -> float:
        """Return the share of the rate that is left where the run is to end early."""
        saver = self._saver
        if not saver.cooling_from:
            return 1.0
        steps = saver.last_step - saver.cooling_from
        return (saver.last_step - step + 1) / steps

    # Every few steps

    def _report_if_due(
        self,
        step: int,
        batch: Batch,
        rate: float,
        rng: np.random.Generator,
        seconds: list[float],
        stop: threading.Event,
    ) -> bool:
        """Report what is due after a step; return whether the run is done."""
        done = step == self._saver.last_step
        try:
            if step % REPORT_STEPS == 0:
                estimate = self._report(step, batch, rate, rng, seconds[-REPORT_STEPS:])
                done |= self._reaches_acc_stop(step, estimate)
            timed = len(seconds) == FIRST_PROGRESS_STEPS or step % PROGRESS_STEPS == 0
            if timed and not done:
                self._reports.progress(step, seconds[-PROGRESS_STEPS:])
        except OSError as error:  # Ctrl-C ended tee, say, or the terminal was closed
            if not is_output_gone(error):
                raise
            stop.set()
        return done

    def _report(
        self,
        step: int,
        batch: Batch,
        rate: float,
        rng: np.random.Generator,
        seconds: list[float],
    ) -> Scores:
        """Report and record the scores of this batch and of some test images; return the latter."""
        train = self._batch_scores(batch)
        test = self._scorer.score(*self._test.sample(self._options.test_batch_size, rng))
        self._reports.step(step, train, test)
        self._check_spike(step, train)
        images_per_s = self._options.replicas * len(batch.pixels) / statistics.median(seconds)
        total = self._saver.earlier_steps + step
        with self._warned():
            self._record.add(total, train, test, rate, images_per_s)
        return test

    def _batch_scores(self, batch: Batch) -> Scores:
        chosen = batch.chosen
        return self._scorer.score(self._train.pixels[chosen], self._train.char_ids[chosen])

    def _check_spike(self, step: int, train: Scores) -> None:
        """Restore earlier weights where the loss has leapt; raises CaptchaError where none help.

        `train` are the scores of the step's batch. A small one is joined by other images.
        """
        loss = train.loss
        if self._options.own_batch_size < MIN_IMAGES and math.isfinite(loss):
            rng = np.random.default_rng((self._options.seed, step))
            loss = self._scorer.score(*self._train.sample(MIN_IMAGES, rng)).loss
        restored = self._rollback.check_spike(step, loss)
        if restored:
            if self._graph.replication:
                self._graph.replication.drop_gradients(self._session)
            self._reports.restored(step, restored)
        else:
            check_finite(train, step)

    def _reaches_acc_stop(self, step: int, estimate: Scores) -> bool:
        """Return whether the whole test set reaches acc_stop; scored where the estimate does."""
        saver = self._saver
        if estimate.image_accuracy < saver.acc_stop or step < self._next_acc_stop_check:
            return False
        self._next_acc_stop_check = step + ACC_STOP_STEPS
        return saver.reaches_acc_stop(self._scorer.score_all(self._test))

    def _observe_plateau(self, step: int, source: TrainingBatches) -> None:
        """Begin the end of the run where the loss of the test set no longer falls.

        One that has not begun to fall is none that no longer does.
        """
        saver = self._saver
        if step % OBSERVE_STEPS or saver.acc_stop > 1 or saver.cooling_from:
            return
        if len(self._test) < MIN_TESTED:
            return
        rng = np.random.default_rng(self._options.seed)  # the same images each time
        scores = self._scorer.score(*self._test.sample(OBSERVED_IMAGES, rng))
        if self._reports.is_guessing(scores):
            return
        since = max(source.splicing_starts_at, self._rollback.rewarm_from)
        if self._plateau.observe(step, scores.loss, since):
            saver.cooling_from = step
            self._reports.cooling(step, saver.last_step)

    def _save(self, step: int, done: bool) -> None:
        saver, before = self._saver, self._saver.current
        saver.save(step, done, self._rollback.rate_factor, self._rollback.rewarm_from)
        with self._warned():
            self._record.save()
        is_new = before is None or (saver.current and saver.current.best != before.best)
        if self._options.export_onnx and is_new:
            with self._warned():
                self._reports.exported(export_new_best(self._cnn.folder, self._test))

    @contextmanager
    def _warned(self) -> Iterator[None]:
        """Report what is no reason to end a training."""
        try:
            yield
        except CaptchaError as error:
            self._reporter.warn(str(error))
