"""What a run reports: at its beginning, every few steps, and at its end."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress

import numpy as np

from cnnlib.console import Reporter, say_if_heard
from cnnlib.dataset.image_set import ImageSet
from cnnlib.evaluation.checks import check_cost, check_images, contradictions
from cnnlib.evaluation.metrics import Scores
from cnnlib.exporting.export import Export
from cnnlib.importing.inspection import letter_height
from cnnlib.network import CNN
from cnnlib.networks.architectures import WIDER
from cnnlib.networks.cost import cost
from cnnlib.networks.model_folder import ModelInfo
from cnnlib.training import messages
from cnnlib.training.monitor import Evidence, TrainingMonitor, advice, chance_accuracy
from cnnlib.training.options import RunOptions, TrainingResult
from cnnlib.training.saving import ModelSaver
from cnnlib.training.scoring import Scorer

ADVICE_IMAGES = 1000  # of the training set
KNOWN_SHARE = 0.5  # of the characters: what starting weights read then says something of labels
EVIDENT_IMAGES = 100  # likewise, whose letters are measured


class RunReports:
    """Report a run. `advises`: say what seems wrong, what would help, and where the model is."""

    def __init__(
        self,
        cnn: CNN,
        options: RunOptions,
        train: ImageSet,
        test: ImageSet,
        scorer: Scorer,
        saver: ModelSaver,
        reporter: Reporter,
        advises: bool,
    ) -> None:
        self._cnn, self._options, self._train, self._test = cnn, options, train, test
        self._scorer, self._saver = scorer, saver
        self._reporter, self._advises = reporter, advises
        self._began_s = time.monotonic()
        self._monitor = TrainingMonitor(
            chance_accuracy(train.char_ids),
            min(options.test_batch_size, len(test)),
            options.cycle_stop,
            self._evidence,
        )

    def _evidence(self) -> Evidence:
        pixels = self._sampled_training_images()[0][:EVIDENT_IMAGES]
        return Evidence(
            contradictions(self._train), letter_height(pixels), self._saver.read_at_start
        )

    def _sampled_training_images(self) -> tuple[np.ndarray, np.ndarray]:
        return self._train.sample(ADVICE_IMAGES, np.random.default_rng(self._options.seed))

    def begin(self, origin: str) -> None:
        """Report what is trained; `origin` says in words which weights it starts from."""
        if self._saver.known_share >= KNOWN_SHARE:
            scores = self._scorer.score(*self._sampled_training_images())
            self._saver.read_at_start = scores.char_accuracy
        cnn, options = self._cnn, self._options
        needs = cost(cnn.network, cnn.spec)
        self._reporter.say(
            messages.beginning(
                cnn,
                needs,
                images=(len(self._train), len(self._test)),
                steps=max(0, options.cycle_stop - self._saver.first_step),
                batch_size=min(options.train_batch_size, len(self._train)),
                recipe=options.recipe_name,
                origin=origin,
                own_batch_size=min(options.own_batch_size, len(self._train)),
                replicas=options.replicas,
            )
        )
        if self._advises:
            self._check(check_images(self._train, self._test, cnn.char_set))
            self._check(check_cost(needs.flop, cnn.image_width, cnn.image_height))

    def step(self, step: int, train: Scores, test: Scores) -> None:
        """Report the scores of a step."""
        self._reporter.say(messages.step_scores(step, train, test))
        line = self._monitor.observe(step, train, test)
        if line and self._advises:
            self._check([line])

    def restored(self, leapt_at: int, step: int) -> None:
        """Report that the loss leapt, and the training has gone back to the weights of a step."""
        self._monitor.leapt_at = leapt_at
        self._check([messages.restored(step)])

    def exported(self, export: Export) -> None:
        self._reporter.say(f"{export.file.name} written: {export.comparison.summary()}")

    def cooling(self, step: int, last_step: int) -> None:
        """Report that the run is to end early; it can."""
        say_if_heard(
            self._reporter,
            f"the loss of the test set no longer falls after {step} steps: the rate goes down, "
            f"and the run ends at step {last_step}",
        )

    def stopping(self) -> None:
        """Report that a signal is ending the run."""
        with suppress(OSError):  # the terminal may be closed
            self._reporter.warn("stopping after this step, and saving; once more ends it at once")

    def progress(self, step: int, seconds: list[float]) -> None:
        """Report how far the run is; `seconds` are those of its last steps."""
        last_step = self._saver.last_step
        self._reporter.say(messages.progress(step, last_step, seconds, self.best_so_far()))

    def best_so_far(self) -> str:
        best, scores = self._saver.current, self._saver.best_scores
        return messages.best_so_far(scores, self._step_of(best)) if best and scores else ""

    def _step_of(self, best: ModelInfo) -> int:
        """Return the step of this run that has the best weights; 0 where an earlier run has."""
        return max(0, best.step - self._saver.earlier_steps)

    def is_guessing(self, scores: Scores) -> bool:
        return self._monitor.is_guessing(scores)

    def end(self, last: int, interrupted: bool) -> TrainingResult:
        """Report how the run ended, after its step `last`."""
        best, scores = self._saver.current, self._saver.best_scores
        steps, seconds = last - self._saver.first_step, time.monotonic() - self._began_s
        if best is None or scores is None:
            self._reporter.say(messages.ending_unsaved(self._cnn, steps))
            return TrainingResult(self._scorer.score_all(self._test), steps, seconds, interrupted)
        self._reporter.say(
            messages.ending(
                scores, len(self._test), self._step_of(best), steps, seconds, interrupted
            )
        )
        if best.augmented and self._options.test_time_augmentation:
            self._reporter.say(messages.shifts(best.augmented["image_accuracy"]))
        if self._advises:
            if last == self._saver.last_step:
                self._check(self._advice(scores))
            self._reporter.say(f"model     {self._cnn.folder}")
            if interrupted:
                self._reporter.say("the same command goes on from here")
        return TrainingResult(scores, steps, seconds, interrupted)

    def _advice(self, test: Scores) -> list[str]:
        """Return what would help most; training images are read with the weights of the end."""
        train = self._scorer.score(*self._sampled_training_images())
        wider = WIDER.get(self._cnn.network, "")
        ended_early = self._saver.last_step < self._options.cycle_stop
        return advice(train, test, self._options.cycle_stop, wider, ended_early)

    def _check(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._reporter.say(f"check     {line}")
