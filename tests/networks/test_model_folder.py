"""The folder of a model: what is in it after any end of a save, and what is refused."""

import dataclasses
import json
import subprocess
import sys

import pytest

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.config import load_sample_config
from cnnlib.errors import ModelError
from cnnlib.networks.model_folder import (
    CHECKPOINT_NAME,
    MODEL_FILE,
    ModelFolder,
    ModelInfo,
    Run,
    fill_missing,
)
from cnnlib.paths import PROJECT_ROOT
from tests.helpers import names_in

SPEC = CaptchaSpec(24, 40, 2, tuple("01验"))
INFO = ModelInfo(
    spec=SPEC,
    network="cnn5",
    recipe="default",
    step=5,
    scores={"image_accuracy": 0.5},
    temperature=0.7,
    best="best-5-00000000",
    last="last-7-00000000",
    total_step=7,
    run=Run(7, 20, 0, False),
    libraries={"numpy": "2.0"},
)
VERSION_3_0_0 = {
    "char_set": ["0", "1", "验"],
    "image_height": 24,
    "image_width": 40,
    "channels": 3,
    "min_captcha": 1,
    "max_captcha": 2,
    "network": "resnet_attention",
    "recipe": "default",
    "step": 500,
    "scores": {"char_accuracy": 0.99, "image_accuracy": 0.98, "loss": 0.05},
    "temperature": 0.55,
    "best": "best-500-33387935",
    "last": "last-1000-0a1b2c3d",
    "total_step": 1000,
    "run": {"step": 1000, "cycle_stop": 3000, "seed": 0, "done": False},
    "libraries": {"tensorflow": "2.21.0", "numpy": "2.4.6", "pillow": "12.3.0"},
    "resize": "pad",
    "ignore_case": True,
    "origin": "bench/bench_training.py 100k",
    "format": 1,
}


@pytest.fixture
def folder(tmp_path):
    return ModelFolder(tmp_path / "my model")


def test_what_is_committed_is_read_back(folder):
    assert folder.read() is None
    folder.commit(INFO)
    assert folder.read() == INFO
    with open(folder.full / MODEL_FILE, encoding="utf-8") as file:
        assert json.load(file)["char_set"] == ["0", "1", "验"]


def test_commit_removes_the_checkpoints_before_it_and_nothing_else(folder):
    folder.full.mkdir()
    kept = [
        "best-5-00000000.index",
        "last-7-00000000.data-00000-of-00001",
        "my-best-notes.txt",
        "best-photo.png",
        "accuracy.png",
    ]
    gone = [
        "best-4-12345678.index",
        "last-7-00000001.index",
        "last-9-00000000.data-00000-of-00001.tempstate123",
    ]
    for name in kept + gone:
        (folder.full / name).touch()
    folder.commit(INFO)
    assert names_in(folder.full) == sorted([*kept, MODEL_FILE])


def test_names_of_checkpoints_are_new_each_time(folder):
    names = {folder.new_checkpoint("last", 500) for _ in range(50)}
    assert len(names) == 50 and all(CHECKPOINT_NAME.fullmatch(name) for name in names)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ("{}", "damaged"),
        ('{"format": 2}', "has format 2"),
    ],
)
def test_model_json_that_cannot_be_used(folder, text, expected):
    folder.full.mkdir()
    (folder.full / MODEL_FILE).write_text(text)
    with pytest.raises(ModelError, match=f"model.json.*{expected}"):
        folder.read()


@pytest.mark.parametrize("name", [".index", "checkpoint"])
def test_folder_of_version_2_is_refused(folder, name):
    folder.full.mkdir()
    (folder.full / name).touch()
    with pytest.raises(ModelError, match="saved by cnn_captcha 2.*Name another model_save_dir"):
        folder.read()


def test_missing_model_names_the_remedy(folder):
    with pytest.raises(ModelError, match="no model in .*my model.*run train_model.py first"):
        folder.read_required()


