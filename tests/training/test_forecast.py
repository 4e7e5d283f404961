"""The forecast trains on parts, leaves the model alone, and extends what it measured."""

import pytest

from cnnlib.dataset.image_set import load_images
from cnnlib.dataset.verification import Rules
from cnnlib.errors import SampleError
from cnnlib.recognizer import Recognizer
from cnnlib.training import TrainModel
from cnnlib.training.forecast import Forecast, Part, forecast, summary


def test_error_falls_by_the_ratio_that_was_measured():
    made = Forecast(Part(250, 1000, 200), Part(500, 1000, 160), 60)
    assert made.expected_wrong(0) == pytest.approx(0.16, rel=0.01)
    assert made.expected_wrong(1) == pytest.approx(0.128, rel=0.01)
    assert made.expected_wrong(2) == pytest.approx(0.1024, rel=0.01)
    lines = list(summary(made))
    assert lines[0] == "    250 images: 80.0% right, measured on 1000 others (77.4% to 82.4%)"
    assert lines[3] == "   2000 images: about 89.7% right, expected (twice as many)"


def test_a_steep_beginning_is_not_expected_to_go_on():
    made = Forecast(Part(250, 1000, 400), Part(500, 1000, 100), 60)
    assert made.expected_wrong(1) == pytest.approx(0.07, rel=0.01)


def test_more_images_are_never_expected_to_harm():
    made = Forecast(Part(250, 100, 10), Part(500, 100, 12), 60)
    assert made.expected_wrong(2) == made.expected_wrong(0) == pytest.approx(0.12, rel=0.05)


def test_no_wrong_answer_is_no_certainty():
    assert Forecast(Part(25, 50, 3), Part(50, 50, 0), 60).expected_wrong(0) > 0.005


def test_parts_are_measured_on_images_that_they_did_not_have(trained, monkeypatch):
    c = trained.sample
    before = {path: path.read_bytes() for path in c.model_save_dir.full.iterdir()}
    train, test = (
        load_images(folder, Rules.from_config(c))
        for folder in (c.train_image_dir, c.test_image_dir)
    )
    seen = []
    train_subset, recognize = TrainModel.train_subset, Recognizer.predict_pixels

    def watched_training(self, part, test, count, unlabelled):
        seen.append(set(part.names))
        assert count == 600
        assert unlabelled is None
        return train_subset(self, part, test, count)

    def watched_reading(self, pixels):
        if len(pixels) > 2:  # not the first ones, which are blank
            read = {pixels[i].tobytes() for i in range(len(pixels))}
            trained_on = {
                p.tobytes()
                for name, p in zip(train.names, train.pixels, strict=True)
                if name in seen[-1]
            }
            assert not read & trained_on
        return recognize(self, pixels)

    monkeypatch.setattr(TrainModel, "train_subset", watched_training)
    monkeypatch.setattr(Recognizer, "predict_pixels", watched_reading)
    made = forecast(c, train, test, 10)
    assert [len(part) for part in seen] == [150, 300]
    assert (made.quarter.images, made.quarter.tested) == (150, 450)
    assert (made.half.images, made.half.tested, made.steps) == (300, 300, 10)
    assert 0 < made.half.share_wrong <= 1  # ten steps teach little
    assert before == {path: path.read_bytes() for path in c.model_save_dir.full.iterdir()}


def test_too_few_images_are_refused(trained):
    c = trained.sample
    few = load_images(c.test_image_dir, Rules.from_config(c))
    with pytest.raises(SampleError, match="holds 40 images: a forecast needs at least 100"):
        forecast(c, few, few, 10)
