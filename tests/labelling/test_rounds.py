"""A round of the loop: the test set stays, worse weights are not used, and it can be stopped."""

from __future__ import annotations

import itertools
import shutil

import numpy as np
import pytest

from cnnlib.console import SilentReporter
from cnnlib.dataset import moving
from cnnlib.errors import CaptchaError, SampleError
from cnnlib.evaluation.metrics import mcnemar_p_value
from cnnlib.labelling import rounds
from cnnlib.labelling.round_files import RoundFiles
from cnnlib.networks.model_folder import ModelFolder
from tests.crashes import Crash, crash_at
from tests.helpers import Project, drawing, names_in

QUIET = SilentReporter()


@pytest.fixture
def project(trained: Project, tmp_path) -> Project:
    """A project of a kind that a model was trained for, without images and model."""
    own = trained.copy(tmp_path / "own")
    for name in ("sample", "model"):
        shutil.rmtree(own.root / name)
    return own


@pytest.fixture
def label(project):
    """Return label(count, seed): put newly labelled images into new_image_dir."""

    def add(count, seed):
        folder = project.sample.new_image_dir.full
        drawing(project)(folder, count, characters=("0", "1"), seed=seed)

    return add


@pytest.fixture
def trains_well(trained, monkeypatch):
    """Let a training end with the trained model; return whether there were new labels for each."""
    asked = []

    def train(config, candidate, done, is_new, reporter):
        asked.append(is_new)
        candidate.adopt(ModelFolder(trained.sample.model_save_dir))
        return True

    monkeypatch.setattr(rounds, "_train", train)
    return asked


def run(project):
    return rounds.run_round(project.sample, reporter=QUIET)


def test_the_test_set_is_drawn_once(project, label, trains_well):
    label(100, seed=1)
    first = run(project)
    tested = names_in(project.sample.test_image_dir.full)
    assert (first.train_images, first.test_images) == (80, 20) == (80, len(tested))
    assert first.installed and first.old_right is None and first.new_right >= 14
    label(50, seed=2)
    second = run(project)
    assert names_in(project.sample.test_image_dir.full) == tested
    assert (second.round, second.train_images) == (2, 130)
    assert second.old_right == second.new_right and second.p_value == 1.0
    assert [r["round"] for r in RoundFiles(project.sample.labelling_dir.full).rounds()] == [1, 2]
    assert not (project.sample.labelling_dir.full / "candidate").exists()


def test_worse_weights_are_not_used(project, label, trains_well, trained, monkeypatch):
    label(100, seed=1)
    run(project)
    before = ModelFolder(project.sample.model_save_dir).read()
    label(20, seed=2)
    right = iter([np.arange(20) >= 8, np.arange(20) >= 0])  # new, old
    monkeypatch.setattr(rounds, "right_images", lambda *_: next(right))
    result = run(project)
    assert not result.installed and (result.old_right, result.new_right) == (20, 12)
    assert "worse and are not used" in result.message and result.p_value < 0.01
    assert ModelFolder(project.sample.model_save_dir).read() == before


def test_a_round_needs_labels_and_new_ones(project, label, trains_well):
    label(40, seed=1)
    with pytest.raises(SampleError, match="40 images are labelled, and a training needs 60"):
        run(project)
    assert len(names_in(project.sample.new_image_dir.full)) == 40
    label(40, seed=2)
    run(project)
    with pytest.raises(SampleError, match="is new since the last round"):
        run(project)


def test_two_rounds_at_a_time_are_refused(project, label):
    label(80, seed=1)
    with (
        RoundFiles(project.sample.labelling_dir.full).locked(),
        pytest.raises(CaptchaError, match="a round is running"),
    ):
        run(project)


def test_a_round_that_was_stopped_goes_on(project, label, trains_well, trained, monkeypatch):
    label(80, seed=1)
    with monkeypatch.context() as stopped:
        stopped.setattr(rounds, "_train", lambda *_: False)
        assert run(project) is None
    candidate = ModelFolder(project.sample.labelling_dir.full / "candidate")
    candidate.adopt(ModelFolder(trained.sample.model_save_dir))  # what was saved before
    assert run(project).installed and trains_well == [False]


def test_a_round_that_was_stopped_before_its_first_save_goes_on(
    project, label, trains_well, monkeypatch
):
    label(80, seed=1)
    with monkeypatch.context() as stopped:
        stopped.setattr(rounds, "_train", lambda *_: False)
        assert run(project) is None
    assert RoundFiles(project.sample.labelling_dir.full).describe()["paused"]
    assert run(project).installed  # nothing is new, and nothing was trained with either


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_the_test_set_is_whole_wherever_its_drawing_is_stopped(
    project, label, tmp_path, monkeypatch, done
):
    monkeypatch.setattr(rounds, "MIN_TEST", 3)
    monkeypatch.setattr(moving, "FILES_PER_RECORD", 2)
    label(10, seed=1)
    for number in itertools.count(1):
        config = project.copy(tmp_path / f"{number}").sample
        files = RoundFiles(config.labelling_dir.full)
        files.folder.mkdir(parents=True)
        with monkeypatch.context() as patch:
            crash_at(patch, number, done=done)
            try:
                rounds._split(config, files, QUIET)
            except Crash:
                pass
            else:
                break
        rounds._split(config, files, QUIET)
        train, test = (names_in(f.full) for f in (config.train_image_dir, config.test_image_dir))
        assert len(test) == 3 and len(train) == 7 and not set(train) & set(test)
        assert not files.test_images()
    assert number > 10 + 3


def test_what_was_trained_and_not_compared_is_not_trained_again(project, trained):
    candidate = ModelFolder(project.sample.labelling_dir.full / "candidate")
    candidate.adopt(ModelFolder(trained.sample.model_save_dir))
    assert rounds._train(project.sample, candidate, [], is_new=False, reporter=QUIET)


def test_a_real_round_trains_from_what_is_there(project, label, trained):
    """The weights in place have learned these captchas; a few steps more do not lose that."""
    ModelFolder(project.sample.model_save_dir).adopt(ModelFolder(trained.sample.model_save_dir))
    label(80, seed=1)
    project.change(cycle_stop=4)
    result = run(project)
    assert result.old_right >= 14 and result.new_right >= 10  # of 20; at chance a quarter is right
    model = ModelFolder(project.sample.model_save_dir).read()
    assert result.installed == (model.best == result.weights)


def test_weights_of_a_round_are_no_start_and_others_are(project, label, trains_well, trained):
    assert rounds._start(project.sample, []) == "backbone"
    own = ModelFolder(project.sample.model_save_dir)
    own.adopt(ModelFolder(trained.sample.model_save_dir))
    assert rounds._start(project.sample, []) == own.path
    label(100, seed=1)
    run(project)
    done = RoundFiles(project.sample.labelling_dir.full).rounds()
    assert rounds._start(project.sample, done) == "backbone"


@pytest.mark.parametrize(
    ("gained", "lost", "p_value"), [(0, 0, 1.0), (0, 6, 2 / 64), (5, 5, 1.0), (1, 9, 22 / 1024)]
)
def test_mcnemar(gained, lost, p_value):
    new = np.array([True] * gained + [False] * lost + [True] * 30)
    old = np.array([False] * gained + [True] * lost + [True] * 30)
    assert mcnemar_p_value(new, old) == pytest.approx(p_value)
