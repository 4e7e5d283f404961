"""Scores, intervals, confusions and calibration, against values computed by hand."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlib.dataset.labels import PAD_ID, ids_to_label
from cnnlib.evaluation import metrics
from cnnlib.evaluation.batch_test import compare
from cnnlib.evaluation.metrics import Scores
from cnnlib.recognizer import Prediction


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


def scored(right, loss=0.1):
    right = np.array(right, bool)
    return Scores(0.9, float(right.mean()), loss, right)


# Images right in one and wrong in the other, the other way round, and whether the first is above.
@pytest.mark.parametrize(
    ("gained", "lost", "above"),
    [
        (0, 0, False),
        (1, 0, False),
        (2, 0, True),
        (4, 2, False),
        (5, 2, True),
        (30, 22, True),
        (30, 23, False),
        (2, 30, False),
    ],
)
@pytest.mark.parametrize("both", [0, 50, 5000])
def test_scores_of_the_same_images_are_told_apart_by_those_that_differ(gained, lost, above, both):
    one = scored([1] * both + [1] * gained + [0] * lost + [0] * 10)
    other = scored([1] * both + [0] * gained + [1] * lost + [0] * 10)
    assert one.clearly_above(other, len(one.right)) is above
    assert other.clearly_above(one, len(one.right)) == (lost - gained > np.sqrt(gained + lost))


def test_better_is_decided_by_the_images_that_differ_then_by_loss():
    few = scored([1] * 990 + [0] * 10, loss=0.2)
    more = scored([1] * 995 + [0] * 5, loss=0.3)  # 5 more and none less: not chance
    others = scored([0] * 5 + [1] * 990 + [0] * 5, loss=0.1)  # 5 others
    assert more.better_than(few, 1000) and not few.better_than(more, 1000)
    assert others.better_than(few, 1000) and not few.better_than(others, 1000)


def test_scores_know_which_images_are_right_and_are_the_same_without():
    logits = logits_for([[0, 1], [2, 2], [1, 0]], 3)
    char_ids = np.array([[0, 1], [2, 0], [2, 2]])
    scores = metrics.scores(logits, char_ids, np.array([1.0, 2.0, 6.0]), False)
    assert scores.right.tolist() == [True, False, False]
    assert scores == Scores(3 / 6, 1 / 3, 3.0) and "right" not in repr(scores)
    assert scores.to_json() == {"char_accuracy": 0.5, "image_accuracy": 1 / 3, "loss": 3.0}
    json.dumps(scores.to_json())


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


# --- one character accuracy ---


@st.composite
def labels_and_answers(draw):
    """Labels and texts of 1 to 4 of two characters, as char_ids [N, 4]."""
    count = draw(st.integers(1, 8))
    lengths = st.lists(st.integers(1, 4), min_size=count, max_size=count)
    ids = np.array(draw(st.lists(st.integers(0, 1), min_size=8 * count, max_size=8 * count)))
    both = ids.reshape(2, count, 4)
    for texts in both:
        for text, length in zip(texts, draw(lengths), strict=True):
            text[length:] = PAD_ID
    return both


def logits_of(answers):
    """Return logits [N, 4, 3] that are decoded to these answers; the last class is the end."""
    return logits_for(np.where(answers == PAD_ID, 2, answers), 3, strength=50.0)


@given(labels_and_answers())
def test_training_and_batch_test_count_the_same_characters(both):
    char_ids, answers = both
    trained = metrics.scores(logits_of(answers), char_ids, np.zeros(len(answers)), True)
    labels, texts = ([ids_to_label(ids, "ab") for ids in part] for part in both)
    predictions = [Prediction(text, 1.0, (1.0,) * len(text)) for text in texts]
    tested = compare([""] * len(labels), labels, predictions, 1.0)
    assert trained.char_accuracy == tested.char_accuracy
    assert trained.image_accuracy == tested.image_accuracy
    equal = [len(label) == len(text) for label, text in zip(labels, texts, strict=True)]
    if all(equal):  # as version 2 counted
        at_their_place = (answers == char_ids)[char_ids != PAD_ID].mean()
        assert trained.char_accuracy == at_their_place


def test_a_missing_character_leaves_those_after_it_right():
    char_ids = np.array([[0, 1, 0, 0], [0, 1, 1, PAD_ID]])
    answers = np.array([[1, 0, 0, PAD_ID], [0, 1, 0, 1]])
    scores = metrics.scores(logits_of(answers), char_ids, np.zeros(2), True)
    assert (scores.char_accuracy, scores.image_accuracy) == (6 / 7, 0.0)
