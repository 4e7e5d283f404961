"""What happens every few steps of a run: reports, stops, locating characters, errors."""

import dataclasses

import numpy as np
import pytest

from cnnlib.errors import CaptchaError
from cnnlib.evaluation import metrics
from cnnlib.evaluation.metrics import Scores
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.training import batches, loop
from cnnlib.training.history import TensorBoard
from cnnlib.training.recipes import RECIPES
from cnnlib.training.saving import ModelSaver
from cnnlib.training.scoring import Scorer
from cnnlib.training.stepping import Stepper
from tests.training.helpers import info, stopped_after, train


def test_acc_stop_ends_a_run_when_the_whole_test_set_reaches_it(ready, monkeypatch):
    estimates = []

    def score(self, pixels, char_ids):
        estimates.append(len(pixels))
        return Scores(0.9, 0.9, 0.1)

    monkeypatch.setattr(Scorer, "score", score)
    monkeypatch.setattr(metrics, "scores", lambda *_: Scores(0.9, 0.9, 0.1))
    result = train(ready, acc_stop=0.6, test_batch_size=5)
    assert result.steps == 10 and info(ready).run.done
    assert result.scores.image_accuracy == 0.9
    # More training images than the small batch, before the run and at its report, and there the
    # batch, some test images, and all test images.
    assert estimates == [40, 16, 5, 40, 20]


def test_acc_stop_that_a_small_test_set_reaches_by_luck_ends_no_run(ready, monkeypatch):
    """18 of 20 right: 95 % of such test sets come from models between 70 and 97 %."""
    monkeypatch.setattr(metrics, "scores", lambda *_: Scores(0.9, 0.9, 0.1))
    assert train(ready, cycle_stop=20, acc_stop=0.7).steps == 20


def test_an_acc_stop_of_1_ends_no_run(ready, monkeypatch):
    monkeypatch.setattr(metrics, "scores", lambda *_: Scores(1.0, 1.0, 0.1))
    assert train(ready, cycle_stop=20, acc_stop=1.0).steps == 20


def test_a_further_run_is_not_ended_by_what_the_one_before_it_reached(ready, monkeypatch, capsys):
    monkeypatch.setattr(metrics, "scores", lambda *_: Scores(0.9, 0.9, 0.1))
    assert train(ready, cycle_stop=20, acc_stop=0.6).steps == 10
    assert "acc_stop is reached already" not in capsys.readouterr().out
    assert train(ready, cycle_stop=20, acc_stop=0.6).steps == 20
    assert "acc_stop is reached already" in capsys.readouterr().out


def test_a_further_run_that_is_interrupted_goes_on_to_its_last_step(ready, monkeypatch):
    monkeypatch.setattr(metrics, "scores", lambda *_: Scores(0.9, 0.9, 0.1))
    train(ready, cycle_stop=20, acc_stop=0.6)
    done: list[int] = []
    step = Stepper.step
    monkeypatch.setattr(Stepper, "step", lambda self, *a: (done.append(1), step(self, *a)))
    monkeypatch.setattr(loop, "stop_signals", stopped_after(5, done))
    assert train(ready, cycle_stop=20, acc_stop=0.6).interrupted
    monkeypatch.setattr(loop, "stop_signals", stopped_after(999, done))
    assert train(ready, cycle_stop=20, acc_stop=0.6).steps == 15


def test_run_that_goes_on_still_ends_at_acc_stop(ready, monkeypatch):
    """Its best weights reach it already, but the estimates did not before it was interrupted."""
    done: list[int] = []
    step = Stepper.step

    def counted(self, batch, rate):
        done.append(1)
        step(self, batch, rate)

    monkeypatch.setattr(Stepper, "step", counted)
    monkeypatch.setattr(loop, "stop_signals", stopped_after(5, done))
    monkeypatch.setattr(metrics, "scores", lambda *_: Scores(0.9, 0.9, 0.1))
    assert train(ready, cycle_stop=100, acc_stop=0.6).interrupted
    monkeypatch.setattr(loop, "stop_signals", stopped_after(999, done))
    assert train(ready, cycle_stop=100, acc_stop=0.6).steps == 5  # to the report of step 10


def test_estimate_alone_does_not_end_a_run(ready, monkeypatch):
    monkeypatch.setattr(
        Scorer, "score", lambda self, pixels, _: Scores(0.9, 0.9 if len(pixels) < 20 else 0.5, 0.1)
    )
    assert train(ready, acc_stop=0.6, test_batch_size=5).steps == 20


