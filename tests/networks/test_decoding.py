"""Decode network output: the most probable text, and how likely it is."""

import itertools

import numpy as np
import pytest

from cnnlib.dataset.labels import PAD_ID
from cnnlib.evaluation import metrics
from cnnlib.networks.decoding import class_ids, counted_positions, decode, sequence_probability

POSITIONS, CHARACTERS = 3, 2


@pytest.fixture
def probabilities():
    """Of 50 images with up to 3 of 2 characters; the first position is never the end."""
    raw = np.random.default_rng(0).random((50, POSITIONS, CHARACTERS + 1)) ** 3
    raw[:, 0, -1] = 0
    return raw / raw.sum(axis=-1, keepdims=True)


def all_texts(probabilities):
    """Return {text: probability} of one image, by trying every text."""
    found = {}
    for length in range(1, POSITIONS + 1):
        for text in itertools.product(range(CHARACTERS), repeat=length):
            likely = np.prod([probabilities[k, c] for k, c in enumerate(text)])
            if length < POSITIONS:
                likely *= probabilities[length, -1]
            found[text] = likely
    return found


def test_the_most_probable_text_is_found_and_its_probability_is_right(probabilities):
    char_ids, confidences = decode(probabilities, has_end_class=True)
    lengths = set()
    for ids, likely, image in zip(char_ids, confidences, probabilities, strict=True):
        texts = all_texts(image)
        assert sum(texts.values()) == pytest.approx(1)
        best = max(texts, key=texts.get)
        assert tuple(ids[ids != PAD_ID]) == best
        assert likely.prod() == pytest.approx(texts[best])
        assert (likely[len(best) :] == 1).all() and (ids[len(best) :] == PAD_ID).all()
        lengths.add(len(best))
    assert lengths == {1, 2, 3}


def test_any_text_has_its_probability(probabilities):
    for text, likely in all_texts(probabilities[0]).items():
        ids = np.array([[*text, *[PAD_ID] * (POSITIONS - len(text))]])
        assert sequence_probability(probabilities[:1], ids) == pytest.approx(likely)


def test_without_an_end_class_each_position_is_read():
    probabilities = np.array([[[0.2, 0.7, 0.1], [0.5, 0.2, 0.3]]])
    char_ids, confidences = decode(probabilities, has_end_class=False)
    assert char_ids.tolist() == [[1, 0]] and confidences.tolist() == [[0.7, 0.5]]
    assert sequence_probability(probabilities, char_ids) == pytest.approx([0.35])


def test_scores_and_temperature_leave_out_what_comes_after_the_end(probabilities):
    char_ids, _ = decode(probabilities, has_end_class=True)
    logits = np.log(probabilities + 1e-12)
    scores = metrics.scores(logits, char_ids, np.zeros(50), True)
    assert (scores.char_accuracy, scores.image_accuracy) == (1, 1)
    temperature = metrics.fit_temperature(logits, char_ids)
    after = ~counted_positions(char_ids)
    assert after.any()
    changed = np.where(after[..., np.newaxis], 5.0, logits)
    assert metrics.fit_temperature(changed, char_ids) == temperature
    shorter = char_ids.copy()
    shorter[:, -1] = PAD_ID
    cut = metrics.scores(logits, shorter, np.zeros(50), True)
    assert 0 < cut.image_accuracy < 1


def test_a_text_depends_on_its_characters_and_its_end():
    char_ids = np.array([[1, 0, 1], [0, PAD_ID, PAD_ID]])
    assert class_ids(char_ids, CHARACTERS + 1).tolist() == [[1, 0, 1], [0, 2, 2]]
    assert counted_positions(char_ids).tolist() == [[True, True, True], [True, True, False]]
