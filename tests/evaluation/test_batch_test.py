"""The batch test: its line, what is behind it, and copies of what was wrong."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from cnnlib import plots
from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.console import SilentReporter
from cnnlib.dataset.images import open_image
from cnnlib.dataset.labels import label_of
from cnnlib.errors import CaptchaError, ModelError, SampleError
from cnnlib.evaluation import TestBatch, batch_test
from cnnlib.evaluation.batch_test import BatchResult, compare, summary
from cnnlib.onnx_recognizer import OnnxRecognizer
from cnnlib.paths import PROJECT_ROOT
from cnnlib.recognizer import Prediction
from tests.helpers import is_png


@pytest.fixture
def test(trained):
    return TestBatch.from_config(trained.sample)


def test_whole_test_set_is_counted_as_single_answers_are(test, trained, capsys):
    result = test.test_batch()
    images = list((trained.root / "sample" / "test").iterdir())
    right = sum(
        test.recognizer.rec_image(open_image(path)) == label_of(path.name) for path in images
    )
    assert (result.total, result.right) == (40, right)
    printed = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"40个样本识别耗时[\d.e-]+秒，准确率{round(right / 0.4, 4)}%", printed[0])
    assert f"images right: {right} of 40, 95 % interval" in printed[1]
    assert re.fullmatch(r"confidence is off by [\d.]+% on average \(.*\)", printed[2])
    assert printed[4].startswith(f"  0.00: 100.00% answered, {right / 40:.2%} of those right")


def test_wrong_answers_are_listed_least_certain_first_and_copied(
    test, trained, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        test.recognizer,
        "predict_pixels",
        lambda pixels: [Prediction("0?", 0.9 - i / 100, (0.9, 0.9)) for i in range(len(pixels))],
    )
    result = test.test_batch()
    assert result.right == 0 and len(result.wrong) == 40
    confidences = [wrong.prediction.confidence for wrong in result.wrong]
    assert confidences == sorted(confidences)
    printed = capsys.readouterr().out
    assert re.search(r"most frequent confusions: [01] read as \? \(\d+\)", printed)
    assert f"  {result.wrong[0].name}: read as 0?, confidence 0.510" in printed
    monkeypatch.setattr(batch_test, "MAX_EXPLAINED", 2)
    test.save_errors(result, tmp_path / "wrong")
    files = {path.name: path for path in (tmp_path / "wrong").iterdir()}
    assert len(files) == 42
    name = result.wrong[0].name
    copy = files[f"0%3F_for_{name}"].read_bytes()
    assert copy == (trained.sample.test_image_dir.full / name).read_bytes()
    assert "the 2 least certain are explained in a picture next to it" in capsys.readouterr().out
    for wrong in result.wrong[:2]:
        stem = wrong.name.removesuffix(".png")
        assert is_png(files[f"0%3F_for_{stem}_explained.png"])


@pytest.fixture
def one_wrong(trained):
    name = next((trained.root / "sample" / "test").iterdir()).name
    return compare([name], ["01"], [Prediction("11", 0.8, (0.9, 0.9))], 0.5)


def test_picture_shows_what_was_read_and_where_the_network_looked(
    test, one_wrong, tmp_path, monkeypatch, capsys
):
    plotted = []
    monkeypatch.setattr(plots, "explanation_plot", lambda *args, **more: plotted.append(args))
    test.save_errors(one_wrong, tmp_path)
    [(pixels, panels, path)] = plotted
    assert path.name == f"11_for_{one_wrong.wrong[0].name.removesuffix('.png')}_explained.png"
    [prediction] = test.recognizer.predict_pixels(pixels[np.newaxis])
    assert [above for above, _, _ in panels] == [
        f"{character}  {confidence:.3f}"
        for character, confidence in zip(prediction.text, prediction.char_confidences, strict=True)
    ]
    for (_, below, heat), character in zip(panels, prediction.text, strict=True):
        other = "1" if character == "0" else "0"
        assert below == "" or below.startswith(f"{other}  0.")
        assert heat.shape == pixels.shape and heat.max() == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("each is explained")


def test_images_alone_are_copied_where_nothing_explains_them(
    test, one_wrong, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(batch_test, "is_installed", lambda package: package != "matplotlib")
    test.save_errors(one_wrong, tmp_path)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "no pictures explain them: matplotlib is not installed"
    ]
    test.recognizer = OnnxRecognizer.__new__(OnnxRecognizer)
    test.save_errors(one_wrong, tmp_path)
    [line] = capsys.readouterr().out.splitlines()[1:]
    assert line.startswith("no pictures explain them: model.onnx gives answers alone")
    assert len(list(tmp_path.iterdir())) == 1


def test_nothing_is_explained_where_all_is_right(test, tmp_path, capsys):
    test.save_errors(BatchResult(3, 3, 0.5, 1.0, [], 0.0, []), tmp_path)
    assert capsys.readouterr().out.startswith("0 wrong images copied")
    assert not list(tmp_path.iterdir())


def test_batch_test_of_an_exported_file_loads_no_tensorflow():
    code = (
        "import sys; from cnnlib.evaluation import TestBatch;"
        "TestBatch('sample', '0123456789abcdefghijklmnopqrstuvwxyz', 'model/pretrained', "
        "runtime='onnx'); print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout == "False\n"


def test_total_takes_that_many_without_repetition(trained):
    result = TestBatch.from_config(trained.sample, 7).test_batch()
    assert result.total == 7
    assert TestBatch.from_config(trained.sample, 1000).test_batch().total == 40


def test_parameters_of_version_2(trained):
    c = trained.sample
    result = TestBatch(c.test_image_dir, "01", c.model_save_dir, 5).test_batch()
    assert result.total == 5


def test_empty_folder_is_refused(trained, tmp_path):
    c = trained.sample
    with pytest.raises(SampleError, match="holds no usable image"):
        TestBatch(tmp_path, c.char_set, c.model_save_dir).test_batch()


def test_all_right_shows_no_confusions():
    lines = list(summary(BatchResult(3, 3, 0.5, 1.0, [], 0.0, [])))
    assert lines[0] == "3个样本识别耗时0.5秒，准确率100.0%"
    assert "confusions" not in "\n".join(lines)


def test_predictions_are_compared_with_the_labels_of_the_same_images():
    predictions = [
        Prediction("ab", 0.9, (0.95, 0.95)),
        Prediction("xb", 0.8, (0.9, 0.9)),
        Prediction("a", 0.3, (0.3,)),
    ]
    result = compare(["1", "2", "3"], ["ab", "ab", "ab"], predictions, 0.5)
    assert (result.total, result.right, result.seconds) == (3, 1, 0.5)
    assert result.image_accuracy == pytest.approx(1 / 3)
    assert result.char_accuracy == pytest.approx(4 / 6)
    assert [item.name for item in result.wrong] == ["3", "2"]
    assert result.coverage[0].answered == 1 and result.coverage[-1].answered == 0


def test_images_of_another_suffix_or_separator_are_left_out(trained):
    c = trained.sample
    with pytest.raises(SampleError, match="holds no usable image .0 of format jpg checked"):
        TestBatch(c.test_image_dir, "01", c.model_save_dir, image_suffix=".jpg").test_batch()
    with pytest.raises(SampleError, match="holds no usable image .40 of format"):
        TestBatch(c.test_image_dir, "01", c.model_save_dir, label_separator="#").test_batch()


def test_spec_of_another_captcha_is_refused(trained):
    c = trained.sample
    with pytest.raises(ModelError, match="image_width 40, not 50"):
        TestBatch(c.test_image_dir, "01", c.model_save_dir, spec=CaptchaSpec(24, 50, 2))


def test_copies_that_cannot_be_written_name_the_folder(test, tmp_path):
    result = compare(["1"], ["ab"], [Prediction("xb", 0.8, (0.9, 0.9))], 0.5)
    (tmp_path / "file").touch()
    with pytest.raises(CaptchaError, match="cannot copy wrong images to .*file.*another folder"):
        test.save_errors(result, tmp_path / "file")


def test_silent_reporter_gets_the_result_alone(trained, capfd):
    c = trained.sample
    silent = TestBatch(c.test_image_dir, "01", c.model_save_dir, 5, reporter=SilentReporter())
    assert silent.test_batch().total == 5
    assert capfd.readouterr().out == ""
