"""The folder of a model: what is in it after any end of a save, and what is refused."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from cnnlib import model_folder
from cnnlib.config import PROJECT_ROOT
from cnnlib.errors import ModelError
from cnnlib.model_folder import ModelFolder, ModelInfo, Run

INFO = ModelInfo(
    char_set=tuple("01验"), image_height=24, image_width=40, channels=1, min_captcha=2,
    max_captcha=2, network="cnn5", recipe="default", step=5, scores={"image_accuracy": 0.5},
    temperature=0.7, best="best-5-00000000", last="last-7-00000000", total_step=7,
    run=Run(7, 20, 0, False), libraries={"numpy": "2.0"})


@pytest.fixture
def folder(tmp_path):
    return ModelFolder(tmp_path / "my model")


def test_what_is_committed_is_read_back(folder):
    assert folder.read() is None
    folder.commit(INFO)
    assert folder.read() == INFO
    with open(folder.full / "model.json", encoding="utf-8") as file:
        assert json.load(file)["char_set"] == ["0", "1", "验"]


def test_commit_removes_the_checkpoints_before_it_and_nothing_else(folder):
    folder.full.mkdir()
    kept = ["best-5-00000000.index", "last-7-00000000.data-00000-of-00001", "my-best-notes.txt",
            "best-photo.png", "accuracy.png"]
    gone = ["best-4-12345678.index", "last-7-00000001.index",
            "last-9-00000000.data-00000-of-00001.tempstate123"]
    for name in kept + gone:
        (folder.full / name).touch()
    folder.commit(INFO)
    assert sorted(os.listdir(folder.full)) == sorted([*kept, "model.json"])


def test_names_of_checkpoints_are_new_each_time(folder):
    names = {folder.new_checkpoint("last", 500) for _ in range(50)}
    assert len(names) == 50 and all(model_folder.OURS.fullmatch(name) for name in names)


@pytest.mark.parametrize(("text", "expected"), [
    ("{", "damaged"), ("[]", "damaged"), ("{}", "damaged"), ('{"format": 2}', "has format 2"),
])
def test_model_json_that_cannot_be_used(folder, text, expected):
    folder.full.mkdir()
    (folder.full / "model.json").write_text(text)
    with pytest.raises(ModelError, match=f"model.json.*{expected}"):
        folder.read()


@pytest.mark.parametrize("name", [".index", "checkpoint"])
def test_folder_of_the_replaced_system_is_refused(folder, name):
    folder.full.mkdir()
    (folder.full / name).touch()
    with pytest.raises(ModelError, match="saved by cnn_captcha 2.*Name another model_save_dir"):
        folder.read()


def test_missing_model_names_the_remedy(folder):
    with pytest.raises(ModelError, match="no model in .*my model.*run train_model.py first"):
        folder.required()


def test_a_model_that_does_not_fit_shows_both_values(folder):
    folder.check_fits(INFO, "", image_height=24)
    with pytest.raises(ModelError, match="image_width 40, not 100; char_set 01验, not 012. Do x"):
        folder.check_fits(INFO, "Do x", image_height=24, image_width=100, char_set=tuple("012"))


def test_second_training_is_told_and_a_killed_one_leaves_no_lock(folder):
    code = ("import sys, time\nfrom cnnlib.model_folder import ModelFolder\n"
            "with ModelFolder(sys.argv[1]).locked():\n"
            "    print('locked', flush=True)\n    time.sleep(60)\n")
    with subprocess.Popen([sys.executable, "-c", code, folder.full], cwd=PROJECT_ROOT,
                          stdout=subprocess.PIPE) as other:
        assert other.stdout.readline().strip() == b"locked"
        with pytest.raises(ModelError, match="another training is using"), folder.locked():
            pass
        other.kill()
    with folder.locked():
        pass


def test_sizes_as_given_else_of_the_model_else_of_the_config(folder):
    def sizes(height, width, length, **options):
        found = model_folder.completed(folder.path, image_height=height, image_width=width,
                                       max_captcha=length, **options)
        return tuple(found.values())

    assert sizes(1, 2, 3) == (1, 2, 3)
    assert sizes(None, 2, None) == (60, 2, 4)
    folder.commit(INFO)
    assert sizes(None, None, 3) == (24, 40, 3)
    assert sizes(None, None, None, ignore_model=True) == (60, 100, 4)


def test_the_model_describes_itself():
    assert {"char_set", "image_height", "image_width", "channels", "min_captcha", "max_captcha",
            "network", "step", "scores", "temperature", "run", "libraries", "best", "last",
            "format"} <= {field.name for field in dataclasses.fields(INFO)}
