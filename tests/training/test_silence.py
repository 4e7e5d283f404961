"""A program that uses the library decides itself what to print: nothing comes of its own."""

import re

import pytest

from cnnlib.config import load_sample_config
from cnnlib.console import SilentReporter
from cnnlib.dataset import split, verify, verify_and_split
from cnnlib.dataset.image_set import load_images
from cnnlib.dataset.verification import Rules
from cnnlib.evaluation import TestBatch
from cnnlib.evaluation.label_audit import audit_labels
from cnnlib.recognizer import Recognizer
from cnnlib.training import TrainModel, loop
from cnnlib.training.forecast import measure_part
from gen_image.generator import draw_samples
from tests.training.helpers import stopped_after

# What TensorFlow's C++ writes: "2026-11-25 10:00:00.123456: I ...", "I0000 00:00:1732528800.1 ...".
OF_TENSORFLOW = re.compile(r"(\d{4}-\d\d-\d\d \d\d:|[IWE]\d{4} |WARNING: All log messages before)")


@pytest.fixture
def silence(capfd):
    """Fail a test that wrote something."""
    yield SilentReporter()
    out, err = capfd.readouterr()
    ours = [line for line in err.splitlines() if not OF_TENSORFLOW.match(line)]
    assert (out, ours) == ("", [])


def test_training_and_batch_test(ready, silence):
    (ready.root / "sample" / "train" / "01_broken.png").touch()
    (ready.root / "sample" / "train" / "labels.csv").touch()
    config = load_sample_config(ready.config_path, cycle_stop=20, enable_gpu=True)
    assert TrainModel.from_config(config, reporter=silence).train_cnn().steps == 20
    (ready.root / "sample" / "train" / "01_broken.png").unlink()  # it may choose this one
    assert TrainModel.from_config(config, reporter=silence).recognize_captcha().text
    (ready.root / "sample" / "train" / "01_broken.png").touch()
    folders = config.test_image_dir, config.char_set, config.model_save_dir
    test = TestBatch(*folders, spec=config.spec, reporter=silence)
    result = test.test_batch()
    assert result.total == 20
    test.save_errors(result, ready.root / "wrong")
    images = load_images(config.train_image_dir, Rules.from_config(config), reporter=silence)
    with Recognizer.from_config(config) as recognizer:
        audit_labels(recognizer, images, silence)
    order = list(range(len(images)))
    assert measure_part(config, images, images, order, 20, 40, 2, silence).images == 20


def test_interrupted_training(ready, silence, monkeypatch):
    monkeypatch.setattr(loop, "stop_signals", stopped_after(10, range(10)))
    assert TrainModel.from_config(ready.sample, reporter=silence).train_cnn().interrupted


def test_drawing_verification_and_split(project, folders, silence):
    assert draw_samples(project.captcha, seed=0, reporter=silence) == 20
    origin = project.sample.origin_image_dir
    (origin.full / "broken_1.png").touch()
    assert len(verify(origin, 40, 24, "png", char_set="0123", reporter=silence)) == 1
    verify_and_split(project.sample, reporter=silence)
    assert [path.name for path in origin.full.iterdir()] == ["broken_1.png"]
    folders.fill(3)
    folders.train.mkdir()
    (folders.train / "0001_x.png").touch()
    moving = ".0002_x.png.moving"  # of an interrupted move, and of another image
    (folders.origin / moving).touch()
    split(folders.origin, folders.train, folders.test, [moving], reporter=silence)
    assert folders.names()[0] == [moving, "0001_x.png"]
