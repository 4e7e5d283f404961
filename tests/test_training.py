"""Training for real, on small images: what is printed, kept, resumed, and refused."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image

from cnnlib import metrics, mixing, training, training_loop
from cnnlib.config import NETWORKS, PROJECT_ROOT, load_sample_config
from cnnlib.errors import CaptchaError, ModelError, SampleError
from cnnlib.metrics import Scores
from cnnlib.model_folder import ModelFolder
from cnnlib.network import read_checkpoint
from cnnlib.training import RECIPES, TrainModel
from cnnlib.training_loop import TrainingLoop
from tests.conftest import DrawImages, Project


@pytest.fixture
def ready(project: Project, draw_images: DrawImages) -> Project:
    """A project with few images, whose training takes 20 steps and saves every 10."""
    project.change(network="cnn5")
    draw_images(project.root / "sample" / "train", 40, seed=1)
    draw_images(project.root / "sample" / "test", 20, seed=2)
    return project


def train(project: Project, fresh: bool = False, **overrides: object):
    config = load_sample_config(project.config_path, **overrides)
    return TrainModel.from_config(config, fresh=fresh).train_cnn()


def info(project: Project):
    return ModelFolder(project.sample.model_save_dir).required()


def files(project: Project) -> set[str]:
    return {path.name for path in project.sample.model_save_dir.full.iterdir()
            if path.suffix == ".index"}


def test_a_run_prints_the_lines_and_keeps_all_that_it_should(ready, capsys):
    result = train(ready, cycle_stop=30)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "images    40 for training, 20 for testing, 40x24 pixels"
    assert printed[2].startswith("network   cnn5: ") and "MFLOP an image" in printed[2]
    assert [line for line in printed if line.endswith("次训练 >>> ")] == [
        "第10次训练 >>> ", "第20次训练 >>> ", "第30次训练 >>> "]
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
    assert files(ready) == {f"{known.best}.index", f"{known.last}.index"}
    folder = ready.sample.model_save_dir.full
    assert not (folder / "checkpoint").exists()
    with Image.open(folder / "accuracy.png") as curves:
        assert curves.format == "PNG"
    with open(folder / "history.csv", encoding="utf-8", newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["10", "20", "30"]
    [events] = (ready.root / "logs").glob("*/events.out.tfevents.*")
    tags = {value.tag for event in tf.train.summary_iterator(str(events))
            for value in event.summary.value}
    assert tags == {"loss/train", "loss/test", "accuracy/train_characters",
                    "accuracy/train_images", "accuracy/test_characters", "accuracy/test_images",
                    "learning_rate", "images_per_second"}


def test_a_second_run_goes_on_with_the_weights_and_never_gets_worse(ready, capsys):
    first = train(ready)
    second = train(ready, cycle_stop=10)
    assert "a new run on the weights of " in capsys.readouterr().out
    assert not first.scores.clearly_above(second.scores, 20)
    known = info(ready)
    assert (known.total_step, known.run.step) == (30, 10)
    assert known.step in (10, 20, 30)


def test_fresh_starts_over(ready):
    train(ready)
    train(ready, fresh=True, cycle_stop=10)
    assert info(ready).total_step == 10 and len(files(ready)) == 2


def test_acc_stop_ends_a_run_when_the_whole_test_set_reaches_it(ready, monkeypatch):
    estimates = []

    def score(self, pixels, char_ids):
        estimates.append(len(pixels))
        return Scores(0.9, 0.9, 0.1)

    monkeypatch.setattr(TrainingLoop, "_score", score)
    monkeypatch.setattr(metrics, "scores", lambda *_: Scores(0.9, 0.9, 0.1))
    result = train(ready, acc_stop=0.8, test_batch_size=5)
    assert result.steps == 10 and info(ready).run.done
    assert result.scores.image_accuracy == 0.9
    assert estimates == [16, 5, 20]  # this batch, some test images, then all of them


def test_an_acc_stop_of_1_ends_no_run(ready, monkeypatch):
    monkeypatch.setattr(metrics, "scores", lambda *_: Scores(1.0, 1.0, 0.1))
    assert train(ready, cycle_stop=20, acc_stop=1.0).steps == 20


def test_a_further_run_is_not_ended_by_what_the_one_before_it_reached(ready, monkeypatch, capsys):
    monkeypatch.setattr(metrics, "scores", lambda *_: Scores(0.9, 0.9, 0.1))
    assert train(ready, cycle_stop=20, acc_stop=0.8).steps == 10
    assert "acc_stop is reached already" not in capsys.readouterr().out
    assert train(ready, cycle_stop=20, acc_stop=0.8).steps == 20
    assert "acc_stop is reached already" in capsys.readouterr().out


def scripted(monkeypatch, *whole):
    """Let the whole test set, of 20 images, be scored as told."""
    told = iter(whole)
    monkeypatch.setattr(metrics, "scores", lambda logits, char_ids, losses, ends: (
        next(told) if len(losses) == 20 else Scores(0.5, 0.5, 1.0)))


def test_small_steps_down_do_not_add_up(ready, monkeypatch):
    scripted(monkeypatch, *(Scores(0.9, 0.8 - 0.05 * i, 1 - 0.1 * i) for i in range(5)))
    result = train(ready, cycle_stop=50)
    assert result.scores.image_accuracy == 0.75  # by the loss, and within chance of 0.8


@pytest.mark.parametrize(("last", "kept"), [(0.85, 0.85), (0.6, 0.9)])
def test_weights_of_the_end_are_kept_unless_clearly_worse(ready, monkeypatch, last, kept):
    scripted(monkeypatch, Scores(0.9, 0.9, 0.1), Scores(0.9, last, 0.2))
    assert train(ready, cycle_stop=20).scores.image_accuracy == kept


def test_weights_that_reach_acc_stop_are_kept(ready, monkeypatch):
    scripted(monkeypatch, Scores(0.9, 0.75, 0.1), Scores(0.9, 0.8, 0.2))
    result = train(ready, cycle_stop=20, acc_stop=0.8)
    assert result.scores.image_accuracy == 0.8


def test_estimate_alone_does_not_end_a_run(ready, monkeypatch):
    monkeypatch.setattr(TrainingLoop, "_score", lambda self, pixels, _: Scores(
        0.9, 0.9 if len(pixels) < 20 else 0.5, 0.1))
    assert train(ready, acc_stop=0.8, test_batch_size=5).steps == 20


SLOW_STEPS = """
import sys, time
from cnnlib import training_loop
import train_model
step = training_loop.TrainingLoop._step
def slow(self, *arguments):
    time.sleep(0.05)
    step(self, *arguments)
