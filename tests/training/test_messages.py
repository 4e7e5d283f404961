"""The words of a training."""

import pytest

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.evaluation.metrics import Scores
from cnnlib.network import CNN
from cnnlib.networks.cost import Cost
from cnnlib.training import messages


@pytest.mark.parametrize(("minimum", "lengths"), [(0, "2"), (1, "1 to 2")])
def test_beginning_says_what_is_trained_on_what(tmp_path, minimum, lengths):
    cnn = CNN(24, 40, 2, "0123", tmp_path / "model", spec=CaptchaSpec(min_captcha=minimum))
    text = messages.beginning(
        cnn,
        Cost(flop=12_300_000, activations=1_000_000, parameters=1_234_567),
        images=(950, 50),
        steps=3000,
        batch_size=128,
        recipe="default",
        origin="from random weights",
        own_batch_size=128,
        replicas=1,
    )
    assert text.splitlines() == [
        "images    950 for training, 50 for testing, 40x24 pixels",
        f"labels    {lengths} characters of 4",
        "network   resnet_attention: 1.23 million parameters, 12 MFLOP an image",
        "run       3000 steps of 128 images, recipe default, from random weights",
        "memory    about 1.0 GB",
        f"model     {tmp_path / 'model'} ({tmp_path / 'model'})",
    ]


def test_scores_of_a_step_have_the_lines_of_version_2():
    train, test = Scores(0.5, 0.25, 1.5), Scores(0.4, 0.125, 2.0)
    assert messages.step_scores(10, train, test) == (
        "第10次训练 >>> \n"
        "[训练集] 字符准确率为 0.50000 图片准确率为 0.25000 >>> loss 1.5000000000\n"
        "[验证集] 字符准确率为 0.40000 图片准确率为 0.12500 >>> loss 2.0000000000"
    )


def test_progress_is_that_of_a_step_in_the_middle():
    line = messages.progress(100, 300, [9.0, 0.5, 0.5], "")
    assert line == "step 100 of 300, about 1 min 50 s to go, at 500 ms a step"
    assert messages.progress(100, 300, [0.5], "best 1 %").endswith("a step; best 1 %")
    best = Scores(0.99, 0.98, 0.1)
    assert messages.best_so_far(best, 20) == "best 98.00%, at step 20"
    assert messages.best_so_far(best, 0) == "best 98.00%, before this run"


@pytest.mark.parametrize(("interrupted", "word"), [(False, "done"), (True, "interrupted")])
def test_ending_says_how_many_test_images_are_right(interrupted, word):
    text = messages.ending(Scores(0.99, 0.96, 0.1), 50, 480, 500, 61.2, interrupted)
    assert text == (
        f"{word} after 500 steps, 1 min 1 s\n"
        "best      96.00% of the test images right (48 of 50), at step 480"
    )


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (45, "45 s")])
def test_durations(seconds, text):
    assert messages.duration(seconds) == text
