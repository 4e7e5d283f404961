"""Sessions of one process share a pool of threads, as large as the first of them says."""

import pytest

from cnnlib.networks import session
from cnnlib.recognizer import Recognizer
from cnnlib.training import TrainModel, trainer

WARNING = "trains on 1 of 2 cores: train in a process of its own"


@pytest.fixture
def run(project, draw_images, monkeypatch, capsys):
    """Return run(*what) -> stderr of a process with two cores that trains and recognises."""
    project.change(network="cnn5", cycle_stop=1)
    for folder in ("train", "test"):
        draw_images(project.root / "sample" / folder, 10)
    for module in (session, trainer):
        monkeypatch.setattr(module, "usable_cores", lambda: 2)

    def call(*what):
        monkeypatch.setattr(session, "_first_threads", None)  # as in a new process
        capsys.readouterr()
        for step in what:
            if step == "train":
                TrainModel.from_config(project.sample).train_cnn()
            else:
                Recognizer.from_config(project.sample).close()
        return capsys.readouterr().err

    return call


def test_training_after_a_recogniser_says_that_it_is_slow(run):
    assert WARNING not in run("train", "recognise", "train")
    assert WARNING in run("recognise", "train")
