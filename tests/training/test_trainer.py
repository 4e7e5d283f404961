"""Training for real, on small images: what is reported, kept and refused."""

import csv
import json
import re

import numpy as np
import pytest

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.console import Reporter
from cnnlib.dataset.image_set import load_images
from cnnlib.dataset.verification import Rules
from cnnlib.errors import ModelError, SampleError
from cnnlib.networks.model_folder import ModelFolder
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.paths import PROJECT_ROOT
from cnnlib.training import TrainModel
from tests.helpers import is_png
from tests.training.helpers import checkpoint_files, history_steps, info, train


def test_a_run_prints_the_lines_and_keeps_all_that_it_should(ready, capsys):
    result = train(ready, cycle_stop=30)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "images    40 for training, 20 for testing, 24x16 pixels"
    assert printed[2].startswith("network   cnn5: ") and "MFLOP an image" in printed[2]
    assert [line for line in printed if line.endswith("次训练 >>> ")] == [
        "第10次训练 >>> ",
        "第20次训练 >>> ",
        "第30次训练 >>> ",
    ]
    at = printed.index("第30次训练 >>> ")
    assert printed[at + 1].startswith("[训练集] 字符准确率为 ")
    assert printed[at + 2].startswith("[验证集] 字符准确率为 ")
    assert any(line.startswith("step 20 of 30, about ") and "to go" in line for line in printed)
    assert printed[-4].startswith("done after 30 steps") and printed[-1].startswith("model ")
    assert re.match("check     .* more (steps|images) would pay", printed[-2])

    known = info(ready)
    assert (known.total_step, known.run.step, known.run.done) == (30, 30, True)
    assert result.steps == 30 and not result.interrupted
    assert known.scores["image_accuracy"] == result.scores.image_accuracy
    assert checkpoint_files(ready) == {f"{known.best}.index", f"{known.last}.index"}
    folder = ready.sample.model_save_dir.full
    assert not (folder / "checkpoint").exists()
    assert is_png(folder / "accuracy.png")
    assert history_steps(folder) == [10, 20, 30]
    [events] = (ready.root / "logs").glob("*/events.out.tfevents.*")
    tags = {
        value.tag
        for event in tf.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    assert tags == {
        "loss/train",
        "loss/test",
        "accuracy/train_characters",
        "accuracy/train_images",
        "accuracy/test_characters",
        "accuracy/test_images",
        "learning_rate",
        "images_per_second",
    }


def test_chinese_labels(ready):
    for folder in ("train", "test"):
        for path in list((ready.root / "sample" / folder).iterdir()):
            label = path.name[:2].translate(str.maketrans("01", "验证"))
            path.rename(path.with_name(label + path.name[2:]))
    ready.change(char_set="验证23")
    train(ready, cycle_stop=1)
    assert info(ready).spec.char_set == tuple("验证23")
    prediction = TrainModel.from_config(ready.sample).recognize_captcha()
    assert len(prediction.text) == 2 and set(prediction.text) <= set("验证23")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"char_set": "012"}, "char_set 0123, not 012"),
        ({"network": "resnet_attention"}, "network cnn5, not resnet_attention"),
        (
            {"image_width": 50, "max_captcha": 3},
            "image_width 24, not 50; max_captcha 2, not 3; min_captcha 2, not 3",
        ),
    ],
)
def test_a_model_that_does_not_fit_is_refused_and_stays(saved, changed, expected):
    before = info(saved)
    saved.change(**changed)
    with pytest.raises(ModelError, match=f"{expected}.*--fresh"):
        train(saved)
    assert info(saved) == before


def test_folder_of_version_2_is_refused(ready):
    ready.sample.model_save_dir.full.mkdir()
    (ready.sample.model_save_dir.full / ".index").touch()
    with pytest.raises(ModelError, match="saved by cnn_captcha 2"):
        train(ready)


def test_second_training_on_the_same_folder_is_refused(ready):
    with (
        ModelFolder(ready.sample.model_save_dir).locked(),
        pytest.raises(ModelError, match="another training is using"),
    ):
        train(ready)


def test_missing_gpu_is_reported_and_does_not_end_a_training(ready, capsys, monkeypatch):
    monkeypatch.setattr("cnnlib.training.trainer.gpu_names", list)
    ready.change(enable_gpu=1)
    train(ready, cycle_stop=1)
    assert "TensorFlow sees no GPU" in capsys.readouterr().err


def test_empty_and_missing_folders_are_refused(ready):
    for name in ("test", "train"):
        for path in (ready.root / "sample" / name).iterdir():
            path.unlink()
        with pytest.raises(SampleError, match=f"{name}/ holds no usable image"):
            train(ready)
        (ready.root / "sample" / name).rmdir()
        with pytest.raises(SampleError, match=f"{name}/ .*does not exist: .*run verify_and_split"):
            train(ready)