training_loop.TrainingLoop._step = slow
sys.exit(train_model.main(["--config", sys.argv[1]]))
"""


def start_training(project: Project) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", SLOW_STEPS, str(project.config_path)],
                            cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            encoding="utf-8", env=os.environ | {"PYTHONUNBUFFERED": "1"})


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout
    while text not in process.stdout.readline():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to send")
def test_sigterm_saves_and_the_same_command_goes_on(ready, capsys):
    ready.change(cycle_stop=60, cycle_save=1000)
    with start_training(ready) as process:
        read_until(process, "第20次训练")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "saving" in err and "Traceback" not in err
    assert "the same command goes on from here" in out
    step = info(ready).run.step
    assert 20 <= step < 60 and not info(ready).run.done
    result = train(ready)
    assert f"the run that was interrupted goes on after step {step}" in capsys.readouterr().out
    assert result.steps == 60 - step
    assert (info(ready).total_step, info(ready).run.done) == (60, True)
    with open(ready.sample.model_save_dir.full / "history.csv", encoding="utf-8") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(10, 61, 10))


def test_kill_9_loses_no_more_than_the_steps_since_the_last_save(ready):
    ready.change(cycle_stop=60, cycle_save=10)
    with start_training(ready) as process:
        read_until(process, "第20次训练")
        read_until(process, "第30次训练")  # 20 is saved by now; anywhere in the save of 30
        time.sleep(0.05)
        process.kill()
    known = info(ready)
    assert known.run.step in range(20, 60, 10) and not known.run.done
    result = train(ready)
    assert result.steps == 60 - known.run.step
    known = info(ready)
    assert known.total_step == 60
    assert files(ready) == {f"{known.best}.index", f"{known.last}.index"}


def test_resuming_restores_the_optimiser_and_the_schedule(ready, monkeypatch):
    """Steps 11 to 20 after a stop see the rates of an uninterrupted run, and Adam's averages."""
    rates: list[float] = []
    step = TrainingLoop._step

    def recorded(self, batch, rate):
        rates.append(rate)
        if len(rates) == 11:
            adam = [v for v in self._model.graph.get_collection("variables")
                    if v.op.name.endswith("classifier/bias/Adam")]
            assert np.abs(self._session.run(adam[0])).max() > 0
        step(self, batch, rate)

    monkeypatch.setattr(TrainingLoop, "_step", recorded)
    monkeypatch.setattr(training_loop, "_stop_signals", after_steps(10, rates))
    assert train(ready).interrupted
    monkeypatch.setattr(training_loop, "_stop_signals", after_steps(99, rates))
    train(ready)
    assert rates == [RECIPES["default"].rate("cnn5", i, 20) for i in range(1, 21)]


