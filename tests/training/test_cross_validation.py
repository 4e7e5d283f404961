"""A small set is measured as a whole: each image by a training that had not seen it."""

import numpy as np
import pytest

import doctor
from cnnlib.console import SilentReporter
from cnnlib.dataset.image_set import ImageSet
from cnnlib.errors import SampleError
from cnnlib.training import cross_validation
from cnnlib.training.cross_validation import CrossValidation, cross_validate


def images(count):
    ids = np.zeros((count, 2), np.int32)
    return ImageSet([f"{i}" for i in range(count)], np.zeros((count, 24, 40), np.uint8), ids)


def test_every_image_is_read_once_by_a_training_without_it(project, monkeypatch):
    parts = []

    def count_wrong(config, train, test, others, whole, steps, reporter):
        parts.append((set(train.names), set(test.names), set(others.names)))
        return 1

    monkeypatch.setattr(cross_validation, "count_wrong", count_wrong)
    found = cross_validate(project.sample, [images(103)], 5, 7, SilentReporter())
    assert found == CrossValidation(103, 98, 5, 7)
    assert sorted(name for *_, others in parts for name in others) == sorted(
        str(i) for i in range(103)
    )
    for train, test, others in parts:
        assert not train & test and not (train | test) & others
        assert len(train | test | others) == 103 and len(test) == 8
    assert found.summary().startswith("95.1% of all 103 images right (89.1% to 97.9%)")


@pytest.mark.parametrize("count", [49, 5001])
def test_too_few_or_too_many_images_are_refused(project, count):
    with pytest.raises(SampleError, match=f"{count} images: cross-validation in 5 parts needs"):
        cross_validate(project.sample, [images(count)], 5, 1, SilentReporter())


def test_doctor_measures_on_all_images(ready, capsys):
    ready.change(cycle_stop=2)
    before = ready.sample.model_save_dir.full.exists()
    assert doctor.main(["--cross-validate", "--config", str(ready.config_path)]) == 0
    assert "of all 60 images right" in capsys.readouterr().out
    assert ready.sample.model_save_dir.full.exists() == before
