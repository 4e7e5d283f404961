"""What a training starts from: shipped weights, random ones, or another model's."""

import io
import json
import re
import string
from contextlib import redirect_stdout

import numpy as np
import pytest

from cnnlib.errors import ConfigError, ModelError
from cnnlib.networks import starting_weights
from cnnlib.networks.checkpoint import read_checkpoint
from cnnlib.networks.starting_weights import BACKBONE_DIR, read_start
from cnnlib.training.stepping import Stepper
from tests.helpers import new_project
from tests.training.helpers import info, make_ready, train


@pytest.fixture
def attention(ready):
    """A project with the default network, whose images are not its subject."""
    ready.change(network="resnet_attention", cycle_stop=2, cycle_save=2)
    return ready


class FirstTraining:
    """A training of the default network: its project, what it said, and the rates of its steps."""

    def __init__(self, root, **changed):
        self.project, self.rates = make_ready(new_project(root)), []
        self.project.change(cycle_stop=5, cycle_save=5, network="resnet_attention", **changed)
        step, said = Stepper.step, io.StringIO()

        def recorded(loop, batch, rate):
            self.rates.append(rate)
            step(loop, batch, rate)

        with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
            patch.setattr(Stepper, "step", recorded)
            train(self.project)
        self.said = said.getvalue()


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A training from the shipped weights; for tests that change nothing."""
    return FirstTraining(tmp_path_factory.mktemp("shipped") / "project")


@pytest.fixture(scope="module")
def at_random(tmp_path_factory):
    """A training from random weights; for tests that change nothing."""
    return FirstTraining(tmp_path_factory.mktemp("random") / "project", start="random")


def best_weights(project):
    return read_checkpoint(project.sample.model_save_dir.full / info(project).best)


def test_shipped_weights_are_the_default_and_are_said(shipped, tmp_path):
    assert "from the shipped backbone, which knows 100% of the characters" in shipped.said
    assert info(shipped.project).run.started
    copy = shipped.project.copy(tmp_path / "copy")
    train(copy, cycle_stop=1)
    assert info(copy).run.started  # the weights still know it


def test_random_weights_are_a_choice(at_random):
    assert "from random weights" in at_random.said
    assert not info(at_random.project).run.started


@pytest.mark.parametrize("changed", [{"network": "cnn5"}, {"recipe": "specification"}])
def test_what_has_no_shipped_weights_starts_at_random(attention, capsys, changed):
    attention.change(**changed, cycle_stop=1)
    train(attention)
    assert "from random weights" in capsys.readouterr().out


def test_started_training_has_a_lower_rate(shipped, at_random):
    assert len(shipped.rates) == 5
    assert np.allclose(np.array(shipped.rates) * 2, at_random.rates)


def test_weights_of_another_model_are_taken_by_character(at_random, tmp_path, capsys):
    known = best_weights(at_random.project)
    copy = at_random.project.copy(tmp_path / "copy")
    copy.sample.model_save_dir.full.rename(copy.root / "first")
    copy.change(start="first", char_set="43210", image_width=56, resize=True, cycle_stop=1)
    train(copy)
    assert "from the model in first, which knows 80% of the characters" in capsys.readouterr().out
    values = best_weights(copy)
    rows, old = values["classifier/kernel"], known["classifier/kernel"]
    step = 0.05  # of one step at the rate of the first
    assert np.abs(rows[:, 1:] - old[:, ::-1]).max() < step
    assert np.abs(rows[:, 0]).max() > 0
    assert (
        np.abs(values["stage3/block2/conv2/kernel"] - known["stage3/block2/conv2/kernel"]).max()
        < step
    )


def test_start_that_is_no_model_is_named(ready):
    with pytest.raises(ModelError, match="no model in nowhere"):
        train(ready, start="nowhere")
    ready.change(start="")
    with pytest.raises(ConfigError, match="'start' is ''"):
        train(ready)


def test_model_of_another_network_is_refused(saved):
    saved.sample.model_save_dir.full.rename(saved.root / "first")
    with pytest.raises(ModelError, match="no layer of the model in first fits this network"):
        train(saved, start="first", network="resnet_attention")


def test_damaged_backbone_says_what_to_do(attention, monkeypatch, tmp_path):
    monkeypatch.setattr(starting_weights, "BACKBONE_DIR", tmp_path)
    assert read_start("backbone", "resnet_attention") is None  # a copy without it
    description = json.loads((BACKBONE_DIR / "backbone.json").read_text(encoding="utf-8"))
    (tmp_path / "backbone.json").write_text(json.dumps(description), encoding="utf-8")
    (tmp_path / "resnet_attention.npz").write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(ConfigError, match='set "start": "random"'):
        train(attention)


def test_shipped_weights_are_those_of_the_network(shipped):
    start = read_start("backbone", "resnet_attention")
    saved = best_weights(shipped.project)
    assert start and start.values.keys() == saved.keys()
    assert all(np.isfinite(value).all() for value in start.values.values())
    assert start.known_share(tuple(string.ascii_letters + string.digits)) == 1
    assert start.known_share(("a", "中")) == 0.5


def test_labels_in_the_other_case_are_understood(attention, draw_images, capsys):
    """Images show upper case, their labels are in lower case."""
    attention.resize(40, 24)  # large enough to be read
    for folder, count in (("train", 40), ("test", 40)):
        directory = attention.root / "sample" / folder
        for file in directory.iterdir():
            file.unlink()
        for file in draw_images(directory, count, characters=tuple("ADEGHRQ"), seed=count):
            file.rename(file.with_name(file.name.lower()))
    attention.change(char_set="adeghrq", cycle_stop=10, cycle_save=10)
    train(attention)
    accuracy = float(re.search(r"验证集\] 字符准确率为 ([0-9.]+)", capsys.readouterr().out)[1])
    assert accuracy > 0.4  # by chance: a seventh


def test_shipped_weights_are_small_enough():
    assert sum(file.stat().st_size for file in BACKBONE_DIR.iterdir()) < 6_000_000
