"""The configuration that follows from what was seen in a folder of images."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from cnnlib.dataset.inspection import Inspection, inspect_folder
from cnnlib.dataset.proposal import (
    findings,
    input_size,
    proposed_config,
    suggested_keys,
    suggested_steps,
)
from cnnlib.paths import ProjectPath

SEEN = Inspection(
    suffix="png",
    suffixes=Counter(png=200),
    labels=["0123456789"[i % 10] * 4 for i in range(200)],
    listed=0,
    unlabelled=[],
    separator="_",
    unmatched=0,
    sizes=Counter({(100, 60): 200}),
    broken=[],
    hidden_colour=0.4,
)


def said(seen):
    return "\n".join(findings(seen, suggested_keys(seen)))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({(100, 60): 99, (101, 60): 1}, (100, 60, False)),
        ({(87, 26): 5}, (87, 26, False)),
        ({(800, 250): 5}, (196, 61, True)),
        ({(240, 250): 5}, (107, 112, True)),
        ({(200, 100): 5}, (200, 100, False)),
        ({(100, 40): 50, (200, 40): 50}, (200, 40, True)),
        ({(1000, 20): 1, (10, 20): 1}, (735, 16, True)),
    ],
)
def test_size_of_the_networks_images(sizes, expected):
    width, height, resize = input_size(sizes)
    assert resize == expected[2] and width * height <= (12_000 if resize else 24_000)
    assert abs(width - expected[0]) <= 0.06 * expected[0] and abs(height - expected[1]) <= 2


def test_rare_length_is_pointed_out(tmp_path, draw_images):
    draw_images(tmp_path, 99)
    draw_images(tmp_path, texts=["0"])
    seen = inspect_folder(ProjectPath(tmp_path))
    assert "Some lengths are rare: check them for wrong labels" in said(seen)
    assert json.dumps(suggested_keys(seen))


def test_characters_that_are_still_to_come_are_estimated(tmp_path, draw_images):
    draw_images(tmp_path, texts=["01"])
    seen = inspect_folder(ProjectPath(tmp_path))
    labels = [c + d for c in "abcdefghij" for d in "0123456789"]

    assert "will be a new one" not in said(replace(seen, labels=labels))
    assert "of 11 further characters about one will be a new one" in said(
        replace(seen, labels=[*labels, *"klmnopqrstuvwxyzABCD"])
    )


@pytest.mark.parametrize(
    ("changed", "steps"),
    [
        ({}, 3000),
        ({"labels": ["012345"] * 200}, 4000),
        ({"labels": [chr(0x4E00 + i) for i in range(50)]}, 4000),
        ({"labels": ["0123"] * 50_000}, 6000),
    ],
)
def test_steps_are_by_the_number_of_images_and_characters(changed, steps):
    assert suggested_steps(replace(SEEN, **changed)) == steps
    assert f"cycle_stop {steps}: a guess" in said(replace(SEEN, **changed))


@pytest.mark.parametrize(("hidden", "channels"), [(5.4, 1), (5.5, 3)])
def test_colour_is_taken_where_much_of_it_is_hidden(hidden, channels):
    seen = replace(SEEN, hidden_colour=hidden)
    assert suggested_keys(seen)["image_channels"] == channels
    assert f"image_channels {channels}" in said(seen)


@pytest.mark.parametrize(("labelled", "acc_stop"), [(5999, 1.0), (6000, 0.99)])
def test_training_stops_early_where_the_test_set_is_large_enough(labelled, acc_stop):
    seen = replace(SEEN, labels=["0123"] * labelled)
    config = proposed_config(seen, ProjectPath("my images"), "shop")
    assert config["acc_stop"] == acc_stop


def test_project_has_places_of_its_own(tmp_path):
    config = proposed_config(SEEN, ProjectPath(tmp_path), "shop")
    places = {
        key: value
        for key, value in config.items()
        if key.endswith(("_dir", "_file")) and isinstance(value, str)
    }
    assert places.pop("origin_image_dir") == str(tmp_path)
    assert len(places) == 9 and all("/shop/" in place for place in places.values())


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "200 images; 200 of them have a label, 200 before the first '_' of their names"),
        ({"listed": 50}, "50 in labels.csv and 150 before the first '_' of their names"),
        ({"labels": ["0123"] * 99}, "fewer than 100 teach little: label some hundred"),
        ({"labels": ["0123"] * 99}, "labels of 99 of 4 characters: sure"),
        ({"unmatched": 2}, "labels.csv names 2 files that are missing"),
        ({"unlabelled": ["a.png", "b.png"]}, "without a label: a.png, b.png. Move them away"),
        ({"suffixes": Counter(png=200, jpg=3)}, "image_suffix is png; left out: 3 jpg. Convert"),
        ({"broken": list("abcde")}, "cannot be decoded: a, b, c and 2 more"),
        ({"labels": ["012345"] * 200}, "never seen: 6789. Add to char_set what can occur"),
        ({"labels": ["aB"] * 200}, 'upper and lower case: "ignore_case": true where the site'),
        ({"labels": ["a-b"] * 200}, "'-' in labels: where it ends them, --separator '-'"),
        ({}, "100x60 pixels: sure"),
        (
            {"sizes": Counter({(100, 60): 99, (90, 50): 1})},
            "100x60 pixels: 1 of 100 have another size, and are left out",
        ),
        (
            {"sizes": Counter({(100, 60): 50, (90, 50): 50})},
            "sizes from 90x50 to 100x60: scaled to ",
        ),
    ],
)
def test_findings_say_what_was_seen(changed, expected):
    assert expected in said(replace(SEEN, **changed))
