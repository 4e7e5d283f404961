"""One training run: steps, reports, scores, saves, and the signals that end it."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL
import tensorflow.compat.v1 as tf

from cnnlib import console, doctor, metrics
from cnnlib.architectures import WIDER, Cost, cost, saved_weight
from cnnlib.errors import CaptchaError, ModelError
from cnnlib.feed import Batch, Feed
from cnnlib.image_set import ImageSet, ahead
from cnnlib.metrics import Scores
from cnnlib.model_folder import ModelInfo, Run
from cnnlib.network import assign, grow_classes, read_checkpoint
from cnnlib.recovery import Recovery
from cnnlib.reporting import History, TensorBoard

if TYPE_CHECKING:
    from cnnlib.training import TrainModel

REPORT_STEPS = 10  # specification 2.4
TIMED_STEPS = 20  # after so many the time to expect is said
PROGRESS_STEPS = 100  # and again after each so many
CHECK_STEPS = 50  # at least, between two scorings of the whole test set because of acc_stop
ADVISED_BY = 1000  # training images
# Of these, so many right: else the network cannot tell where their characters are, and what is
# mixed of them misleads it. On the practice style `hard`, a tenth to a third, it cost 5 points.
KNOWN_BY, KNOWN = 500, 0.5
SCORED_TOGETHER = 250  # images
NOTHING = Scores(0.0, 0.0, math.inf)
BASE_BYTES = 600 << 20  # of Python and TensorFlow
ACTIVATION_SHARE = 0.7  # of what layers put out in a step, that is in memory at a time; measured


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended; `scores` are those of the best weights on the whole test set."""

    scores: Scores
    steps: int  # in this call
    seconds: float
    interrupted: bool


