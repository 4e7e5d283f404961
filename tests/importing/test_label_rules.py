"""Names as people and programs give them: where the label is, and where there is none."""

from __future__ import annotations

import random
import uuid
from collections import Counter

import pytest

from cnnlib.importing.label_rules import (
    FOLDER,
    STEM,
    NameRule,
    clear_rule,
    is_stray,
    rank_rules,
)
from cnnlib.importing.plausibility import plausibility

LETTERS, DIGITS, HEX = "ABCDEFGHJKMNPQRSTUVWXYZ23456789", "0123456789", "0123456789abcdef"
BEFORE, AFTER = NameRule("before", "_"), NameRule("after", "_")


def named(
    pattern: str, count: int = 300, length: int = 4, characters: str = LETTERS, seed: int = 0
) -> dict[str, str]:
    """Return names that follow a pattern, and their labels, chosen at random."""
    rng = random.Random(seed)
    found = {}
    for n in range(count):
        label = "".join(rng.choices(characters, k=length))
        name = pattern.format(
            label=label,
            n=n,
            n5=f"{n:05d}",
            hex8="".join(rng.choices(HEX, k=8)),
            hex32="".join(rng.choices(HEX, k=32)),
            uuid=uuid.UUID(int=rng.getrandbits(128)),
            ms=1_618_912_345_678 + 937 * n,
            time=f"{rng.randrange(24):02d}{rng.randrange(60):02d}{rng.randrange(60):02d}",
            word=rng.choice(["train", "test", "valid"]),
        )
        found[f"{name}.png"] = label
    return found


def rule_of(names: dict[str, str]) -> NameRule | None:
    found = clear_rule(rank_rules(list(names)))
    return found.rule if found else None


@pytest.mark.parametrize(
    ("pattern", "rule"),
    [
        ("{label}_{n}", BEFORE),
        ("{label}_{hex8}", BEFORE),
        ("{label}_{hex32}", BEFORE),
        ("{label}_{ms}", BEFORE),
        ("{label}__{n}", BEFORE),
        ("{label}_{word}_{n}", BEFORE),
        ("{n}_{label}", AFTER),
        ("{n5}_{label}", AFTER),
        ("{hex8}_{label}", AFTER),
        ("{hex32}_{label}", AFTER),
        ("{ms}_{label}", AFTER),
        ("{word}_{label}", AFTER),
        ("img_{n}_{label}", AFTER),
        ("{n}-{label}", NameRule("after", "-")),
        ("{n5} {label}", NameRule("after", " ")),
        ("{label}-{n}", NameRule("before", "-")),
        ("{label} - {n}", NameRule("before", " - ")),
        ("{label}.{n}", NameRule("before", ".")),
        ("{label}#{n}", NameRule("before", "#")),
        ("{label}@{n}", NameRule("before", "@")),
        ("{n5}_{label}_x", NameRule("field", "_", 1)),
        ("{label}", NameRule(STEM)),
        ("train/{label}", NameRule(STEM)),
        ("{label}/{n}", NameRule(FOLDER)),
        ("{label}/img_{n}", NameRule(FOLDER)),
        ("{word}/{n}_{label}", AFTER),
        ("{uuid}_{label}", AFTER),
        ("{uuid}-{label}", NameRule("after", "-")),
        ("{label}_{uuid}", BEFORE),
        ("captcha_{label}", AFTER),
        ("img_{label}", AFTER),
        ("{n}–{label}", NameRule("after", "–")),
    ],
)
@pytest.mark.parametrize(
    ("length", "characters"), [(4, LETTERS), (6, DIGITS), (5, "天地玄黄宇"), (4, "abAB12")]
)
def test_the_label_is_found(pattern, rule, length, characters):
    names = named(pattern, 300, length, characters)
    found = clear_rule(rank_rules(list(names)))
    assert found is not None and found.rule == rule
    assert found.labels == names


@pytest.mark.parametrize(
    "pattern",
    [
        *("{n}", "{n5}", "img_{n}", "captcha ({n})", "{hex32}", "{ms}"),
        *("2024{time}", "IMG_20240102_{time}", "20240102_{time}", "{word}_{n}", "{word}/{n}"),
    ],
)
def test_names_that_a_program_gave_have_no_label(pattern):
    assert rule_of(named(pattern)) is None


