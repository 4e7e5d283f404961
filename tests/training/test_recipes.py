"""Recipes: rates over a run, and what the number of views of each image decides."""

import dataclasses

import numpy as np
import pytest

from cnnlib.config import NETWORK_NAMES, RECIPE_NAMES
from cnnlib.training.recipes import RECIPES, Augmentation


def test_the_recipes_are_those_that_a_config_may_name():
    assert tuple(RECIPES) == RECIPE_NAMES
    assert all(set(recipe.peak_rates) == set(NETWORK_NAMES) for recipe in RECIPES.values())


@pytest.mark.parametrize("network", NETWORK_NAMES)
def test_rate_rises_then_falls_to_nothing(network):
    recipe = RECIPES["default"]
    rates = [recipe.rate(network, step, 1000) for step in range(1, 1001)]
    peak = int(np.argmax(rates))
    assert rates[peak] == recipe.peak_rates[network] and 50 <= peak <= 100
    assert rates == sorted(rates[:peak]) + sorted(rates[peak:], reverse=True)
    assert rates[-1] < rates[peak] / 1000
    assert recipe.rate(network, 1, 1) == rates[peak]
    again = [recipe.rate(network, step, 1000, rewarm_from=151) for step in range(1, 1001)]
    assert again[:150] == rates[:150] and again[250:] == rates[250:]
    assert again[150] < rates[150] / 50 and again[150:220] == sorted(again[150:220])
    assert {RECIPES["specification"].rate(network, step, 50) for step in (1, 25, 50)} == {1e-4}


@pytest.mark.parametrize(("views", "share"), [(5, 0.5), (20, 0.5), (80, 0.25), (500, 0.1)])
def test_known_weights_are_trained_the_slower_the_fewer_images_there_are(views, share):
    rates = [
        max(
            RECIPES["default"].rate("cnn5", s, 500, started=started, views=views)
            for s in (100, 101)
        )
        for started in (True, False)
    ]
    assert rates[0] / rates[1] == pytest.approx(share)


@pytest.mark.parametrize(("steps", "rising"), [(40, 10), (400, 100), (1000, 100), (3000, 210)])
def test_short_runs_rise_for_a_larger_share_of_their_steps(steps, rising):
    rates = [RECIPES["default"].rate("cnn5", step, steps) for step in range(1, steps + 1)]
    assert int(np.argmax(rates)) == rising - 1


@pytest.mark.parametrize(("views", "strength"), [(0.1, 0.5), (6, 0.75), (8, 1.0), (500, 1.0)])
def test_images_that_are_seen_more_often_are_distorted_more(views, strength):
    assert RECIPES["default"].distortion(views) == strength
    assert RECIPES["specification"].distortion(views) == 0


@pytest.mark.parametrize(
    ("views", "max_captcha", "splices"), [(14.9, 4, False), (15, 4, True), (15, 1, False)]
)
def test_characters_are_spliced_where_images_are_seen_often(views, max_captcha, splices):
    assert RECIPES["default"].splices(views, max_captcha) is splices
    assert RECIPES["specification"].splices(views, max_captcha) is False


def test_settings_are_data():
    recipe = dataclasses.replace(
        RECIPES["default"], augmentation=Augmentation(full_from_views=2, least_strength=0.25)
    )
    assert [recipe.distortion(views) for views in (0.1, 1, 2, 3)] == [0.25, 0.5, 1.0, 1.0]