class TrainingLoop:
    """Train a built model in a session, and keep its folder up to date."""

    def __init__(self, model: TrainModel, session: Any, train: ImageSet, test: ImageSet) -> None:
        self._model, self._session = model, session
        self._train, self._test = train, test
        self._began = time.monotonic()
        self._needs = cost(model.network, model.image_height, model.image_width,
                           model.max_captcha, model.classes, model.format.channels)
        self._first_step = 0  # of the run, done before this call
        self._earlier_steps = 0  # of all runs before this one
        self._best: ModelInfo | None = None  # what the folder holds
        self._best_scores: Scores | None = None
        self._highest = NOTHING  # with the most images right among those that were best
        self._acc_stop = model.acc_stop if model.acc_stop < 1 else math.inf
        self._next_check = 0
        self._recovery = Recovery(session, model.all_variables, 0.0 if model.recipe.sigmoid
                                  else math.log(model.classes))
        self._watch = doctor.Watch(doctor.guessing(train.char_ids),
                                   min(model.test_batch_size, len(test)), model.cycle_stop)

    def run(self, previous: ModelInfo | None) -> TrainingResult:
        beginning = self._begin(previous)
        self._summarize_beginning(beginning)
        model = self._model
        if not model.is_trial:
            for finding in (*doctor.examine(self._train, self._test, model.char_set),
                            *doctor.expensive(self._needs.flop, model.image_width,
                                              model.image_height)):
                console.say(f"check     {finding}")
        total = self._earlier_steps + self._first_step
        self._history = History(self._model.folder.full, total)
        self._board = TensorBoard(self._model.log_dir)
        try:
            # A run that goes on does not repeat its first batches.
            seed = (self._model.seed, self._earlier_steps, self._first_step)
            rng, batch_rng = np.random.default_rng(seed).spawn(2)
            feed = Feed(self._train, self._model.train_batch_size, self._model.cycle_stop,
                        self._first_step, self._model.mixes, batch_rng)
            with _stop_signals() as stop, ahead(feed.batches()) as batches:
                last, interrupted = self._train_steps(stop, feed, batches, rng)
        finally:
            self._board.close()
        return self._summarize_end(last, interrupted)

    # How a run begins

    def _begin(self, previous: ModelInfo | None) -> str:
        """Give the variables their values; return what was done in words."""
        self._session.run(self._model.initializer)
        if previous is None:
            return "from random weights"
        self._best = previous
        self._load_best(previous)
        self._best_scores = self._score_test()  # the test set may have changed since
        self._highest = self._best_scores
        reached = self._best_scores.image_accuracy >= self._acc_stop
        if reached:
            self._acc_stop = math.inf  # or a run with more images would end as it begins
        if not previous.run.done and (previous.char_set, previous.recipe) == (
                self._model.char_set, self._model.recipe_name):
            return self._resume(previous)
        self._earlier_steps = previous.total_step
        return (f"a new run on the weights of {previous.step} steps, which have "
                f"{self._best_scores.image_accuracy:.2%} of the test images right"
                + (": to its last step, since acc_stop is reached already" if reached else ""))

    def _resume(self, previous: ModelInfo) -> str:
        prefix = self._model.folder.full / previous.last
        try:
            self._model.last_saver.restore(self._session, str(prefix))
        except (tf.errors.OpError, ValueError) as error:
            raise ModelError(f"{prefix} is missing or damaged: start over with --fresh, or "
                             "restore the folder from a copy") from error
        self._first_step = previous.run.step
        self._earlier_steps = previous.total_step - previous.run.step
        return f"the run that was interrupted goes on after step {previous.run.step}"

    def _load_best(self, previous: ModelInfo) -> None:
        variables = {v.op.name: v for v in self._model.weight_variables}
        values = read_checkpoint(self._model.folder.full / previous.best)
        if previous.char_set != self._model.char_set:
            initial = self._session.run(variables)
            values = grow_classes(values, previous.char_set, self._model.char_set, initial,
                                  self._model.ends)
        assign(self._session, ((v, saved_weight(values, name, v.shape.as_list()))
                               for name, v in variables.items()))

    # Steps

    def _train_steps(self, stop: threading.Event, feed: Feed, batches: Iterator[Batch],
                     rng: np.random.Generator) -> tuple[int, bool]:
        """Return the last step done, and whether it was a signal that ended the run.

        `rng` chooses the test images to report on.
        """
        model = self._model
        seconds: list[float] = []
        step = self._first_step
        if step >= model.cycle_stop:
            self._save(step, done=True)
        steps = console.progress(range(step + 1, model.cycle_stop + 1), "training", unit="step")
        for step in steps:
            if feed.look_due(step):
                self._look(step, feed, stop)
            began = time.perf_counter()
            batch = next(batches)
            rate = self._recovery.calm * model.recipe.rate(
                model.network, step, model.cycle_stop, max(feed.new_kind_at, self._recovery.since))
            self._step(batch, rate)
            seconds.append(time.perf_counter() - began)
            done = step == model.cycle_stop
            try:
                if step % REPORT_STEPS == 0:
                    estimate = self._report(step, batch, rate, rng, seconds[-REPORT_STEPS:])
                    done |= self._reaches_acc_stop(step, estimate)
                    steps.set_postfix_str(self._best_in_words())
                if (len(seconds) == TIMED_STEPS or step % PROGRESS_STEPS == 0) and not done:
                    self._say_progress(step, seconds[-PROGRESS_STEPS:])
            except BrokenPipeError:  # Ctrl-C ended the program that stdout goes to, such as tee
                stop.set()
            if done or stop.is_set() or step % model.cycle_save == 0:
                self._save(step, done)
            if done or stop.is_set():
                return step, not done
        return step, False

    def _look(self, step: int, feed: Feed, stop: threading.Event) -> None:
        """Find the characters in the images, where most of those are known."""
        model = self._model
        rng = np.random.default_rng(model.seed)
        known = self._score(*self._train.sample(KNOWN_BY, rng)).image_accuracy >= KNOWN
        with suppress(BrokenPipeError):  # the next report notices it
            console.say("finding the characters in the images, to mix them" if known else
                        "too few images are read yet to mix their characters")
        if not known:
            return
        feed.look(step, lambda pixels, char_ids: self._run(
            model.saliency, {model.X: pixels, model.Y: char_ids}), stop)

    def _step(self, batch: Batch, rate: float) -> None:
        model = self._model
        self._run(model.train_step, {
            model.X: batch.pixels, model.Y: batch.char_ids, model.training: True,
            model.rate: rate, model.keep_prob: model.recipe.keep_prob})

    def _run(self, fetches: Any, feeds: dict[Any, Any]) -> Any:
        """Run what takes a training step's memory; raises CaptchaError where there is not enough.
        """
        try:
            return self._session.run(fetches, feeds)
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            size = self._model.train_batch_size
            raise CaptchaError(
                f"not enough memory for train_batch_size {size}: set a smaller one in conf/, such "
                f"as {max(1, size // 2)}, or end other programs. The same command goes on from the "
                "last save") from error

    def _report(self, step: int, batch: Batch, rate: float,
                rng: np.random.Generator, seconds: list[float]) -> Scores:
        """Print and write down the scores of this batch and of some test images."""
        train = self._score(self._train.pixels[batch.chosen], self._train.char_ids[batch.chosen])
        test = self._score(*self._test.sample(self._model.test_batch_size, rng))
        returned_to = self._recovery.look(step, train.loss)
        if not returned_to:
            _check_finite(train, step)
        console.training_step(step)
        console.training_scores("训练集", *dataclasses.astuple(train))
        console.training_scores("验证集", *dataclasses.astuple(test))
        if returned_to:
            console.say(f"check     the loss has leapt: back to the weights of step {returned_to}, "
                        "with half the learning rate")
        line = self._watch.look(step, train, test)
        if line and not self._model.is_trial:
            console.say(f"check     {line}")
        values = {"loss/train": train.loss, "loss/test": test.loss,
                  "accuracy/train_characters": train.char_accuracy,
                  "accuracy/train_images": train.image_accuracy,
                  "accuracy/test_characters": test.char_accuracy,
                  "accuracy/test_images": test.image_accuracy, "learning_rate": rate,
                  "images_per_second": len(batch.pixels) / statistics.median(seconds)}
        self._board.write(self._earlier_steps + step, values)
        self._history.add(self._earlier_steps + step, values)
        return test

    def _advice(self, test: Scores) -> list[str]:
        """Return what would bring most; training images are read with the weights of the end."""
        rng = np.random.default_rng(self._model.seed)
        train = self._score(*self._train.sample(ADVISED_BY, rng))
        return doctor.advice(train, test, self._model.cycle_stop,
                             WIDER.get(self._model.network, ""))

    def _reaches_acc_stop(self, step: int, estimate: Scores) -> bool:
        """Tell whether the whole test set reaches acc_stop; scored where the estimate does."""
        if estimate.image_accuracy < self._acc_stop or step < self._next_check:
            return False
        self._next_check = step + CHECK_STEPS
        return self._score_test().image_accuracy >= self._acc_stop

    # Scores

    def _score_test(self) -> Scores:
        return self._score(self._test.pixels, self._test.char_ids)

    def _score(self, pixels: np.ndarray, char_ids: np.ndarray) -> Scores:
        return metrics.scores(*self._outputs(pixels, char_ids), self._model.ends)

    def _outputs(self, pixels: np.ndarray,
                 char_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return logits, class ids and losses of images, as inference would see them."""
        model = self._model
        parts = [self._session.run((model.logits, model.losses), {
            model.X: pixels[start:start + SCORED_TOGETHER],
            model.Y: char_ids[start:start + SCORED_TOGETHER]})
            for start in range(0, len(pixels), SCORED_TOGETHER)]
        logits, losses = (np.concatenate(column) for column in zip(*parts, strict=True))
        return logits, char_ids, losses

    # Saves

    def _save(self, step: int, done: bool) -> None:
        """Score the whole test set, and commit this state, and the weights where they are best."""
        model, folder, held = self._model, self._model.folder, self._best
        outputs = self._outputs(self._test.pixels, self._test.char_ids)
        scores = metrics.scores(*outputs, model.ends)
        _check_finite(scores, step)
        total = self._earlier_steps + step
        if held is None or self._is_best(held, scores, step == model.cycle_stop):
            self._best_scores = scores
            self._highest = max(self._highest, scores, key=lambda s: s.image_accuracy)
            best, best_step = folder.new_checkpoint("best", total), total
            temperature = metrics.fit_temperature(*outputs[:2])
        else:
            best, best_step, temperature = held.best, held.step, held.temperature
        info = ModelInfo(
            char_set=model.char_set, image_height=model.image_height,
            image_width=model.image_width, channels=model.format.channels,
            resize=model.format.resize, ignore_case=model.rules.ignore_case,
            min_captcha=model.min_captcha, max_captcha=model.max_captcha,
            network=model.network, recipe=model.recipe_name,
            step=best_step, scores=dataclasses.asdict(self._best_scores or scores),
            temperature=temperature, best=best, last=folder.new_checkpoint("last", total),
            total_step=total, run=Run(step, model.cycle_stop, model.seed, done),
            libraries=_libraries())
        self._commit(info, held)
        self._best = info
        try:
            self._history.save()
        except CaptchaError as error:  # no reason to end a training
            console.warn(str(error))

    def _commit(self, info: ModelInfo, held: ModelInfo | None) -> None:
        """Write the checkpoints that are new, then make `info` what the folder holds."""
        new = {info.last, info.best} - ({held.best} if held else set())
        try:
            for name in new:
                self._write(self._model.last_saver if name == info.last
                            else self._model.best_saver, name)
            self._model.folder.commit(info)
        except CaptchaError:
            self._model.folder.remove(*new)
            raise

    def _is_best(self, held: ModelInfo, scores: Scores, ends: bool) -> bool:
        """Tell whether to keep these weights; a char_set that grew needs ones of its shape.

        Where a run `ends`, the rate has fallen to nothing: that makes for better weights than those
        that chance prefers on a small test set.
        """
        best, count = self._best_scores, len(self._test)
        if held.char_set != self._model.char_set or best is None:
            return True
        if scores.image_accuracy >= self._acc_stop > best.image_accuracy:
            return True
        if self._highest.clearly_above(scores, count):
            return False  # small steps down, each within chance, must not add up
        return ends or scores.better_than(best, count)

    def _write(self, saver: Any, name: str) -> None:
        """Write a checkpoint to the disk."""
        prefix = self._model.folder.full / name
        try:
            with self._model.graph.as_default():  # otherwise it complains about eager mode
                saver.save(self._session, str(prefix), write_meta_graph=False, write_state=False)
            for file in prefix.parent.glob(f"{name}.*"):
                with open(file, "rb+") as written:
                    os.fsync(written.fileno())
        except (tf.errors.OpError, OSError) as error:
            raise ModelError(
                f"cannot save to {self._model.folder} ({_reason(error)}): the save before it is "
                "intact. Make room, or make the folder writable; the same command then goes on "
                "from there") from error

    # Words

    def _summarize_beginning(self, beginning: str) -> None:
        model = self._model
        needs = self._needs
        memory = self._bytes_needed(needs)
        left = max(0, model.cycle_stop - self._first_step)
        console.say(
            f"images    {len(self._train)} for training, {len(self._test)} for testing, "
            f"{model.image_width}x{model.image_height} pixels\n"
            f"labels    {_lengths(model)} characters of {len(model.char_set)}\n"
            f"network   {model.network}: {needs.parameters / 1e6:.2f} million parameters, "
            f"{needs.flop / 1e6:.0f} MFLOP an image\n"
            f"run       {left} steps of {min(model.train_batch_size, len(self._train))} images, "
            f"recipe {model.recipe_name}, {beginning}\n"
            f"memory    about {memory / 1e9:.1f} GB\n"
            f"model     {model.folder}")

    def _bytes_needed(self, needs: Cost) -> float:
        # Each with its gradient and Adam's two averages; a copy of three of them, see Recovery.
        weights = 4 * 7 * needs.parameters
        batch = min(self._model.train_batch_size, len(self._train))
        return BASE_BYTES + weights + 4 * ACTIVATION_SHARE * needs.activations * batch

    def _say_progress(self, step: int, seconds: list[float]) -> None:
        # The first steps set things up; reports and saves add a tenth.
        left = self._model.cycle_stop - step
        expected = statistics.median(seconds) * left * 1.1
        best = self._best_in_words()
        console.say(f"step {step} of {self._model.cycle_stop}, about {_duration(expected)} to go, "
                    f"at {statistics.median(seconds) * 1000:.0f} ms a step"
                    + (f"; {best}" if best else ""))

    def _best_in_words(self) -> str:
        if not self._best_scores or not self._best:
            return ""
        return f"best {self._best_scores.image_accuracy:.2%}, at step {self._best.step}"

    def _summarize_end(self, last: int, interrupted: bool) -> TrainingResult:
        assert self._best is not None and self._best_scores is not None, "a run ends in a save"
        result = TrainingResult(self._best_scores, last - self._first_step,
                                time.monotonic() - self._began, interrupted)
        right = round(result.scores.image_accuracy * len(self._test))
        console.say(
            f"{'interrupted' if interrupted else 'done'} after {result.steps} steps, "
            f"{_duration(result.seconds)}\n"
            f"best      {result.scores.image_accuracy:.2%} of the test images right "
            f"({right} of {len(self._test)}), at step {self._best.step}")
        if not self._model.is_trial:
            if last == self._model.cycle_stop:
                for line in self._advice(result.scores):
                    console.say(f"check     {line}")
            console.say(f"model     {self._model.folder}")
            if interrupted:
                console.say("the same command goes on from here")
        return result


def _lengths(model: TrainModel) -> str:
    return (f"{model.min_captcha} to {model.max_captcha}" if model.ends
            else f"{model.max_captcha}")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _check_finite(scores: Scores, step: int) -> None:
    if not math.isfinite(scores.loss):
        raise CaptchaError(f"the loss is {scores.loss} at step {step}: the training has diverged. "
                           "The last save is intact; look for damaged images, or start over with "
                           "--fresh and another --seed")


def _reason(error: Exception) -> str:
    """Return the line that says what happened; TensorFlow wraps it into others about the graph."""
    lines = str(error).splitlines()
    marked = next((i for i, line in enumerate(lines) if "[[{{node" in line), 1)
    return lines[marked - 1]


def _libraries() -> dict[str, str]:
    return {"tensorflow": tf.__version__, "numpy": np.__version__, "pillow": PIL.__version__}


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C or SIGTERM sets; a second signal acts as it always does."""
    stop = threading.Event()
    previous: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def on_signal(*_: object) -> None:
        stop.set()
        restore()
        with suppress(OSError):  # Ctrl-C ended the program that stderr goes to, too
            console.warn("stopping after this step, and saving; once more ends it at once")

    if threading.current_thread() is threading.main_thread():  # no other may set handlers
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        restore()