def test_ten_thousand_running_numbers_are_not_the_labels():
    names = named("{n}-{label}", 10_000, 6, DIGITS)
    assert rule_of(names) == NameRule("after", "-")


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        *((f"DGDE{mark}.png", mark) for mark in (" (2)", "(2)", " - Copy", " copy 3", " - 副本")),
        *((f"DGDE{mark}.jpg", mark) for mark in ("_2", "-2", " 2")),  # DGDE is there as well
    ],
)
def test_mark_of_a_second_file_is_not_part_of_its_label(name, mark):
    names = named("{label}", 200, characters="ABCDEFGH") | {"DGDE.png": "DGDE", name: "DGDE"}
    found = clear_rule(rank_rules(list(names)))
    assert found is not None and found.rule == NameRule(STEM) and found.labels == names


def test_expressions_are_whole_labels():
    rng = random.Random(0)
    texts = {f"{rng.randrange(11)}{rng.choice('+-x')}{rng.randrange(11)}=" for _ in range(2000)}
    names = {f"{text}_{i:032x}.png": text for i, text in enumerate(sorted(texts))}
    found = clear_rule(rank_rules(list(names)))
    assert found is not None and found.rule == BEFORE and found.labels == names
    assert rule_of({f"{text}.png": text for text in texts}) == NameRule(STEM)


def test_unlabelled_images_do_not_speak_against_a_rule():
    for others in ("{n}", "{hex32}", "img_{n}"):
        for pattern, rule in (("{label}", NameRule(STEM)), ("{label}_{n}", BEFORE)):
            names = named(pattern, 100, characters="ABCDEFGHJK")
            found = clear_rule(rank_rules([*names, *named(others, 3000)]))
            assert found is not None and found.rule == rule and found.labels == names


def test_two_rules_that_are_as_likely_are_not_chosen_from():
    ranked = rank_rules(list(named("{label}-{hex8}", 300, 4, "abcdefghijkmn")))
    assert clear_rule(ranked) is not None  # eight digits of a hash are no label
    others = named("{label}", seed=1).values()
    names = {f"{a}-{b}.png": a for a, b in zip(named("{label}_{n}").values(), others, strict=False)}
    ranked = rank_rules(list(names))
    assert clear_rule(ranked) is None
    assert {h.rule for h in ranked[:2]} == {NameRule("before", "-"), NameRule("after", "-")}
    assert ranked[0].rule.option.startswith("--labels ")


@pytest.mark.parametrize(
    ("label", "stray"), [("abcd", False), ("abc", False), ("abcdef", False), ("a", True)]
    + [("a screenshot", True)]
)  # fmt: skip
def test_length_that_is_far_from_all_others_is_no_label(label, stray):
    lengths = Counter({4: 500, 5: 20}) + Counter([len(label)])
    assert is_stray(label, lengths) == stray
    assert not is_stray(label, Counter({4: 10, len(label): 1}))  # too few to know


def test_two_orders_in_one_folder_are_not_taken_for_one():
    names = [*named("{label}_{n}", 100), *named("{n}_{label}", 100, seed=1)]
    assert clear_rule(rank_rules(names)) is None


def test_all_kinds_of_labels_look_like_labels():
    for characters in ("01", DIGITS, LETTERS, HEX, "天地玄黄宇宙"):
        for length in range(1, 8):
            labels = named("{label}_{n}", 200, length, characters)
            if len(set(labels.values())) > 3:
                assert plausibility(labels) > 0.4, (characters, length)


def test_digits_after_a_word_are_labels_unless_they_count():
    rng = random.Random(0)
    for word in ("captcha_", "img-", "code ", "yzm"):
        labels = {f"{word}{n:04d}.png": f"{n:04d}" for n in rng.sample(range(10_000), 40)}
        if word != "yzm":
            [best, *_] = rank_rules(list(labels))
            assert best.labels == labels
        counted = [f"{word}{n:04d}.png" for n in range(40)]
        assert clear_rule(rank_rules(counted)) is None
    mixed = named("captcha_{label}", 300, 4, "0123456789ab")
    assert clear_rule(rank_rules(list(mixed))).labels == mixed  # those of digits alone as well


