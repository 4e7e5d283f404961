"""What a training leaves to look at."""

import pytest

from cnnlib.errors import CaptchaError
from cnnlib.evaluation.metrics import Scores
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.training.history import History, TensorBoard, TrainingRecord, read_rows
from tests.helpers import is_png
from tests.training.helpers import history_steps

VALUES = {"loss/train": 1.0, "accuracy/train_images": 0.25}


def test_history_goes_on_where_the_run_does(tmp_path):
    history = History(tmp_path, 0)
    for step in (10, 20, 30):
        history.add(step, VALUES)
    history.save()
    resumed = History(tmp_path, 20)  # the save of 30 was cut off
    resumed.add(30, VALUES)
    resumed.add(40, VALUES)
    resumed.save()
    assert history_steps(tmp_path) == [10, 20, 30, 40]
    assert (tmp_path / "accuracy.png").stat().st_size > 1000
    fresh = History(tmp_path, 0)
    fresh.add(10, VALUES)
    fresh.save()
    assert history_steps(tmp_path) == [10]


@pytest.mark.parametrize(
    "text",
    [
        "step,loss/train\n10,half a ro\n",
        "other,columns\n1,2\n",
        "step\n10\n",
        "\ufeff",
        "",
    ],
)
def test_damaged_history_does_not_end_a_training(tmp_path, text):
    (tmp_path / "history.csv").write_text(text, encoding="utf-8")
    history = History(tmp_path, 10)
    history.add(20, VALUES)
    history.save()
    assert history_steps(tmp_path) == [20]


def test_report_does_not_cost_what_those_before_it_do(tmp_path):
    (tmp_path / "history.csv").write_text("step,other\n10,1\n20,2\n", encoding="utf-8")
    history = History(tmp_path, 20)
    history.add(30, VALUES)  # of other columns
    rows = history._rows
    for step in range(40, 1000, 10):
        history.add(step, VALUES)
    assert history._rows is rows and len(rows) == 97
    history.save()
    assert history_steps(tmp_path) == list(range(30, 1000, 10))


def test_without_reports_nothing_is_written(tmp_path):
    History(tmp_path, 0).save()
    assert not list(tmp_path.iterdir())


def test_log_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CaptchaError, match="cannot write to .*correct log_dir"):
        TensorBoard(tmp_path / "file")


def test_full_disk_is_reported_once_and_what_was_written_before_is_whole(tmp_path, monkeypatch):
    record = TrainingRecord(tmp_path / "logs", tmp_path / "model", 0)
    scores = Scores(0.5, 0.25, 1.5)
    record.add(10, scores, scores, 0.01, 800.0)

    def full(self, data):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tf.io.TFRecordWriter, "write", full)
        with pytest.raises(CaptchaError, match="cannot write to .*logs.*No space left.*log_dir in"):
            record.add(20, scores, scores, 0.01, 800.0)
        record.add(30, scores, scores, 0.01, 800.0)
    record.add(40, scores, scores, 0.01, 800.0)
    record.save()
    record.close()
    assert history_steps(tmp_path / "model") == [10, 20, 30, 40]
    [events] = (tmp_path / "logs").glob("*/events.out.tfevents.*")
    assert [e.step for e in tf.train.summary_iterator(str(events)) if e.summary.value] == [10]


def test_trainings_that_start_at_the_same_moment_write_files_of_their_own(tmp_path):
    boards = [TensorBoard(tmp_path) for _ in range(3)]
    for board in boards:
        board.close()
    assert len(list(tmp_path.glob("*/events.out.tfevents.*"))) == 3


def test_record_goes_to_tensorboard_at_once_and_to_the_model_folder_when_it_is_saved(tmp_path):
    record = TrainingRecord(tmp_path / "logs", tmp_path / "model", 0)
    record.add(10, Scores(0.5, 0.25, 1.5), Scores(0.4, 0.2, 2.0), 0.01, 800.0)
    assert not (tmp_path / "model").exists()
    record.save()
    record.close()
    expected = {
        "loss/train": 1.5,
        "loss/test": 2.0,
        "accuracy/train_characters": 0.5,
        "accuracy/train_images": 0.25,
        "accuracy/test_characters": 0.4,
        "accuracy/test_images": 0.2,
        "learning_rate": 0.01,
        "images_per_second": 800.0,
    }
    assert read_rows(tmp_path / "model" / "history.csv") == [{"step": 10} | expected]
    assert is_png(tmp_path / "model" / "accuracy.png")
    [events] = (tmp_path / "logs").glob("*/events.out.tfevents.*")
    values = {
        value.tag: pytest.approx(value.simple_value)
        for event in tf.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    assert values == expected
