"""A training that collapses goes back, and ends as one that did not."""

import math

import pytest
import tensorflow.compat.v1 as tf

from cnnlib.recovery import Recovery
from cnnlib.training import Recipe, TrainModel


@pytest.fixture
def kept():
    """A recovery of one variable, which the loss of guessing is 4 for; how to set and get it."""
    with tf.Graph().as_default() as graph:
        variable = tf.get_variable("weights", [2], tf.float32)
        value = tf.placeholder(tf.float32, [2])
        assign = variable.assign(value)
    with tf.Session(graph=graph) as session:
        yield (Recovery(session, [variable], guessing=4.0),
               lambda v: session.run(assign, {value: [v, v]}),
               lambda: float(session.run(variable)[0]))


@pytest.mark.parametrize("collapsed", [4.1, 1e9, math.inf, math.nan])
def test_the_state_of_good_steps_comes_back(kept, collapsed):
    recovery, put, get = kept
    for step, loss in ((10, 1.0), (20, 0.5), (110, 0.5), (120, 3.9)):
        put(step)
        assert recovery.look(step, loss) == 0
    put(130)
    assert recovery.look(130, collapsed) == 110 and get() == 110
    assert (recovery.calm, recovery.since) == (0.5, 131)
    assert recovery.look(140, collapsed) == 110 and recovery.calm == 0.25


def test_what_was_never_good_goes_on(kept):
    recovery, put, get = kept
    for step, loss in ((10, 5.0), (20, 2.1), (30, 1e9)):
        put(step)
        assert recovery.look(step, loss) == 0 and get() == step
    assert recovery.calm == 1.0


def test_a_step_far_too_long_does_not_cost_the_training(project, draw_images, monkeypatch, capsys):
    project.change(char_set="01", network="cnn5", cycle_stop=200, cycle_save=200,
                   train_batch_size=32)
    for folder, count in (("train", 600), ("test", 40)):
        draw_images(project.root / "sample" / folder, count, characters=("0", "1"), seed=count)
    rate = Recipe.rate
    monkeypatch.setattr(Recipe, "rate", lambda self, network, step, *rest: (
        1e3 if step == 115 else rate(self, network, step, *rest)))
    result = TrainModel.from_config(project.sample).train_cnn()
    assert "the loss has leapt: back to the weights of step" in capsys.readouterr().out
    assert result.scores.image_accuracy > 0.7  # by guessing: a quarter