def test_a_model_that_does_not_fit_shows_both_values(folder):
    folder.check_fits(INFO, SPEC, "cnn5", "")
    folder.check_fits(INFO, dataclasses.replace(SPEC, ignore_case=True), "cnn5", "")
    wanted = dataclasses.replace(SPEC, image_width=100, char_set=tuple("012"))
    with pytest.raises(ModelError, match="image_width 40, not 100; char_set 01验, not 012. Do x"):
        folder.check_fits(INFO, wanted, "cnn5", "Do x")
    with pytest.raises(ModelError, match="trained for network cnn5, not resnet_attention. Do x"):
        folder.check_fits(INFO, SPEC, "resnet_attention", "Do x")


def test_second_training_is_refused_and_a_killed_one_leaves_no_lock(folder):
    code = (
        "import sys, time\nfrom cnnlib.networks.model_folder import ModelFolder\n"
        "with ModelFolder(sys.argv[1]).locked():\n"
        "    print('locked', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, folder.full], cwd=PROJECT_ROOT, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline().strip() == b"locked"
        with pytest.raises(ModelError, match="another training is using"), folder.locked():
            pass
        other.kill()
    with folder.locked():
        pass


def test_spec_as_given_else_of_the_model_else_of_the_config(folder):
    given, shipped = CaptchaSpec(1, 2, 3, ("a",)), load_sample_config().spec
    assert fill_missing(given, folder.path) == given
    assert fill_missing(None, folder.path) == shipped
    folder.commit(INFO)
    assert fill_missing(given, folder.path) == given
    assert fill_missing(None, folder.path) == SPEC
    colour = fill_missing(CaptchaSpec(image_channels=3), folder.path)
    assert (colour.image_channels, colour.shape) == (3, (*SPEC.shape[:2], 3))
    assert (colour.min_captcha, colour.max_captcha) == (SPEC.min_captcha, SPEC.max_captcha)
    assert fill_missing(None, folder.path, ignore_model=True) == shipped


# --- model.json ---


def test_model_json_has_the_keys_of_the_spec_among_the_others():
    values = INFO.to_json()
    assert values.keys() == VERSION_3_0_0.keys()
    assert (values["channels"], values["image_height"], values["char_set"]) == (
        1,
        24,
        SPEC.char_set,
    )
    assert ModelInfo.from_json(values) == INFO


def test_model_json_of_version_3_0_0_is_read_and_written_back(folder):
    folder.full.mkdir()
    file = folder.full / MODEL_FILE
    file.write_text(json.dumps(VERSION_3_0_0, ensure_ascii=False), encoding="utf-8")
    info = folder.read_required()
    assert info.spec == CaptchaSpec(24, 40, 2, ("0", "1", "验"), 1, 3, "pad", True)
    assert (info.network, info.step, info.run) == (
        "resnet_attention",
        500,
        Run(1000, 3000, 0, False),
    )
    folder.commit(info)
    assert json.loads(file.read_text(encoding="utf-8")) == VERSION_3_0_0


def test_model_json_from_before_resize_and_ignore_case_is_read(folder):
    folder.full.mkdir()
    newer = ("resize", "ignore_case", "origin")
    values = {name: value for name, value in VERSION_3_0_0.items() if name not in newer}
    (folder.full / MODEL_FILE).write_text(json.dumps(values), encoding="utf-8")
    info = folder.read_required()
    assert (info.spec.resize, info.spec.ignore_case, info.origin) == ("", False, "")


def test_model_json_of_the_shipped_model_keeps_its_keys():
    folder = ModelFolder("model/pretrained")
    values = json.loads((folder.full / MODEL_FILE).read_text(encoding="utf-8"))
    written = json.loads(json.dumps(folder.read_required().to_json()))
    assert written == values | {"ignore_case": False}  # of which it does not know yet


@pytest.mark.parametrize(
    "changed",
    [
        {"char_set": None},
        {"max_captcha": None},
        {"run": None},
        {"char_set": ["a", "a"]},
        {"run": {"step": 1}},
        {"unknown": 1},
    ],
)
def test_damaged_model_json_is_refused(folder, changed):
    folder.full.mkdir()
    values = {k: v for k, v in (VERSION_3_0_0 | changed).items() if v is not None}
    (folder.full / MODEL_FILE).write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ModelError, match=r"model\.json is damaged \(.*restore it"):
        folder.read()
