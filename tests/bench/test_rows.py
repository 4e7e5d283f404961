"""What a measurement depends on: no more and no less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.lib import ablation
from bench.lib.rows import (
    ABLATION,
    OTHERS,
    ROWS,
    definition,
    is_of,
    is_of_earlier,
)
from bench.lib.training_tables import median_run
from cnnlib.training.recipes import RECIPES, Augmentation, Distillation, Recipe, Splicing

ROW = ROWS["digits"]


def with_rate(network: str) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, peak_rates={**recipe.peak_rates, network: 0.5})


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (lambda recipe: replace(recipe, warm_up=0.5), True),
        (lambda recipe: replace(recipe, splicing=Splicing(overlap=0.3)), True),
        (lambda recipe: replace(recipe, splicing=Splicing(locate_at=(0.15,))), True),
        (lambda recipe: replace(recipe, splicing=None), True),
        (lambda recipe: replace(recipe, augmentation=Augmentation(shear=0.2)), True),
        (with_rate("resnet_attention"), True),
        (with_rate("cnn5"), False),
        (with_rate("a_new_one"), False),
    ],
)
def test_a_result_counts_as_long_as_what_it_depends_on_stays(
    change: Callable[[Recipe], Recipe], counts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = definition(ROW)
    run = {**before, "right": 1}
    assert is_of(run, ROW) and median_run(ROW, {"digits, seed 0": run}) == run
    monkeypatch.setitem(RECIPES, "default", change(RECIPES["default"]))
    assert (definition(ROW) != before) == counts
    assert is_of(run, ROW) != counts and is_of_earlier(run, ROW) == counts


def test_rows_of_an_earlier_recipe_are_shown_until_they_are_measured_again() -> None:
    first, second = definition(ROW), definition(ROW)
    first["recipe"]["weight_decay"], second["recipe"]["weight_decay"] = 0.1, 0.2
    new = {**definition(ROW), "right": 1, "date": "2026-11-27"}
    old = {**second, "right": 2, "date": "2026-11-26"}
    oldest = {**first, "right": 3, "date": "2026-11-25"}
    assert not is_of(old, ROW) and is_of_earlier(old, ROW) and not is_of_earlier(new, ROW)
    assert median_run(ROW, {"seed 0": old, "seed 1": oldest}) == old
    assert median_run(ROW, {"seed 0": new, "seed 1": old}) == new


def test_what_a_recipe_without_augmentation_would_augment_does_not_matter() -> None:
    recipe = definition(ROWS["specification"])["recipe"]
    assert recipe["augmentation"] is recipe["splicing"] is None


def test_what_is_learned_from_a_teacher_matters_with_one_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = (ROWS["20k-small"], ROWS["20k-small-taught"])
    before = [definition(row) for row in rows]
    assert before[1]["teacher"] == definition(ROWS["20k"])
    default = RECIPES["default"]
    weaker = replace(default, distillation=Distillation(weight=0.1))
    monkeypatch.setitem(RECIPES, "default", weaker)
    assert [definition(row) == old for row, old in zip(rows, before, strict=True)] == [True, False]
    monkeypatch.setitem(RECIPES, "default", with_rate("resnet_attention")(default))  # its teacher's
    assert [definition(row) == old for row, old in zip(rows, before, strict=True)] == [True, False]


def test_later_fields_are_part_of_a_case_only_where_they_matter() -> None:
    """Else every measured row would have to be measured again when a field comes."""
    assert "style" not in ROWS["20k"].case()
    assert replace(ROWS["20k"], style="wave").case()["style"] == "wave"


def test_no_two_rows_are_defined_alike() -> None:
    known = ROWS | OTHERS | ABLATION
    assert len(set(known.values())) == len(known)


def test_networks_and_recipes_of_the_ablation_are_known_only_while_it_runs() -> None:
    row = ABLATION["dense-head"]
    with ablation.registered():
        whole = definition(ABLATION["whole"])
        assert definition(row)["network"]["parameters"] != whole["network"]["parameters"]
        assert definition(ABLATION["low-rate"])["recipe"]["peak_rate"] == 2e-3
    with pytest.raises(KeyError):
        definition(row)