def test_specification_recipe_learns_too(ready):
    train(ready, recipe="specification", cycle_stop=80)
    with open(ready.sample.model_save_dir.full / "history.csv", encoding="utf-8") as file:
        losses = [float(row["loss/train"]) for row in csv.DictReader(file)]
    assert min(losses) < 0.5  # of one right class in four; the same answer to all has 0.56
    assert info(ready).recipe == "specification"


def test_recognize_captcha_shows_a_training_image(trained, capsys):
    prediction = TrainModel.from_config(trained.sample).recognize_captcha()
    printed = capsys.readouterr().out
    assert f"recognised as {prediction.text}, confidence" in printed
    assert set(prediction.text) <= set("01")
    assert is_png(trained.sample.model_save_dir.full / "recognized.png")


def test_sizes_come_from_the_model_or_the_config_never_from_a_file(trained):
    c = trained.sample
    model = TrainModel(
        c.train_image_dir,
        c.test_image_dir,
        c.char_set,
        c.model_save_dir,
        1,
        1.0,
        1,
        "png",
        16,
        16,
        network="cnn5",
    )
    assert (model.image_height, model.image_width, model.max_captcha) == (24, 40, 2)
    other = TrainModel(
        c.train_image_dir,
        c.test_image_dir,
        c.char_set,
        trained.root / "none",
        1,
        1.0,
        1,
        "png",
        16,
        16,
    )
    shipped = json.loads((PROJECT_ROOT / "conf/sample_config.json").read_text(encoding="utf-8"))
    assert (other.image_height, other.image_width) == (
        shipped["image_height"],
        shipped["image_width"],
    )


def test_spec_that_is_given_is_taken(trained):
    c = trained.sample
    spec = CaptchaSpec(20, 30, 3, ("x",), 1, 3, "pad", True)
    model = TrainModel(
        c.train_image_dir,
        c.test_image_dir,
        "ab",
        c.model_save_dir,
        1,
        1.0,
        1,
        ".jpg",
        16,
        16,
        spec=spec,
        label_separator="-",
    )
    assert model.spec == model.rules.spec == CaptchaSpec(20, 30, 3, ("a", "b"), 1, 3, "pad", True)
    assert (model.rules.suffixes, model.rules.separator) == (("jpg",), "-")


def test_fresh_ignores_the_spec_of_the_model(trained):
    c = trained.sample
    model = TrainModel(
        c.train_image_dir,
        c.test_image_dir,
        c.char_set,
        c.model_save_dir,
        1,
        1.0,
        1,
        "png",
        16,
        16,
        fresh=True,
    )
    shipped = json.loads((PROJECT_ROOT / "conf/sample_config.json").read_text(encoding="utf-8"))
    assert model.image_width == shipped["image_width"]


def test_options_are_those_of_the_config(ready):
    c = ready.sample
    options = TrainModel.from_config(c).options
    for name in (
        "cycle_stop",
        "acc_stop",
        "cycle_save",
        "train_batch_size",
        "test_batch_size",
        "seed",
        "log_dir",
        "enable_gpu",
    ):
        assert getattr(options, name) == getattr(c, name)
    assert options.recipe_name == c.recipe


def test_part_of_the_images_is_trained_on_without_advice(ready, capsys):
    config = ready.sample
    rules = Rules.from_config(config)
    images, test = (
        load_images(folder, rules) for folder in (config.train_image_dir, config.test_image_dir)
    )
    part = images.take(np.arange(10))
    assert TrainModel.from_config(config).train_subset(part, test, len(images)).steps == 20
    printed = capsys.readouterr().out
    assert "images    10 for training, 20 for testing" in printed
    assert "check     " not in printed and "done after 20 steps" in printed.splitlines()[-2]


def test_reporter_of_ones_own_gets_every_line(ready, capfd):
    class Lines(Reporter):
        def __init__(self):
            self.said, self.warned = [], []

        def say(self, line=""):
            self.said += line.splitlines()

        def warn(self, line):
            self.warned.append(line)

    (ready.root / "sample" / "train" / "01_broken.png").touch()
    lines = Lines()
    TrainModel.from_config(ready.sample, reporter=lines).train_cnn()
    assert "第20次训练 >>> " in lines.said and lines.said[-1].startswith("model ")
    [warning] = [line for line in lines.warned if line.startswith("skipped ")]
    assert "01_broken.png" in warning
    assert capfd.readouterr().out == ""