def after_steps(count, rates):
    """Return a stand-in for the signals that stops after so many steps."""
    from contextlib import contextmanager

    class Event:
        def is_set(self):
            return len(rates) >= count

    @contextmanager
    def signals():
        yield Event()

    return signals


@pytest.mark.parametrize(("needed", "mixed"), [(0.0, True), (1.1, False)])
def test_images_that_are_seen_often_and_read_are_mixed(ready, monkeypatch, needed, mixed):
    seen = []
    mix = mixing.mix

    def watched(pixels, char_ids, cuts, rng):
        seen.append((pixels.shape, cuts.shape, cuts.min() >= 0, cuts.max() <= 40))
        return mix(pixels, char_ids, cuts, rng)

    monkeypatch.setattr(mixing, "mix", watched)
    monkeypatch.setattr(training, "MIXED_VIEWS", 12)
    monkeypatch.setattr(training_loop, "KNOWN", needed)
    train(ready, cycle_stop=40)  # each image comes sixteen times
    if not mixed:
        assert not seen
        return
    # Not before a share of the run, where the characters are not known, and not at its end.
    assert 20 <= len(seen) <= 24 and set(seen) == {((16, 24, 40), (16, 1), True, True)}


def test_grown_char_set_goes_on_from_what_was_learned(ready, draw_images, capsys):
    train(ready)
    learned = read_checkpoint(ready.sample.model_save_dir.full / info(ready).best)
    draw_images(ready.root / "sample" / "train", texts=["8x", "x8"], characters=tuple("8x"))
    ready.change(char_set="0x1238")
    train(ready, cycle_stop=1)
    assert "a new run on the weights of " in capsys.readouterr().out
    assert info(ready).char_set == tuple("0x1238")
    values = read_checkpoint(ready.sample.model_save_dir.full / info(ready).best)
    for name, value in learned.items():  # one step of Adam away
        if name.startswith("classifier"):
            values[name] = values[name].reshape(*value.shape[:-1], 2, 6)[..., [0, 2, 3, 4]]
        np.testing.assert_allclose(values[name].reshape(value.shape), value, atol=0.01)


def test_chinese_labels(ready):
    for folder in ("train", "test"):
        for path in list((ready.root / "sample" / folder).iterdir()):
            label = path.name[:2].translate(str.maketrans("01", "验证"))
            path.rename(path.with_name(label + path.name[2:]))
    ready.change(char_set="验证23")
    train(ready, cycle_stop=1)
    assert info(ready).char_set == tuple("验证23")
    prediction = TrainModel.from_config(ready.sample).recognize_captcha()
    assert len(prediction.text) == 2 and set(prediction.text) <= set("验证23")


@pytest.mark.parametrize(("changed", "expected"), [
    ({"char_set": "012"}, "char_set 0123, not 012"),
    ({"network": "resnet_attention"}, "network cnn5, not resnet_attention"),
    ({"image_width": 50, "max_captcha": 3}, "image_width 40, not 50; min_captcha 2, not 3; "
     "max_captcha 2, not 3"),
])
def test_a_model_that_does_not_fit_is_refused_and_stays(ready, changed, expected):
    train(ready, cycle_stop=1)
    before = info(ready)
    ready.change(**changed)
    with pytest.raises(ModelError, match=f"{expected}.*--fresh"):
        train(ready)
    assert info(ready) == before


