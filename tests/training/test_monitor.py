"""Each fault of a training is reported once, in one line; of a sound one nothing is said."""

import re

import numpy as np
import pytest

from cnnlib.dataset.labels import PAD_ID
from cnnlib.evaluation.metrics import Scores
from cnnlib.training.monitor import Evidence, TrainingMonitor, advice, chance_accuracy

AT_CHANCE = [(0.26, 0.1, 1.4, 0.1)] * 50


def lines_of(reports, cycle_stop=1000, chance=0.25, evidence=Evidence(), leapt_at=0):  # noqa: B008
    """Return the lines about reports, one every 10 steps.

    A report is (characters, images, loss of training; images of test).
    """
    monitor = TrainingMonitor(chance, tested=100, cycle_stop=cycle_stop, evidence=lambda: evidence)
    monitor.leapt_at = leapt_at
    lines = [
        monitor.observe(10 * i, Scores(chars, images, loss), Scores(chars, tested, loss))
        for i, (chars, images, loss, tested) in enumerate(reports, 1)
    ]
    return [line for line in lines if line]


def test_sound_training_is_not_complained_about():
    reports = [(a := min(1.0, 0.2 + i / 60), a, 2 - a, max(0.0, a - 0.05)) for i in range(100)]
    assert lines_of(reports) == []


def test_chance_accuracy_is_reported_once():
    [line] = lines_of(AT_CHANCE)
    assert line.startswith("after 300 steps the answers are no better than guessing: ")


@pytest.mark.parametrize(
    ("evidence", "leapt_at", "cause"),
    [
        (Evidence(), 0, "nothing is learned yet. Most often labels do not belong to their images"),
        (Evidence(0.2, 8.0, 0.9), 120, "the loss leapt at step 120"),
        (Evidence(contradictions=0.2), 0, "labels contradict each other, 20% of the training"),
        (Evidence(letter_height=8.0), 0, "letters are about 8 pixels high"),
        (Evidence(0.0, 20.0, 0.26), 0, "Labels that do not belong to their images look like that"),
        (Evidence(0.0, 20.0, 0.9), 0, "the labels fit the images: .* 90% of the"),
        (Evidence(0.001, 14.0, 0.9), 0, "the labels fit the images"),
    ],
)
def test_what_is_seen_decides_which_cause_of_chance_is_named(evidence, leapt_at, cause):
    [line] = lines_of(AT_CHANCE, evidence=evidence, leapt_at=leapt_at)
    assert re.search(cause, line)


def test_perfect_answers_of_one_frequent_class_are_not_chance():
    assert lines_of([(1.0, 1.0, 0.1, 1.0)] * 50, chance=0.7) == []
    assert lines_of([(1.0, 1.0, 0.1, 1.0)] * 50, chance=1.0) == []


def test_training_set_far_above_test_set():
    [line] = lines_of([(0.99, 0.98, 0.1, 0.6)] * 50)
    assert "98% of the training images are right and 60% of the test images" in line
    assert "--forecast" in line


def test_loss_that_stopped_falling():
    falling = [(0.6, 0.4, 2 - i / 50, 0.4) for i in range(50)]
    assert lines_of(falling) == []
    stopped = falling + [(0.6, 0.4, 1.0, 0.4)] * 60
    [line] = lines_of(stopped)
    assert "the loss has stopped falling at 40% of the training images right" in line
    assert lines_of(stopped, cycle_stop=1800) == []  # the rate is still high


def test_chance_accuracy_is_that_of_the_most_frequent_class_at_each_position():
    assert chance_accuracy(np.array([[0, 1], [0, 2], [0, 3], [1, 1]])) == (3 / 4 + 2 / 4) / 2


def test_chance_accuracy_where_lengths_differ_is_that_of_texts_without_a_look():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 36, (2000, 6))
    lengths = rng.integers(4, 7, 2000)
    labels[np.arange(6) >= lengths[:, np.newaxis]] = PAD_ID
    assert 0.06 < chance_accuracy(labels) < 0.12  # characters in order count, wherever they are
    long = np.full((1001, 8), PAD_ID)
    long[:, :4] = rng.integers(0, 36, (1001, 4))
    long[0] = 1
    assert chance_accuracy(long) < 0.1  # not the single image's last columns


def test_labels_with_few_classes_are_blamed_only_where_they_do_not_fit():
    at_chance = [(0.45, 0.1, 1.4, 0.1)] * 50
    [line] = lines_of(at_chance, chance=0.4, evidence=Evidence(0.0, 20.0, 0.95))
    assert "the labels fit the images" in line
    [line] = lines_of(at_chance, chance=0.4, evidence=Evidence(0.0, 20.0, 0.42))
    assert "Labels that do not belong" in line


# --- after training ---


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        (0.998, 0.993, ""),
        (1.0, 0.9, "more images would pay"),
        (0.95, 0.93, "more steps would pay"),
        (0.0, 0.0, "more steps would pay .600, say"),
        (0.999, 0.97, "more images"),
    ],
)
def test_what_would_bring_most_after_a_training(train, test, expected):
    lines = advice(Scores(train, train, 0.1), Scores(test, test, 0.1), 300)
    assert re.search(expected, "".join(lines)) and len(lines) == bool(expected)


def test_more_steps_are_not_advised_where_the_loss_no_longer_fell():
    [line] = advice(Scores(0.9, 0.9, 0.1), Scores(0.9, 0.88, 0.1), 300, ended_early=True)
    assert "more steps did not help" in line


@pytest.mark.parametrize(
    ("train", "steps", "wider", "said"),
    [
        (0.87, 3000, "wide", True),
        (0.87, 3000, "", False),
        (0.87, 999, "wide", False),
        (0.99, 3000, "wide", False),
    ],
)
def test_a_wider_network_is_advised_where_training_images_stay_wrong(train, steps, wider, said):
    lines = advice(Scores(train, train, 0.1), Scores(0.7, 0.7, 0.1), steps, wider)
    assert len(lines) == 1 + said
    if said:
        assert '"network": "wide"' in lines[1]