def test_resuming_restores_the_optimiser_and_the_schedule(ready, monkeypatch):
    """Steps 11 to 20 after a stop see the rates of an uninterrupted run, and Adam's averages."""
    rates: list[float] = []
    step = Stepper.step

    def recorded(self, batch, rate):
        rates.append(rate)
        if len(rates) == 11:
            adam = [
                v for v in self._graph.all_variables if v.op.name.endswith("classifier/bias/Adam")
            ]
            assert np.abs(self._session.run(adam[0])).max() > 0
        step(self, batch, rate)

    monkeypatch.setattr(Stepper, "step", recorded)
    monkeypatch.setattr(loop, "stop_signals", stopped_after(10, rates))
    assert train(ready).interrupted
    monkeypatch.setattr(loop, "stop_signals", stopped_after(99, rates))
    train(ready)
    assert rates == [RECIPES["default"].rate("cnn5", i, 20) for i in range(1, 21)]


@pytest.mark.parametrize(("needed", "splices"), [(0.0, True), (1.1, False)])
def test_images_that_are_seen_often_and_read_are_spliced(
    ready, monkeypatch, capsys, needed, splices
):
    seen = []
    splice = batches.splice

    def watched(pixels, char_ids, cuts, settings, rng):
        seen.append((pixels.shape, cuts.shape, cuts.min() >= 0, cuts.max() <= 24))
        return splice(pixels, char_ids, cuts, settings, rng)

    recipe = RECIPES["default"]
    splicing = dataclasses.replace(recipe.splicing, from_views=12, known_share=needed)
    monkeypatch.setitem(RECIPES, "default", dataclasses.replace(recipe, splicing=splicing))
    monkeypatch.setattr(batches, "splice", watched)
    train(ready, cycle_stop=40)  # each image comes sixteen times
    printed = capsys.readouterr().out
    if not splices:
        assert not seen and printed.count("too few images are read yet to splice") == 2
        return
    # Not before a share of the run, where the characters are not known, and not at its end.
    assert 20 <= len(seen) <= 24 and set(seen) == {((16, 16, 24), (16, 1), True, True)}
    assert printed.count("locating the characters in the images, to splice them") == 2


@pytest.mark.parametrize(("needed", "splices"), [(0.0, 2), (1.1, 0)])
def test_weights_that_know_letters_splice_where_they_read_test_images(
    ready, monkeypatch, capsys, needed, splices
):
    restore = ModelSaver.restore

    def started(self, previous):
        self.started = True
        return restore(self, previous)

    recipe = RECIPES["default"]
    splicing = dataclasses.replace(
        recipe.splicing, from_views=12, known_share=1.1 - needed, started_known_share=needed
    )
    monkeypatch.setitem(RECIPES, "default", dataclasses.replace(recipe, splicing=splicing))
    monkeypatch.setattr(ModelSaver, "restore", started)
    train(ready, cycle_stop=40)
    printed = capsys.readouterr().out
    assert printed.count("locating the characters in the images, to splice them") == splices


def test_out_of_memory_is_answered_with_advice(ready, monkeypatch):
    run = tf.Session.run

    def full(self, fetches, feeds=None, **options):
        if feeds and any(t.name == "training:0" for t in feeds):
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return run(self, fetches, feeds, **options)

    monkeypatch.setattr(tf.Session, "run", full)
    with pytest.raises(CaptchaError, match="memory for train_batch_size 16: set .* such as 8"):
        train(ready)


def test_history_that_cannot_be_written_does_not_end_a_training(ready, capsys):
    folder = ready.sample.model_save_dir.full
    (folder / "history.csv").mkdir(parents=True)
    train(ready)
    assert info(ready).run.done and "cannot write" in capsys.readouterr().err


def test_full_disk_of_the_logs_does_not_end_a_training(ready, monkeypatch, capsys):
    def full(self):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(TensorBoard, "_write", lambda self, event: event.step and full(self))
    train(ready, cycle_stop=30)
    err = capsys.readouterr().err
    assert info(ready).run.done and err.count("No space left on device; free some space") == 1


def test_loss_that_is_not_a_number_ends_the_run(ready, monkeypatch):
    monkeypatch.setattr(Scorer, "score", lambda *_: Scores(0.0, 0.0, float("nan")))
    with pytest.raises(CaptchaError, match="the loss is nan at step 10: .*diverged"):
        train(ready)


def test_rate_rises_again_where_images_become_of_a_new_kind(ready, monkeypatch):
    rates: list[float] = []
    step = Stepper.step

    def recorded(self, batch, rate):
        rates.append(rate)
        step(self, batch, rate)

    recipe = RECIPES["default"]
    splicing = dataclasses.replace(recipe.splicing, from_views=12, known_share=0.0)
    monkeypatch.setitem(RECIPES, "default", dataclasses.replace(recipe, splicing=splicing))
    monkeypatch.setattr(Stepper, "step", recorded)
    train(ready, cycle_stop=40)
    starts_at = 1 + round(splicing.locate_at[0] * 40)
    assert rates == [recipe.rate("cnn5", i, 40, rewarm_from=starts_at) for i in range(1, 41)]
    assert rates != [recipe.rate("cnn5", i, 40) for i in range(1, 41)]