def test_folder_of_the_replaced_system_is_refused(ready):
    ready.sample.model_save_dir.full.mkdir()
    (ready.sample.model_save_dir.full / ".index").touch()
    with pytest.raises(ModelError, match="saved by cnn_captcha 2"):
        train(ready)


def test_second_training_on_the_same_folder_is_told(ready):
    with ModelFolder(ready.sample.model_save_dir).locked(), \
            pytest.raises(ModelError, match="another training is using"):
        train(ready)


def test_out_of_memory_is_answered_with_advice(ready, monkeypatch):
    run = tf.Session.run

    def full(self, fetches, feeds=None, **options):
        if feeds and any(t.name == "training:0" for t in feeds):
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return run(self, fetches, feeds, **options)

    monkeypatch.setattr(tf.Session, "run", full)
    with pytest.raises(CaptchaError, match="memory for train_batch_size 16: set .* such as 8"):
        train(ready)


@pytest.mark.parametrize("fresh", [False, True])
def test_full_disk_leaves_the_save_before_it(ready, monkeypatch, fresh):
    train(ready, cycle_stop=10)
    before, names = info(ready), files(ready)

    def full(self, session, prefix, **_):
        Path(f"{prefix}.data-00000-of-00001.tempstate1").write_bytes(b"0")
        raise tf.errors.ResourceExhaustedError(None, None, (
            "Graph execution error:\n\nNode: 'save/SaveV2'\n"
            f"{prefix}; No space left on device\n\t [[{{{{node save/SaveV2}}}}]]\nOriginal stack"))

    with monkeypatch.context() as patched:
        patched.setattr(tf.train.Saver, "save", full)
        with pytest.raises(ModelError, match=r"No space left on device\): the save before it is "
                                             "intact"):
            train(ready, fresh=fresh)
    assert info(ready) == before and files(ready) == names
    assert not list(ready.sample.model_save_dir.full.glob("*tempstate*"))
    assert train(ready).steps == 20


def test_failed_commit_keeps_the_best_weights_of_before(ready, monkeypatch):
    train(ready, cycle_stop=10)
    before, names = info(ready), files(ready)

    def fails(self, new):
        assert new.best == before.best  # nothing better was found
        raise ModelError("cannot write model.json")

    with monkeypatch.context() as patched:
        patched.setattr(TrainingLoop, "_is_best", lambda *_: False)
        patched.setattr(ModelFolder, "commit", fails)
        with pytest.raises(ModelError):
            train(ready)
    assert info(ready) == before and files(ready) == names


def test_resuming_scores_the_best_weights_on_the_test_set_of_today(
        ready, draw_images, monkeypatch):
    monkeypatch.setattr(training_loop, "_stop_signals", after_steps(10, list(range(10))))
    train(ready)
    folder = ModelFolder(ready.sample.model_save_dir)
    flattered = {"char_accuracy": 1.0, "image_accuracy": 1.0, "loss": 0.0}
    folder.commit(dataclasses.replace(info(ready), scores=flattered))
    monkeypatch.undo()
    assert train(ready).scores.image_accuracy < 1.0


def test_picture_that_cannot_be_written_does_not_end_a_training(ready, capsys):
    folder = ready.sample.model_save_dir.full
    (folder / "history.csv").mkdir(parents=True)
    train(ready)
    assert info(ready).run.done and "cannot write" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_reader_that_ends_before_the_training_loses_no_step(ready):
    """As Ctrl-C does in `train_model.py | tee log`: tee is gone, then a line is printed."""
    ready.change(cycle_stop=60, cycle_save=1000)
    with start_training(ready) as process:
        read_until(process, "第10次训练")
        process.stdout.close()
        assert process.wait(60) == 130
        assert "Traceback" not in process.stderr.read()
    assert info(ready).run.step in (10, 20, 30) and not info(ready).run.done


def test_loss_that_is_no_number_ends_the_run(ready, monkeypatch):
    monkeypatch.setattr(TrainingLoop, "_score", lambda *_: Scores(0.0, 0.0, float("nan")))
    with pytest.raises(CaptchaError, match="the loss is nan at step 10: .*diverged"):
        train(ready)


def test_graph_is_closed_before_the_first_step(ready, monkeypatch):
    seen = []
    step = TrainingLoop._step

    def watched(self, *arguments):
        seen.append((self._model.graph.finalized, len(self._model.graph.get_operations())))
        step(self, *arguments)

    monkeypatch.setattr(TrainingLoop, "_step", watched)
    train(ready)
    assert len(seen) == 20 and set(seen) == {(True, seen[0][1])}


