"""Scores, intervals, confusions and calibration, against values computed by hand."""

import numpy as np
import pytest

from cnnlib.evaluation import metrics
from cnnlib.evaluation.metrics import Scores


def logits_for(char_ids, classes, strength=5.0):
    return strength * np.eye(classes)[np.asarray(char_ids)]


def test_scores_count_characters_and_whole_images():
    logits = logits_for([[0, 1], [2, 2], [1, 0]], 3)
    char_ids = np.array([[0, 1], [2, 0], [2, 2]])
    scores = metrics.scores(logits, char_ids, np.array([1.0, 2.0, 6.0]), False)
    assert scores == Scores(pytest.approx(3 / 6), pytest.approx(1 / 3), 3.0)


@pytest.mark.parametrize(
    ("one", "other", "count", "better"),
    [
        (Scores(0.5, 0.40, 9.0), Scores(0.9, 0.30, 0.1), 1000, True),  # more images right
        (Scores(0.9, 0.30, 0.1), Scores(0.5, 0.40, 9.0), 1000, False),
        (Scores(0.9, 0.96, 0.1), Scores(0.9, 0.98, 0.2), 50, True),  # one image, which may be luck
        (Scores(0.9, 0.96, 0.1), Scores(0.9, 0.98, 0.2), 1000, False),
        (Scores(0.9, 1.00, 0.2), Scores(0.9, 0.98, 0.1), 50, False),
        (Scores(0.9, 1.00, 0.1), Scores(0.9, 1.00, 0.1), 50, False),
    ],
)
def test_better_is_more_images_and_within_chance_less_loss(one, other, count, better):
    assert one.better_than(other, count) is better


# Checked with statsmodels' proportion_confint(method="wilson").
@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [
        (37, 100, 0.2818, 0.4678),
        (0, 50, 0.0, 0.0713),
        (50, 50, 0.9287, 1.0),
        (0, 0, 0.0, 1.0),
        (985, 1000, 0.9754, 0.9909),
    ],
)
def test_interval(right, total, low, high):
    assert metrics.wilson_interval(right, total) == pytest.approx((low, high), abs=1e-4)


def test_confusions_most_frequent_first():
    pairs = [("abc", "abc"), ("oo", "0o"), ("oa", "0b"), ("ab", "bb")]
    assert metrics.confusions(pairs) == [("a", "b", 2), ("o", "0", 2)]


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 2.0])
def test_temperature_makes_confidence_what_it_says(true_temperature):
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, (20_000, 1, 5))
    probabilities = np.exp(honest) / np.exp(honest).sum(axis=-1, keepdims=True)
    char_ids = (rng.random((20_000, 1, 1)) > probabilities.cumsum(axis=-1)).sum(axis=-1)
    fitted = metrics.fit_temperature(honest * true_temperature, char_ids)
    assert fitted == pytest.approx(true_temperature, rel=0.05)


def test_a_test_set_that_is_all_right_gives_no_certainty():
    char_ids = np.arange(40).reshape(10, 4) % 5
    logits = logits_for(char_ids, 5)
    temperature = metrics.fit_temperature(logits, char_ids)
    wrong = 4 / (4 + np.exp(5.0 / temperature))
    assert wrong == pytest.approx(1 / 41 * 4 / 5, rel=0.05)


def test_temperature_of_huge_logits_does_not_overflow():
    char_ids = np.zeros((5, 1), int)
    assert 0.1 <= metrics.fit_temperature(logits_for(char_ids, 3, 1e4), char_ids) <= 10.01


def test_calibration_error_is_the_mean_gap():
    confidences = np.repeat([0.5, 0.9], 500)
    right = np.tile([True, False], 500)  # half of each are right
    assert metrics.calibration_error(confidences, right) == pytest.approx(0.2)
    honest, chance = np.random.default_rng(0).random((2, 20_000))
    assert metrics.calibration_error(honest, chance < honest) < 0.02
    assert metrics.calibration_error(np.array([0.75]), np.array([True])) == 0.25


def test_coverage_of_sure_answers():
    confidences = np.array([0.2, 0.6, 0.85, 0.97])
    rows = metrics.coverage(confidences, np.array([False, False, True, True]))
    assert [(r.threshold, r.answered, r.accuracy) for r in rows[:5:2]] == [
        (0.0, 1.0, 0.5),
        (0.7, 0.5, 1.0),
        (0.9, 0.25, 1.0),
    ]
    assert rows[-1].answered == 0.0 and rows[-1].accuracy is None


def test_classes_that_a_position_cannot_have_do_not_change_the_temperature():
    rng = np.random.default_rng(0)
    logits, char_ids = rng.normal(size=(200, 2, 4)), rng.integers(0, 4, (200, 2))
    without = np.concatenate([logits, np.full((200, 2, 1), -1e4)], axis=-1)
    assert metrics.fit_temperature(without, char_ids) == metrics.fit_temperature(logits, char_ids)


def test_texts_of_another_length_confuse_no_characters():
    pairs = [("abcd", "bcd"), ("ab", "xb"), ("ab", "xb")]
    assert metrics.confusions(pairs) == [("a", "x", 2)]
    assert [metrics.right_characters(*pair) for pair in pairs] == [3, 1, 1]