@pytest.mark.parametrize(
    "mark",
    [
        *(
            " (2)",
            "(2)",
            "（1）",
            " (copy)",
            " (another copy)",
            " (3rd copy)",
            " - Copy",
            " copy 2",
        ),
        *("- Copy", "_copy", " - Copy (2)", " - 副本", "副本", "-副本", " - Kopie", " - Copie"),
        *(" - копия", " - コピー"),
    ],
)
def test_marks_of_copies_are_no_part_of_labels(mark):
    names = named("{label}", 100)
    copies = {f"{label}{mark}.png": label for label in list(names.values())[:5]}
    found = clear_rule(rank_rules([*names, *copies]))
    assert found.labels == names | copies


@pytest.mark.parametrize("sum_of", ["{a}+{b}", "{a}{op}{b}", "{a} {op} {b} ="])
@pytest.mark.parametrize("pattern", ["{n}_{label}", "{label}_{n}"])
def test_operators_of_sums_do_not_separate(pattern, sum_of):
    rng = random.Random(0)
    names = {}
    for n in range(60):
        label = sum_of.format(a=rng.randrange(10), b=rng.randrange(10), op=rng.choice("+-x"))
        names[f"{pattern.format(n=n, label=label)}.png"] = label
    assert clear_rule(rank_rules(list(names))).labels == names


@pytest.mark.parametrize("file", ["{n}", "{label}_{n}"])
@pytest.mark.parametrize("part", ["", "train/"])
def test_folders_of_a_label_with_several_images(part, file):
    rng = random.Random(0)
    pool = ["".join(rng.choices("ABCDEFGHJK", k=4)) for _ in range(30)]
    for labels in (pool, list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), list("0123456789")):
        names = {}
        for label in labels:
            for n in range(5):
                names[f"{part}{label}/{file.format(n=n, label=label)}.png"] = label
        found = clear_rule(rank_rules(list(names)))
        assert found is not None and found.labels == names


def test_folders_of_the_first_digit_of_a_hash_are_no_labels():
    rng = random.Random(0)
    hashes = [f"{rng.getrandbits(128):032x}" for _ in range(300)]
    assert clear_rule(rank_rules([f"{text[0]}/{text}.png" for text in hashes])) is None
    assert clear_rule(rank_rules([f"{i % 10}/{i}.png" for i in range(300)])) is None


def test_numbers_that_go_on_from_folder_to_folder_count():
    rng = random.Random(0)
    names = [f"{rng.randrange(100):02d}/{i}.png" for i in range(300)]
    assert clear_rule(rank_rules(names)) is None


@pytest.mark.parametrize(
    "pattern",
    [
        "img_{:05d}",
        "IMG_{:04d}",
        "frame_{:06d}",
        "DSC{:05d}",
        "photo-{}",
        "picture {}",
        "captcha{}",
    ],
)
def test_some_of_the_images_that_a_program_numbered_have_no_labels(pattern):
    rng = random.Random(0)
    names = [f"{pattern.format(n)}.png" for n in sorted(rng.sample(range(1, 20_000), 40))]
    assert clear_rule(rank_rules(names)) is None


@pytest.mark.parametrize("pattern", ["{label}+{n}", "{n}+{label}"])
def test_plus_may_separate_digits(pattern):
    names = named(pattern, 100, 4, DIGITS)
    assert clear_rule(rank_rules(list(names))).labels == names


def test_serials_in_marks_of_copies():
    names = {f"{label[:-4]}({n}).png": label[:-4] for n, label in enumerate(named("{label}", 1500))}
    assert clear_rule(rank_rules(list(names))).labels == names
    names = {
        f"{label[:-4]}~{n}.png": label[:-4] for n, label in enumerate(named("{label}", 300), 2)
    }
    assert clear_rule(rank_rules(list(names))).labels == names
