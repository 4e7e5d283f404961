"""The configuration that follows from what was seen in a folder of images."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from cnnlib.importing.findings import findings
from cnnlib.importing.inspection import Inspection
from cnnlib.importing.proposal import (
    input_size,
    proposed_config,
    suggested_keys,
    suggested_steps,
    training_minutes,
)
from cnnlib.paths import ProjectPath

SEEN = Inspection(
    labels=["0123456789"[i % 10] * 4 for i in range(200)],
    suffixes=("png",),
    sizes=Counter({(100, 60): 200}),
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


@pytest.mark.parametrize(
    ("size", "text", "expected"),
    [
        ((130, 42), 18, (130, 42, False)),  # small and equal: as they are
        ((130, 42), 16, (211, 68, True)),
        ((200, 50), 30, (200, 50, False)),
        ((72, 27), 16, (117, 44, True)),  # small letters are enlarged to 26 pixels
        ((60, 20), 5, (120, 40, True)),  # by no more than 2
        ((300, 100), 80, (150, 50, True)),  # large ones are reduced to 40
        ((400, 160), 30, (245, 98, True)),  # further where the image has more than 24,000
        ((700, 80), 40, (350, 40, True)),
        ((2000, 300), 30, (400, 60, True)),  # below 20 where it has to be: 24,000 pixels
    ],
)
def test_letters_are_20_to_40_pixels_high(size, text, expected):
    width, height, resize = input_size({size: 100}, text)
    assert resize == expected[2]
    assert width == pytest.approx(expected[0], abs=2) and height == pytest.approx(
        expected[1], abs=1
    )
    assert not resize or width * height <= 24_200


def test_rare_length_is_pointed_out():
    seen = replace(SEEN, labels=[*["01"] * 99, "0"])
    assert "Some lengths are rare: check '0' and others" in said(seen)
    assert json.dumps(suggested_keys(seen))


def test_characters_that_are_still_to_come_are_estimated():
    labels = [c + d for c in "abcdefghij" for d in "0123456789"]
    assert "will be a new one" not in said(replace(SEEN, labels=labels))
    assert "of 11 further characters about one will be a new one" in said(
        replace(SEEN, labels=[*labels, *"klmnopqrstuvwxyzABCD"])
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
    most = 5100 if len(changed.get("labels", [])) >= 12_000 else 3100
    assert suggested_steps(replace(SEEN, **changed), 6000) == min(steps, most)
    assert f"cycle_stop {min(steps, most)}: training takes about" in said(replace(SEEN, **changed))


@pytest.mark.parametrize("area", [1000, 6000, 12_000, 24_000, 100_000])
def test_training_that_is_proposed_takes_15_minutes_at_most(area):
    seen = replace(SEEN, labels=["0123456"] * 60_000)
    steps = suggested_steps(seen, area)
    assert 100 <= steps <= 6000 and training_minutes(steps, area) <= 15


@pytest.mark.parametrize(("hidden", "channels"), [(5.4, 1), (5.5, 3)])
def test_colour_is_taken_where_much_of_it_is_hidden(hidden, channels):
    seen = replace(SEEN, hidden_colour=hidden)
    assert suggested_keys(seen)["image_channels"] == channels
    assert f"image_channels {channels}" in said(seen)


def test_training_of_few_images_takes_9_minutes_at_most():
    seen = replace(SEEN, labels=["0123456"] * 11_999)
    assert training_minutes(suggested_steps(seen, 14_000), 14_000) <= 9
    assert training_minutes(suggested_steps(seen, 1000), 1000) < 9


def test_project_has_places_of_its_own(tmp_path):
    config = proposed_config(SEEN, "shop")
    places = [
        value
        for key, value in config.items()
        if key.endswith(("_dir", "_file")) and isinstance(value, str)
    ]
    assert len(places) == 12 and all("/shop/" in place for place in places)
    moved = proposed_config(SEEN, "shop", ProjectPath(tmp_path))
    assert moved.pop("origin_image_dir") == str(tmp_path)
    assert moved.items() < config.items()


@pytest.mark.parametrize(
    ("labels", "folds"),
    [
        (["abcd"] * 500, False),
        ([*["abcf"] * 482, *["abcF"] * 18], True),  # a typist's upper case
        ([*["ABCF"] * 482, *["AbCF"] * 18], True),
        (["abCD"] * 500, False),  # nothing occurs in both cases
        (["abAB"] * 500, False),
        (["cCxX"] * 500, True),  # both cases look the same
        (["cCaA"] * 500, False),
        (["1234"] * 500, False),
        (["ǅǆ"] * 500, False),  # a letter with three cases
    ],
)
def test_case_is_ignored_where_labels_cannot_tell_it(labels, folds):
    keys = suggested_keys(replace(SEEN, labels=labels))
    assert keys.get("ignore_case", False) == folds
    if folds:
        assert not set(keys["char_set"]) & set("ABCFX")
        assert "seem to mean the same" in said(replace(SEEN, labels=labels))


def test_several_suffixes_are_a_list():
    assert suggested_keys(replace(SEEN, suffixes=("jpg", "png")))["image_suffix"] == ["jpg", "png"]
    assert suggested_keys(SEEN)["image_suffix"] == "png"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"labels": ["0123"] * 99}, "fewer than 100 labels teach little: label some hundred"),
        ({"labels": ["0123"] * 99}, "labels of 99 of 4 characters: sure"),
        ({"broken": list("abcde")}, "cannot be decoded: a, b, c and 2 more"),
        ({"labels": ["012345"] * 200}, "never seen: 6789. Add to char_set what can occur"),
        ({"labels": ["aB"] * 200}, 'upper and lower case: "ignore_case": true where the site'),
        ({"labels": ["a-b"] * 200}, "'-' at the same place in all labels: where it ends them"),
        (
            {"labels": ["1234", "１２３４"] * 100},
            "100 labels have other forms of characters (１ for 1",
        ),
        ({"labels": [*["1234"] * 199, "123l"]}, "may be wrong labels: 'l' (1, as in '123l')"),
        (
            {"labels": [*["AB12"] * 199, "\u0410B12"]},
            "CYRILLIC CAPITAL LETTER A in '\u0410B12', where others have A: they look the same",
        ),
        ({}, "100x60 pixels: sure"),
        (
            {"text_height": 12.0},
            "100x60 pixels, letters of about 12 pixels: scaled to 200x120, with their proportions",
        ),
        (
            {"sizes": Counter({(100, 60): 99, (90, 50): 1})},
            "100x60 pixels: 1 of 100 have another size, and are left out",
        ),
        (
            {"sizes": Counter({(100, 60): 50, (90, 50): 50})},
            "sizes from 90x50 to 100x60: scaled to 99x55",
        ),
    ],
)
def test_findings_say_what_was_seen(changed, expected):
    assert expected in said(replace(SEEN, **changed))


def test_signs_of_an_expression_are_no_hint():
    seen = replace(SEEN, labels=["10-4=", "3+11=", "2x5=", "1-1="] * 50)
    assert "separator" not in said(seen)


def test_zeros_that_a_spreadsheet_took_away_are_pointed_out():
    numbers = [f"{n:04d}" for n in range(7, 10_000, 97)]
    lost = [str(int(n)) for n in numbers]
    assert "a spreadsheet program may have taken zeros away" in said(replace(SEEN, labels=lost))
    for labels in (numbers, [n[1:] if n[0] == "9" else n for n in numbers]):
        assert "spreadsheet" not in said(replace(SEEN, labels=labels))
