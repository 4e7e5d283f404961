"""A run ends early where the loss of the test set no longer falls, with a rate that falls first."""

import dataclasses
import math

import pytest

from cnnlib.evaluation import metrics
from cnnlib.evaluation.metrics import Scores
from cnnlib.training import loop
from cnnlib.training.plateau import Plateau, cooling_steps
from cnnlib.training.recipes import RECIPES
from cnnlib.training.scoring import Scorer
from cnnlib.training.stepping import Stepper
from tests.training.helpers import info, stopped_after, train


def ends_at(losses, cycle_stop=2000, since=0):
    """Return the step at which losses, one every 50 steps, are seen to have stopped falling."""
    plateau = Plateau(cycle_stop)
    for i, loss in enumerate(losses, 1):
        if plateau.observe(50 * i, loss, since):
            return 50 * i
    return 0


def test_loss_that_falls_is_let_fall():
    assert ends_at([2 * math.exp(-i / 12) for i in range(40)]) == 0
    noisy = [2 * math.exp(-i / 12) * (1.2 if i % 2 else 0.9) for i in range(40)]
    assert ends_at(noisy) == 0


@pytest.mark.parametrize("last", [0.2, 0.0001])
def test_loss_that_stays_where_it_is_ends_the_run(last):
    losses = [max(last, 2 * math.exp(-i / 1.5)) for i in range(40)]
    assert 500 <= ends_at(losses) <= 1500
    assert ends_at(losses[:6]) == 0  # too early to say


def test_one_bad_loss_is_chance():
    losses = [2 * math.exp(-i / 12) for i in range(40)]
    losses[20] = 5.0
    assert ends_at(losses) == 0


def test_steps_before_images_became_harder_are_not_compared():
    losses = [0.1] * 20 + [0.3 * math.exp(-i / 20) for i in range(20)]
    assert ends_at(losses) and not ends_at(losses, since=1000)


@pytest.fixture
def flat(ready, monkeypatch):
    """A project of 120 steps whose loss of the test set never falls."""
    monkeypatch.setattr("cnnlib.training.plateau.EARLIEST", 40)
    monkeypatch.setattr(loop, "OBSERVE_STEPS", 5)
    recipe = dataclasses.replace(RECIPES["default"], least_warm_up=0)  # longer than such a run
    monkeypatch.setitem(RECIPES, "default", recipe)
    set_flat(monkeypatch, 0.9)
    ready.change(cycle_stop=120, cycle_save=1000, acc_stop=0.99)
    return ready


def set_flat(monkeypatch, char_accuracy):
    monkeypatch.setattr(metrics, "scores", lambda *_: Scores(char_accuracy, 0.5, 0.5))
    monkeypatch.setattr(Scorer, "score", lambda *_: Scores(char_accuracy, 0.5, 0.5))


def recorded_rates(monkeypatch):
    rates: list[float] = []
    step = Stepper.step

    def recorded(self, batch, rate):
        rates.append(rate)
        step(self, batch, rate)

    monkeypatch.setattr(Stepper, "step", recorded)
    return rates


def test_rate_falls_to_nothing_before_the_early_end(flat, monkeypatch, capsys):
    rates = recorded_rates(monkeypatch)
    result = train(flat)
    assert 40 + cooling_steps(120) <= result.steps < 120 and info(flat).run.done
    cooling = rates[-cooling_steps(120) :]
    assert cooling == sorted(cooling, reverse=True) and cooling[-1] < rates[39] / 10
    assert f"and the run ends at step {result.steps}" in capsys.readouterr().out


def test_run_that_is_interrupted_meanwhile_ends_where_it_would_have(flat, monkeypatch):
    rates = recorded_rates(monkeypatch)
    whole = train(flat).steps
    uninterrupted = list(rates)
    rates.clear()
    monkeypatch.setattr(loop, "stop_signals", stopped_after(whole - 5, rates))
    assert train(flat, fresh=True).interrupted
    monkeypatch.setattr(loop, "stop_signals", stopped_after(999, rates))
    assert train(flat).steps == 5 and rates == uninterrupted


def test_acc_stop_of_1_keeps_all_steps(flat):
    assert train(flat, acc_stop=1.0).steps == 120


def test_a_loss_that_has_not_begun_to_fall_ends_no_run(flat, monkeypatch):
    set_flat(monkeypatch, 0.05)  # of 36 characters
    assert train(flat).steps == 120


def test_a_few_test_images_end_no_run(flat):
    next((flat.root / "sample" / "test").glob("*_*")).unlink()
    assert train(flat).steps == 120


@pytest.mark.parametrize("changed", [{"acc_stop": 1.0}, {"cycle_stop": 150}])
def test_an_early_end_is_forgotten_where_the_configuration_changes(flat, monkeypatch, changed):
    rates = recorded_rates(monkeypatch)
    whole = train(flat).steps
    rates.clear()
    monkeypatch.setattr(loop, "stop_signals", stopped_after(whole - 5, rates))
    assert train(flat, fresh=True).interrupted and info(flat).run.cooling_from
    monkeypatch.setattr(loop, "stop_signals", stopped_after(999, rates))
    rates.clear()
    train(flat, **changed)
    assert info(flat).run.done and min(rates) >= 0 and len(rates) > 5
