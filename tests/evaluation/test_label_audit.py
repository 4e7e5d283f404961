"""Labels that a model doubts, the most doubtful first, and what it confuses."""

import dataclasses

import numpy as np
import pytest

from cnnlib.console import SilentReporter
from cnnlib.dataset.image_set import load_images
from cnnlib.dataset.verification import Rules
from cnnlib.evaluation import label_audit
from cnnlib.evaluation.label_audit import audit_labels, doubtful_labels, likelihood_ratios
from cnnlib.evaluation.metrics import confusions
from cnnlib.networks.decoding import decode
from cnnlib.recognizer import Recognizer


def ratios(probabilities, char_ids):
    confidences = decode(probabilities, has_end_class=False)[1]
    return likelihood_ratios(probabilities, char_ids, confidences)


def test_unlikely_labels_are_doubtful_the_least_likely_first():
    sure, torn = [0.001, 0.001, 0.998], [0.3, 0.3, 0.4]
    probabilities = np.array([[sure, torn], [sure, sure], [torn, torn], [sure, sure]])
    char_ids = np.array([[0, 2], [0, 1], [0, 1], [2, 2]])
    assert doubtful_labels(ratios(probabilities, char_ids)) == [1, 0]


def test_ratio_of_the_answer_is_1():
    probabilities = np.array([[[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]]])
    assert ratios(probabilities, np.array([[2, 2]])) == pytest.approx([1])
    assert ratios(probabilities, np.array([[1, 0]])) == pytest.approx([3 / 14])


@pytest.fixture(scope="module")
def images(trained):
    return load_images(trained.sample.test_image_dir, Rules.from_config(trained.sample))


def test_audit_finds_wrong_labels_and_counts_confusions(trained, images, monkeypatch, capfd):
    monkeypatch.setattr(label_audit, "IMAGES_PER_STEP", 16)  # it takes several
    with Recognizer.from_config(trained.sample) as recognizer:
        predictions = recognizer.predict_pixels(images.pixels)
        answers = [p.text for p in predictions]
        read_as_00 = [i for i, answer in enumerate(answers) if answer == "00"]
        wrong = max(read_as_00, key=lambda i: predictions[i].confidence)
        char_ids = images.char_ids.copy()
        char_ids[wrong] = 1
        changed = dataclasses.replace(images, char_ids=char_ids)
        audit = audit_labels(recognizer, changed, SilentReporter())
        probabilities = recognizer.probabilities(images.pixels)  # all at once
        with monkeypatch.context() as patch:
            patch.setattr(label_audit, "DOUBTFUL_RATIO", 2)  # all
            everything = audit_labels(recognizer, changed, SilentReporter()).doubtful
    [found] = [item for item in audit.doubtful if item.name == images.names[wrong]]
    assert (found.label, found.answer) == ("11", answers[wrong])
    np.testing.assert_array_equal(found.pixels, images.pixels[wrong])
    expected = doubtful_labels(ratios(probabilities, char_ids))
    assert {item.name for item in audit.doubtful} == {images.names[i] for i in expected}
    assert [item.answer for item in sorted(everything, key=lambda item: item.name)] == answers
    counted = sum(count for _, _, count in confusions(audit.pairs))
    labels = changed.labels(("0", "1"))
    assert counted == sum(
        a != b for pair in zip(labels, answers, strict=True) for a, b in zip(*pair, strict=True)
    )
    assert capfd.readouterr().out == ""
