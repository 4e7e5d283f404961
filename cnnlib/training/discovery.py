"""What a run finds out about its images on the way, by what its network reads in them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.console import Reporter, SilentReporter, say_if_heard
from cnnlib.dataset.image_set import ImageSet
from cnnlib.training.batches import TrainingBatches
from cnnlib.training.doubtful import find_doubtful
from cnnlib.training.options import RunOptions
from cnnlib.training.scoring import Scorer
from cnnlib.training.self_training import SelfReader
from cnnlib.training.stepping import Stepper

QUIET = SilentReporter()


class Discovery:
    """Look at the images of a run when that is due: where characters are, which labels are wrong.

    `train` are those of this process; of `unlabelled`, which are read and learned from, too, it
    takes its share. `advises`: name those left out.
    """

    def __init__(
        self,
        spec: CaptchaSpec,
        options: RunOptions,
        train: ImageSet,
        test: ImageSet,
        unlabelled: ImageSet | None,
        scorer: Scorer,
        stepper: Stepper,
        reporter: Reporter = QUIET,
        advises: bool = False,
    ) -> None:
        self._options, self._recipe = options, options.recipe
        self._train, self._test, self._has_end_class = train, test, spec.has_end_class
        self._scorer, self._stepper = scorer, stepper
        self._reporter, self._advises = reporter, advises
        settings = self._recipe.self_training
        self._reader = (
            SelfReader(options.own_share(unlabelled), test, scorer, settings, spec.has_end_class)
            if unlabelled and settings
            else None
        )

    def act_if_due(
        self, step: int, source: TrainingBatches, started: bool, stop: threading.Event
    ) -> None:
        """Do what is due before a step; `started`: from weights that know something."""
        if source.should_locate(step):
            self._locate_characters(step, source, started, stop)
        if source.is_due(step, self._recipe.doubt_at):
            self._leave_out_doubtful(source, stop)
        if self._reader and source.is_due(step, self._reader.settings.read_at):
            self._read_unlabelled(self._reader, source, stop)

    def _locate_characters(
        self, step: int, source: TrainingBatches, started: bool, stop: threading.Event
    ) -> None:
        """Locate the characters in the images, where the network reads enough of those."""
        splicing = self._recipe.splicing
        assert splicing is not None, "TrainingBatches locates for it alone"
        rng = np.random.default_rng(self._options.seed)
        images, least = self._train, splicing.known_share
        if started:
            images, least = self._test, splicing.started_known_share
        right = self._scorer.score(*images.sample(splicing.known_images, rng)).image_accuracy
        known = right >= least
        self._say(
            "locating the characters in the images, to splice them"
            if known
            else "too few images are read yet to splice their characters"
        )
        if known:
            source.locate_characters(step, self._stepper.saliency, stop, self._reporter)

    def _leave_out_doubtful(self, source: TrainingBatches, stop: threading.Event) -> None:
        """Train on without the images whose labels the network holds for wrong.

        A run that sees each image a few times only would take much longer by reading them all.
        """
        train, options = self._train, self._options
        if options.cycle_stop * options.own_batch_size < self._recipe.doubt_from_views * len(train):
            return
        doubtful = find_doubtful(self._scorer, train, self._has_end_class, stop)
        source.leave_out(doubtful)
        self._report_left_out([train.names[i] for i in np.flatnonzero(doubtful)])

    def _report_left_out(self, names: Sequence[str]) -> None:
        if names and self._advises:
            self._say(
                f"check     {len(names)} training images are left out, such as {names[0]}: the "
                "network reads another text than their labels. python3 doctor.py shows them"
            )

    def _read_unlabelled(
        self, reader: SelfReader, source: TrainingBatches, stop: threading.Event
    ) -> None:
        """Train on with what the network reads now in images without labels."""
        read = reader.read(stop)
        if read is None:
            source.learn_also(self._train, np.array([], int), reader.settings.batch_share)
            self._say(
                "the test images are read worse than before: on without images without labels"
            )
            return
        images, chosen = read
        source.learn_also(images, chosen, reader.settings.batch_share)
        if stop.is_set():
            return
        self._say(
            f"{len(chosen):,} of {len(images):,} images without labels are read well enough to "
            "learn from"
        )

    def _say(self, text: str) -> None:
        say_if_heard(self._reporter, text)
