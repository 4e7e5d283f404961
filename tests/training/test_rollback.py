"""A training that collapses goes back, and ends as one that did not."""

import math

import pytest

from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.training import loop
from cnnlib.training.recipes import Recipe
from cnnlib.training.rollback import Rollback
from cnnlib.training.saving import ModelSaver
from cnnlib.training.scoring import Scorer
from cnnlib.training.stepping import Stepper
from tests.training.helpers import info, stopped_after, train


@pytest.fixture
def kept():
    """A rollback of one variable, with a chance loss of 4; how to set and get the variable."""
    with tf.Graph().as_default() as graph:
        variable = tf.get_variable("weights", [2], tf.float32)
        value = tf.placeholder(tf.float32, [2])
        assign = variable.assign(value)
    with tf.Session(graph=graph) as session:
        yield (
            Rollback(session, [variable], chance_loss=4.0),
            lambda v: session.run(assign, {value: [v, v]}),
            lambda: float(session.run(variable)[0]),
        )


@pytest.mark.parametrize("collapsed", [4.1, 1e9, math.inf, math.nan])
def test_the_state_of_good_steps_comes_back(kept, collapsed):
    rollback, put, get = kept
    for step, loss in ((10, 1.0), (20, 0.5), (110, 0.5), (120, 3.9)):
        put(step)
        assert rollback.check_spike(step, loss) == 0
    put(130)
    assert rollback.check_spike(130, collapsed) == 110 and get() == 110
    assert (rollback.rate_factor, rollback.rewarm_from) == (0.5, 131)
    assert rollback.check_spike(140, collapsed) == 110 and rollback.rate_factor == 0.25


@pytest.mark.parametrize(
    "loss, rate_factor, back", [(1.9, 1.0, 7), (2.1, 1.0, 0), (2.1, 0.5, 7), (4.1, 0.5, 0)]
)
def test_the_state_of_an_interrupted_run_comes_back(kept, loss, rate_factor, back):
    rollback, put, get = kept
    rollback.rate_factor = rate_factor
    put(7)
    rollback.keep_start(7, loss)
    put(10)
    assert rollback.check_spike(10, math.nan) == back and get() == (back or 10)


def test_training_that_was_never_good_goes_on(kept):
    rollback, put, get = kept
    for step, loss in ((10, 5.0), (20, 2.1), (30, 1e9)):
        put(step)
        assert rollback.check_spike(step, loss) == 0 and get() == step
    assert rollback.rate_factor == 1.0


def test_chance_loss_of_0_keeps_nothing():
    with tf.Graph().as_default(), tf.Session() as session:
        rollback = Rollback(session, [], chance_loss=0.0)
        assert [rollback.check_spike(step, loss) for step, loss in ((10, 0.1), (20, 1e9))] == [0, 0]
        assert rollback.rate_factor == 1.0 and rollback.rewarm_from == 0


def test_a_collapse_that_a_lower_rate_does_not_mend_is_left_to_the_monitor(kept):
    rollback, put, _ = kept
    put(10)
    rollback.check_spike(10, 0.5)
    restored = [rollback.check_spike(20 + i, 1e9) for i in range(10)]
    assert restored == [10] * 5 + [0] * 5 and rollback.rate_factor == 1 / 32


def collapse(monkeypatch, *steps):
    """Make the rate of these steps far too high."""
    rate = Recipe.rate
    monkeypatch.setattr(
        Recipe,
        "rate",
        lambda self, network, step, *rest: (
            1e3 if step in steps else rate(self, network, step, *rest)
        ),
    )


@pytest.fixture
def learnable(project, draw_images):
    """A project whose training of 120 steps is far above chance."""
    project.resize(24, 20)
    project.change(
        char_set="01", network="cnn5", cycle_stop=120, cycle_save=1000, train_batch_size=32
    )
    for folder, count in (("train", 450), ("test", 40)):  # too many to be spliced
        draw_images(project.root / "sample" / folder, count, characters=("0", "1"), seed=count)
    return project


def test_a_step_far_too_long_does_not_cost_the_training(learnable, monkeypatch, capsys):
    learnable.change(cycle_stop=200)
    collapse(monkeypatch, 115)
    result = train(learnable)
    assert "the loss has leapt: back to the weights of step" in capsys.readouterr().out
    assert result.scores.image_accuracy > 0.7  # by chance: a quarter


def test_a_save_between_a_leap_and_its_report_keeps_no_collapsed_weights(
    learnable, monkeypatch, capsys
):
    """The leap comes at step 113, the save at 115, the report at 120."""
    learnable.change(cycle_save=115)
    collapse(monkeypatch, 113)
    saved = []
    save = ModelSaver.save

    def watched(self, step, done, *rest):
        save(self, step, done, *rest)
        saved.append((step, self._scorer.score_all(self._test).loss))

    monkeypatch.setattr(ModelSaver, "save", watched)
    train(learnable)
    assert "the loss has leapt: back to the weights of step" in capsys.readouterr().out
    assert saved[0][0] == 115 and saved[0][1] < math.log(2)


def test_loss_that_is_not_a_number_at_a_save_goes_back(learnable, monkeypatch, capsys):
    """The step makes weights that are not numbers, and the next save is no report."""
    learnable.change(cycle_save=113)
    monkeypatch.setattr(
        Recipe,
        "rate",
        lambda self, network, step, *rest, rate=Recipe.rate: (
            math.nan if step == 113 else rate(self, network, step, *rest)
        ),
    )
    result = train(learnable)
    assert "the loss has leapt: back to the weights of step" in capsys.readouterr().out
    assert result.steps == 120 and math.isfinite(result.scores.loss)


def test_run_that_goes_on_keeps_its_lower_rate_and_can_go_back_at_once(
    learnable, monkeypatch, capsys
):
    learnable.change(cycle_stop=140)
    collapse(monkeypatch, 108)
    done: list[int] = []
    step = Stepper.step

    def counted(self, batch, rate):
        done.append(len(done) + 1)
        step(self, batch, rate)

    monkeypatch.setattr(Stepper, "step", counted)
    monkeypatch.setattr(loop, "stop_signals", stopped_after(115, done))
    assert train(learnable).interrupted
    run = info(learnable).run
    assert (run.rate_factor, run.rewarm_from) == (0.5, 111)
    monkeypatch.setattr(loop, "stop_signals", stopped_after(999, done))
    collapse(monkeypatch, 117)  # before the first report of this start
    capsys.readouterr()
    train(learnable)
    assert "back to the weights of step 115" in capsys.readouterr().out
    assert info(learnable).run.rate_factor == 0.25


def test_small_batches_are_judged_with_other_images(ready, monkeypatch):
    """The mean loss of four images leaps by chance."""
    losses: list[int] = []
    score = Scorer.score

    def counted(self, pixels, char_ids):
        losses.append(len(pixels))
        return score(self, pixels, char_ids)

    monkeypatch.setattr(Scorer, "score", counted)
    train(ready, train_batch_size=4)
    assert losses.count(40) >= 2  # all that there are, at steps 10 and 20
