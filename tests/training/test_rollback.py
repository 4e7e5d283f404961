"""A training that collapses goes back, and ends as one that did not."""

import math

import pytest
import tensorflow.compat.v1 as tf

from cnnlib.training import TrainModel
from cnnlib.training.recipes import Recipe
from cnnlib.training.rollback import Rollback


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


def test_training_that_was_never_good_goes_on(kept):
    rollback, put, get = kept
    for step, loss in ((10, 5.0), (20, 2.1), (30, 1e9)):
        put(step)
        assert rollback.check_spike(step, loss) == 0 and get() == step
    assert rollback.rate_factor == 1.0


def test_a_step_far_too_long_does_not_cost_the_training(project, draw_images, monkeypatch, capsys):
    project.change(
        char_set="01", network="cnn5", cycle_stop=200, cycle_save=200, train_batch_size=32
    )
    for folder, count in (("train", 600), ("test", 40)):
        draw_images(project.root / "sample" / folder, count, characters=("0", "1"), seed=count)
    rate = Recipe.rate
    monkeypatch.setattr(
        Recipe,
        "rate",
        lambda self, network, step, *rest: 1e3 if step == 115 else rate(self, network, step, *rest),
    )
    result = TrainModel.from_config(project.sample).train_cnn()
    assert "the loss has leapt: back to the weights of step" in capsys.readouterr().out
    assert result.scores.image_accuracy > 0.7  # by chance: a quarter


def test_chance_loss_of_0_keeps_nothing():
    with tf.Graph().as_default(), tf.Session() as session:
        rollback = Rollback(session, [], chance_loss=0.0)
        assert [rollback.check_spike(step, loss) for step, loss in ((10, 0.1), (20, 1e9))] == [0, 0]
        assert rollback.rate_factor == 1.0 and rollback.rewarm_from == 0
