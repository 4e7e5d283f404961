"""What a training leaves to look at."""

import csv

import pytest

from cnnlib.errors import CaptchaError
from cnnlib.reporting import History, TensorBoard

VALUES = {"loss/train": 1.0, "accuracy/train_images": 0.25}


def steps(folder):
    with open(folder / "history.csv", encoding="utf-8", newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def test_history_goes_on_where_the_run_does(tmp_path):
    history = History(tmp_path, 0)
    for step in (10, 20, 30):
        history.add(step, VALUES)
    history.save()
    resumed = History(tmp_path, 20)  # the save of 30 was cut off
    resumed.add(30, VALUES)
    resumed.add(40, VALUES)
    resumed.save()
    assert steps(tmp_path) == [10, 20, 30, 40]
    assert (tmp_path / "accuracy.png").stat().st_size > 1000
    fresh = History(tmp_path, 0)
    fresh.add(10, VALUES)
    fresh.save()
    assert steps(tmp_path) == [10]


@pytest.mark.parametrize("text", [
    "step,loss/train\n10,half a ro\n", "other,columns\n1,2\n", "step\n10\n", "\ufeff", "",
])
def test_damaged_history_is_no_reason_to_stop_a_training(tmp_path, text):
    (tmp_path / "history.csv").write_text(text, encoding="utf-8")
    history = History(tmp_path, 10)
    history.add(20, VALUES)
    history.save()
    assert steps(tmp_path) == [20]


def test_nothing_reported_writes_nothing(tmp_path):
    History(tmp_path, 0).save()
    assert not list(tmp_path.iterdir())


def test_log_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CaptchaError, match="cannot write to .*correct log_dir"):
        TensorBoard(tmp_path / "file")