def test_missing_gpu_is_a_clear_word_and_no_failure(ready, capsys, monkeypatch):
    monkeypatch.setattr("cnnlib.training.gpu_names", list)
    ready.change(enable_gpu=1)
    train(ready, cycle_stop=1)
    assert "TensorFlow sees no GPU" in capsys.readouterr().err


def test_empty_and_missing_folders_are_said(ready):
    for name in ("test", "train"):
        for path in (ready.root / "sample" / name).iterdir():
            path.unlink()
        with pytest.raises(SampleError, match=f"{name}/ holds no usable image"):
            train(ready)
        (ready.root / "sample" / name).rmdir()
        with pytest.raises(SampleError, match=f"{name}/ .*does not exist: run verify_and_split"):
            train(ready)


def test_specification_recipe_learns_too(ready):
    train(ready, recipe="specification", cycle_stop=80)
    with open(ready.sample.model_save_dir.full / "history.csv", encoding="utf-8") as file:
        losses = [float(row["loss/train"]) for row in csv.DictReader(file)]
    assert min(losses) < 0.5  # of one right class in four; the same answer to all has 0.56
    assert info(ready).recipe == "specification"


def test_seed_decides_the_first_weights(ready):
    def first_weights(seed):
        train(ready, fresh=True, cycle_stop=1, seed=seed)
        values = read_checkpoint(ready.sample.model_save_dir.full / info(ready).best)
        return values["conv1/kernel"]

    assert np.abs(first_weights(0) - first_weights(0)).max() < 1e-3  # one step of Adam apart
    assert np.abs(first_weights(0) - first_weights(1)).max() > 0.1


@pytest.mark.parametrize("network", NETWORKS)
def test_rate_rises_then_falls_to_nothing(network):
    recipe = RECIPES["default"]
    rates = [recipe.rate(network, step, 1000) for step in range(1, 1001)]
    peak = int(np.argmax(rates))
    assert rates[peak] == recipe.peak_rates[network] and 50 <= peak <= 100
    assert rates == sorted(rates[:peak]) + sorted(rates[peak:], reverse=True)
    assert rates[-1] < rates[peak] / 1000
    assert recipe.rate(network, 1, 1) == rates[peak]
    again = [recipe.rate(network, step, 1000, new_kind_at=151) for step in range(1, 1001)]
    assert again[:150] == rates[:150] and again[220:] == rates[220:]
    assert again[150] < rates[150] / 50 and again[150:220] == sorted(again[150:220])
    assert {RECIPES["specification"].rate(network, step, 50) for step in (1, 25, 50)} == {1e-4}


@pytest.mark.parametrize(("views", "strength"), [(0.1, 0.5), (6, 0.75), (8, 1.0), (500, 1.0)])
def test_images_that_are_seen_more_often_are_distorted_more(views, strength):
    assert RECIPES["default"].distortion(views) == strength
    assert RECIPES["specification"].distortion(views) == 0


def test_recognize_captcha_shows_a_training_image(trained, capsys):
    prediction = TrainModel.from_config(trained.sample).recognize_captcha()
    printed = capsys.readouterr().out
    assert f"recognised as {prediction.text}, confidence" in printed
    assert set(prediction.text) <= set("01")
    with Image.open(trained.sample.model_save_dir.full / "recognized.png") as picture:
        assert picture.format == "PNG"


def test_sizes_come_from_the_model_or_the_config_never_from_a_file(trained):
    c = trained.sample
    model = TrainModel(c.train_image_dir, c.test_image_dir, c.char_set, c.model_save_dir, 1, 1.0,
                       1, "png", 16, 16, network="cnn5")
    assert (model.image_height, model.image_width, model.max_captcha) == (24, 40, 2)
    other = TrainModel(c.train_image_dir, c.test_image_dir, c.char_set, trained.root / "none", 1,
                       1.0, 1, "png", 16, 16)
    shipped = json.loads((PROJECT_ROOT / "conf/sample_config.json").read_text(encoding="utf-8"))
    assert (other.image_height, other.image_width) == (
        shipped["image_height"], shipped["image_width"])
