"""Folders whose names TensorFlow takes for patterns: all works there as elsewhere."""

import os

import pytest

from cnnlib.evaluation import TestBatch
from cnnlib.networks.model_folder import ModelFolder
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.recognizer import Recognizer
from cnnlib.training import TrainModel, loop
from tests.helpers import new_project
from tests.training.helpers import checkpoint_files, info, make_ready, stopped_after, train

NAME = "a[b]c (1)" if os.name == "nt" else "a[b]c*d?\\ {e} 验"


@pytest.fixture
def odd(tmp_path):
    project = make_ready(new_project(tmp_path / NAME / "[project]"))
    project.change(model_save_dir="model[0]/", log_dir="logs?[x]/")
    return project


def test_everything_works_in_a_folder_whose_name_looks_like_a_pattern(odd, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(loop, "stop_signals", stopped_after(10, range(10)))
        assert train(odd).interrupted
    assert train(odd).steps == 19
    assert "the run that was interrupted goes on after step 1" in capsys.readouterr().out
    assert train(odd, cycle_stop=10).steps == 10
    assert "a new run on the weights of " in capsys.readouterr().out
    folder = ModelFolder(odd.sample.model_save_dir)
    assert checkpoint_files(odd) == {f"{info(odd).best}.index", f"{info(odd).last}.index"}
    assert not [path for path in folder.full.iterdir() if "tempstate" in path.name]
    result = TestBatch.from_config(odd.sample).test_batch()
    assert result.total == 20
    with Recognizer.from_config(odd.sample) as recognizer:
        assert recognizer.load_newer() is None
        train(odd, fresh=True, cycle_stop=10)
        newer = recognizer.load_newer()
        assert newer is not None
        newer.close()
    assert TrainModel.from_config(odd.sample).recognize_captcha().text
    events = [
        value.tag
        for file in odd.sample.log_dir.full.rglob("events.out.tfevents.*")
        for event in tf.train.summary_iterator(str(file))
        for value in event.summary.value
    ]
    assert "accuracy/test_images" in events
    assert (folder.full / "history.csv").exists()
