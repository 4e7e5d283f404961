"""One training run: its steps, and what happens every few of them."""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from cnnlib.console import Reporter
from cnnlib.dataset.image_set import ImageSet
from cnnlib.errors import CaptchaError
from cnnlib.evaluation.metrics import Scores
from cnnlib.network import CNN
from cnnlib.networks.model_folder import ModelInfo
from cnnlib.training.batches import Batch, TrainingBatches, prefetch
from cnnlib.training.graph import TrainingGraph
from cnnlib.training.history import TrainingRecord
from cnnlib.training.recipes import RunOptions
from cnnlib.training.reports import RunReports, TrainingResult
from cnnlib.training.rollback import Rollback
from cnnlib.training.saving import ModelSaver, check_finite
from cnnlib.training.scoring import Scorer
from cnnlib.training.signals import stop_signals

REPORT_STEPS = 10  # docs/en/version-2.md, 2.4
FIRST_PROGRESS_STEPS = 20  # after these the time to expect is known
PROGRESS_STEPS = 100
ACC_STOP_STEPS = 50  # at least, between two scorings of the whole test set because of acc_stop


class TrainingLoop:
    """Train a built graph in a session, and keep the model folder up to date."""

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
        advises: bool = True,
    ) -> None:
        self._cnn, self._graph, self._session = cnn, graph, session
        self._options, self._recipe = options, options.recipe
        self._train, self._test, self._reporter = train, test, reporter
        self._scorer = Scorer(graph, session, cnn.spec.has_end_class)
        self._saver = ModelSaver(cnn, graph, session, self._scorer, options, test)
        self._reports = RunReports(
            cnn, options, train, test, self._scorer, self._saver, reporter, advises
        )
        chance_loss = 0.0 if self._recipe.sigmoid else math.log(cnn.spec.classes)
        self._rollback = Rollback(session, graph.all_variables, chance_loss)
        self._next_acc_stop_check = 0

    def run(self, previous: ModelInfo | None) -> TrainingResult:
        """Train to the end of the run; `previous` is the model to go on from."""
        self._reports.begin(self._saver.restore(previous))
        saver, options = self._saver, self._options
        done_before = saver.earlier_steps + saver.first_step
        self._record = TrainingRecord(options.log_dir, self._cnn.folder.full, done_before)
        try:
            # A run that goes on does not repeat its first batches.
            seed = (options.seed, saver.earlier_steps, saver.first_step)
            rng, batch_rng = np.random.default_rng(seed).spawn(2)
            source = TrainingBatches(
                self._train,
                options.train_batch_size,
                options.cycle_stop,
                saver.first_step,
                None if self._graph.saliency is None else self._recipe.splicing,
                batch_rng,
            )
            with stop_signals(self._reporter) as stop, prefetch(source.batches()) as batches:
                last, interrupted = self._train_steps(stop, source, batches, rng)
        finally:
            self._record.close()
        return self._reports.end(last, interrupted)

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
        options, reports = self._options, self._reports
        step, cycle_stop = self._saver.first_step, options.cycle_stop
        if step >= cycle_stop:
            self._save(step, done=True)
        seconds: list[float] = []
        steps = self._reporter.progress(range(step + 1, cycle_stop + 1), "training", unit="step")
        for step in steps:
            if source.should_locate(step):
                self._locate_characters(step, source, stop)
            began_s = time.perf_counter()
            batch = next(batches)
            rate = self._rate(step, source)
            self._step(batch, rate)
            seconds.append(time.perf_counter() - began_s)
            done = step == cycle_stop
            try:
                if step % REPORT_STEPS == 0:
                    estimate = self._report(step, batch, rate, rng, seconds[-REPORT_STEPS:])
                    done |= self._reaches_acc_stop(step, estimate)
                    steps.set_postfix_str(reports.best_so_far())
                timed = len(seconds) == FIRST_PROGRESS_STEPS or step % PROGRESS_STEPS == 0
                if timed and not done:
                    reports.progress(step, seconds[-PROGRESS_STEPS:])
            except BrokenPipeError:  # Ctrl-C ended the program that stdout goes to, such as tee
                stop.set()
            if done or stop.is_set() or step % options.cycle_save == 0:
                self._save(step, done)
            if done or stop.is_set():
                return step, not done
        return step, False

    def _rate(self, step: int, source: TrainingBatches) -> float:
        rewarm_from = max(source.splicing_starts_at, self._rollback.rewarm_from)
        rate = self._recipe.rate(self._cnn.network, step, self._options.cycle_stop, rewarm_from)
        return self._rollback.rate_factor * rate

    def _step(self, batch: Batch, rate: float) -> None:
        graph = self._graph
        feeds = {
            graph.X: batch.pixels,
            graph.Y: batch.char_ids,
            graph.training: True,
            graph.rate: rate,
            graph.keep_prob: self._recipe.keep_prob,
        }
        self._run(graph.train_step, feeds)

    def _locate_characters(self, step: int, source: TrainingBatches, stop: threading.Event) -> None:
        """Locate the characters in the images, where the network reads enough of those."""
        splicing = self._recipe.splicing
        assert splicing is not None, "TrainingBatches locates for it alone"
        rng = np.random.default_rng(self._options.seed)
        sample = self._train.sample(splicing.known_images, rng)
        known = self._scorer.score(*sample).image_accuracy >= splicing.known_share
        with suppress(BrokenPipeError):  # the next report notices it
            self._reporter.say(
                "locating the characters in the images, to splice them"
                if known
                else "too few images are read yet to splice their characters"
            )
        if known:
            source.locate_characters(step, self._saliency, stop, self._reporter)

    def _saliency(self, pixels: np.ndarray, char_ids: np.ndarray) -> np.ndarray:
        """Return what each column contributes to each character, float32 [B, L, W]."""
        graph = self._graph
        return np.asarray(self._run(graph.saliency, {graph.X: pixels, graph.Y: char_ids}))

    def _run(self, fetches: Any, feeds: dict[Any, Any]) -> Any:
        """Run what needs a training step's memory; raises CaptchaError where it is not enough."""
        try:
            return self._session.run(fetches, feeds)
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            size = self._options.train_batch_size
            raise CaptchaError(
                f"not enough memory for train_batch_size {size}: set a smaller one in conf/, such "
                f"as {max(1, size // 2)}, or end other programs. The same command goes on from the "
                "last save"
            ) from error

    # Every few steps

    def _report(
        self,
        step: int,
        batch: Batch,
        rate: float,
        rng: np.random.Generator,
        seconds: list[float],
    ) -> Scores:
        """Report and record the scores of this batch and of some test images; return the latter."""
        chosen = batch.chosen
        train = self._scorer.score(self._train.pixels[chosen], self._train.char_ids[chosen])
        test = self._scorer.score(*self._test.sample(self._options.test_batch_size, rng))
        restored = self._rollback.check_spike(step, train.loss)
        if not restored:
            check_finite(train, step)
        self._reports.step(step, train, test, restored)
        images_per_s = len(batch.pixels) / statistics.median(seconds)
        self._record.add(self._saver.earlier_steps + step, train, test, rate, images_per_s)
        return test

    def _reaches_acc_stop(self, step: int, estimate: Scores) -> bool:
        """Return whether the whole test set reaches acc_stop; scored where the estimate does."""
        acc_stop = self._saver.acc_stop
        if estimate.image_accuracy < acc_stop or step < self._next_acc_stop_check:
            return False
        self._next_acc_stop_check = step + ACC_STOP_STEPS
        return self._scorer.score_all(self._test).image_accuracy >= acc_stop

    def _save(self, step: int, done: bool) -> None:
        self._saver.save(step, done)
        try:
            self._record.save()
        except CaptchaError as error:  # no reason to end a training
            self._reporter.warn(str(error))
