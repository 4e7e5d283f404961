"""What a run saves in the model folder, which weights are the best, and how the next run starts."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import PIL

from cnnlib.config import BACKBONE
from cnnlib.dataset.image_set import ImageSet
from cnnlib.errors import CaptchaError, ModelError
from cnnlib.evaluation import metrics
from cnnlib.evaluation.metrics import Scores
from cnnlib.files import sync
from cnnlib.network import CNN
from cnnlib.networks.checkpoint import assign, grow_classes, read_checkpoint, readable
from cnnlib.networks.model_folder import MODEL_FILE, ModelInfo, Run
from cnnlib.networks.starting_weights import read_start
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.transfer import Layout
from cnnlib.networks.weights import saved_weight
from cnnlib.training.graph import TrainingGraph
from cnnlib.training.options import RunOptions
from cnnlib.training.plateau import cooling_steps
from cnnlib.training.scoring import Scorer

STARTED_IMAGES = 250  # of the test set: which of the ways to adapt weights fits them best
AUGMENTED_BY_CHANCE = 0.1  # the largest p value, of both sides: 5 % of this side
NO_SCORES = Scores(0.0, 0.0, math.inf)


class ModelSaver:
    """Keep a model folder up to date during a run; `current` is what the folder holds."""

    def __init__(
        self,
        cnn: CNN,
        graph: TrainingGraph,
        session: Any,
        scorer: Scorer,
        options: RunOptions,
        test: ImageSet,
    ) -> None:
        self._cnn, self._graph, self._session = cnn, graph, session
        self._scorer, self._options, self._test = scorer, options, test
        self.current: ModelInfo | None = None
        self.best_scores: Scores | None = None
        self._highest = NO_SCORES  # with the most images right among those that were best
        self.first_step = 0  # of the run, done before this start
        self.earlier_steps = 0  # of all runs before this one
        self.started = False  # the run, from weights that know something
        self.known_share = 0.0  # of the characters, by weights that were not trained on them here
        self.read_at_start: float | None = None  # share of the characters that those had right
        self._to_last_step = False  # whatever acc_stop says: it was reached before the run
        self.cooling_from = 0  # the step from which on the rate falls to nothing, for an early end
        self.acc_stop = options.acc_stop if options.acc_stop < 1 else math.inf

    @property
    def last_step(self) -> int:
        """The step at which the run ends, unless acc_stop or a signal end it before."""
        cycle_stop = self._options.cycle_stop
        if not self.cooling_from:
            return cycle_stop
        return min(cycle_stop, self.cooling_from + cooling_steps(cycle_stop))

    @property
    def spares_old_model(self) -> bool:
        """Whether a save would put the first steps of a new model in the place of an old one."""
        return self.current is None and (self._cnn.folder.full / MODEL_FILE).exists()

    def reaches_acc_stop(self, scores: Scores) -> bool:
        """Return whether scores of the whole test set reach acc_stop, whatever chance did."""
        return metrics.surely_reaches(scores.image_accuracy, len(self._test), self.acc_stop)

    # How a run starts

    def restore(self, previous: ModelInfo | None) -> str:
        """Give the variables their values; return in words what was done."""
        self._session.run(self._graph.initializer)
        if previous is None:
            return self._start()
        self.current = previous
        self.started = previous.run.started
        self._load_best(previous)
        self.best_scores = self._scorer.score_all(self._test)  # it may have changed since
        self._highest = self.best_scores
        if not previous.run.done and (previous.spec.char_set, previous.recipe) == (
            self._cnn.char_set,
            self._options.recipe_name,
        ):
            return self._resume(previous)
        self.earlier_steps = previous.total_step
        reached = self.reaches_acc_stop(self.best_scores)
        if reached:  # or a run with more images would end as it begins
            self._go_to_last_step()
        return (
            f"a new run on the weights of {previous.step} steps, which have "
            f"{self.best_scores.image_accuracy:.2%} of the test images right"
            + (": to its last step, since acc_stop is reached already" if reached else "")
        )

    def _go_to_last_step(self) -> None:
        self._to_last_step, self.acc_stop = True, math.inf

    def _start(self) -> str:
        """Begin with the weights that the options name, adapted to this kind of captcha."""
        options, cnn = self._options, self._cnn
        start = read_start(options.start, cnn.network) if options.recipe.started_share else None
        if start is None:
            wanted = options.start == BACKBONE and options.recipe.started_share
            return "from random weights" + " (none are shipped for this network)" * bool(wanted)
        variables = {v.op.name: v for v in self._graph.weight_variables}
        rng = np.random.default_rng(options.seed)
        sample = self._test.sample(STARTED_IMAGES, rng)

        def load(values: dict[str, np.ndarray]) -> None:
            assign(self._session, ((variables[name], value) for name, value in values.items()))

        def loss_of(values: dict[str, np.ndarray]) -> float:
            load(values)
            return self._scorer.score(*sample).loss

        candidates = start.adapt(Layout.of(cnn.spec), self._session.run(variables))
        load(min(candidates, key=loss_of))
        self.started = True
        self.known_share = start.known_share(cnn.char_set)
        return f"from {start.name}, which knows {self.known_share:.0%} of the characters"

    def _resume(self, previous: ModelInfo) -> str:
        prefix = self._cnn.folder.full / previous.last
        try:
            with readable(prefix) as name:
                self._graph.last_saver.restore(self._session, name)
        except (tf.errors.OpError, OSError, ValueError) as error:
            raise ModelError(
                f"{prefix} is missing or damaged: start over with --fresh, or "
                "restore the folder from a copy"
            ) from error
        self.first_step = previous.run.step
        self.earlier_steps = previous.total_step - previous.run.step
        self.read_at_start = previous.run.read_at_start
        best = self.best_scores
        if previous.run.to_last_step and best is not None and self.reaches_acc_stop(best):
            self._go_to_last_step()
        if self.acc_stop < 1 and previous.run.cycle_stop == self._options.cycle_stop:
            self.cooling_from = previous.run.cooling_from
        return f"the run that was interrupted goes on after step {previous.run.step}"

    def _load_best(self, previous: ModelInfo) -> None:
        cnn = self._cnn
        variables = {v.op.name: v for v in self._graph.weight_variables}
        values = read_checkpoint(cnn.folder.full / previous.best)
        old = previous.spec.char_set
        if old != cnn.char_set:
            initial = self._session.run(variables)
            values = grow_classes(values, old, cnn.char_set, initial, cnn.spec.has_end_class)
        assign(
            self._session,
            ((v, saved_weight(values, name, v.shape.as_list())) for name, v in variables.items()),
        )

    # Saves

    def save(self, step: int, done: bool, rate_factor: float = 1.0, rewarm_from: int = 0) -> None:
        """Score the whole test set, and commit this state, and the weights where they are best.

        `rate_factor` and `rewarm_from` are those of the rollback, for a run that goes on from here.
        """
        cnn, folder, current, options = self._cnn, self._cnn.folder, self.current, self._options
        outputs = self._scorer.outputs(self._test.pixels, self._test.char_ids)
        scores = self._scorer.scores_of(*outputs)
        check_finite(scores, step)
        total = self.earlier_steps + step
        if current is None or self._is_best(current, scores, step == self.last_step):
            self.best_scores = scores
            self._highest = max(self._highest, scores, key=lambda s: s.image_accuracy)
            best, best_step = folder.new_checkpoint("best", total), total
            temperature = metrics.fit_temperature(*outputs[:2])
            augmented = self._augmented(outputs[0])
        else:
            best, best_step, temperature = current.best, current.step, current.temperature
            augmented = current.augmented
        info = ModelInfo(
            spec=cnn.spec,
            network=cnn.network,
            recipe=options.recipe_name,
            step=best_step,
            scores=(self.best_scores or scores).to_json(),
            temperature=temperature,
            best=best,
            last=folder.new_checkpoint("last", total),
            total_step=total,
            run=Run(
                step,
                options.cycle_stop,
                options.seed,
                done,
                rate_factor,
                rewarm_from,
                self.started,
                self.cooling_from,
                self._to_last_step,
                self.read_at_start,
            ),
            libraries=_libraries(),
            augmented=augmented,
        )
        self._commit(info)
        self.current = info

    def _augmented(self, logits: np.ndarray) -> Mapping[str, float]:
        """Return accuracy and temperature with test-time augmentation, where it is worth its time.

        Clearly more of the test images must be right; where it was so before, more of them.
        `logits` are those without, [N, P, C].
        """
        if not self._options.test_time_augmentation:
            return {}
        scorer, test, least = self._scorer, self._test, self._options.recipe.least_augmented_gain
        once = scorer.right_images(logits, test.char_ids)
        if (~once).mean() < least:
            return {}
        averaged = scorer.averaged_logits(test, logits)
        right = scorer.right_images(averaged, test.char_ids)
        gain = right.mean() - once.mean()
        is_clear = gain >= least and metrics.mcnemar_p_value(right, once) < AUGMENTED_BY_CHANCE
        if not is_clear and not (gain > 0 and self.current and self.current.augmented):
            return {}
        return {
            "image_accuracy": float(right.mean()),
            "temperature": metrics.fit_temperature(averaged, test.char_ids),
        }

    def _is_best(self, current: ModelInfo, scores: Scores, ends: bool) -> bool:
        """Return whether to keep these weights; a char_set that grew needs ones of its shape.

        Where a run `ends`, the rate has fallen to nothing: that makes for better weights than those
        that chance prefers on a small test set.
        """
        best, count = self.best_scores, len(self._test)
        if current.spec.char_set != self._cnn.char_set or best is None:
            return True
        if self.reaches_acc_stop(scores) and not self.reaches_acc_stop(best):
            return True
        if self._highest.clearly_above(scores, count):
            return False  # small steps down, each within chance, must not add up
        return ends or scores.better_than(best, count)

    def _commit(self, info: ModelInfo) -> None:
        """Write the checkpoints that are new, then make `info` what the folder holds."""
        new = {info.last, info.best} - ({self.current.best} if self.current else set())
        try:
            for name in new:
                last = name == info.last
                self._write(self._graph.last_saver if last else self._graph.best_saver, name)
            self._cnn.folder.commit(info)
        except CaptchaError:
            self._cnn.folder.discard(*new)
            raise

    def _write(self, saver: Any, name: str) -> None:
        """Write a checkpoint to the disk, with the names of its files."""
        folder = self._cnn.folder.full
        try:
            with self._graph.graph.as_default():  # otherwise it complains about eager mode
                saver.save(
                    self._session, str(folder / name), write_meta_graph=False, write_state=False
                )
            for file in folder.iterdir():
                if file.name.startswith(f"{name}."):
                    with open(file, "rb+") as written:
                        os.fsync(written.fileno())
            sync(folder)
        except (tf.errors.OpError, OSError) as error:
            raise ModelError(
                f"cannot save to {self._cnn.folder} ({_reason(error)}): the save before it is "
                "intact. Free some space, or make the folder writable; the same command then "
                "goes on from there"
            ) from error


def check_finite(scores: Scores, step: int) -> None:
    if not math.isfinite(scores.loss):
        raise CaptchaError(
            f"the loss is {scores.loss} at step {step}: the training has diverged. "
            "The last save is intact; look for damaged images, or start over with "
            "--fresh and another --seed"
        )


def _reason(error: Exception) -> str:
    """Return the line that says what happened; TensorFlow wraps it into others about the graph."""
    lines = str(error).splitlines()
    marked = next((i for i, line in enumerate(lines) if "[[{{node" in line), 1)
    return lines[marked - 1]


def _libraries() -> dict[str, str]:
    return {"tensorflow": tf.__version__, "numpy": np.__version__, "pillow": PIL.__version__}
