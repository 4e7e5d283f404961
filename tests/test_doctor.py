"""The script that says what is wrong with images, labels and model."""

import shutil
import sys

import pytest

import doctor
from cnnlib.dataset.images import open_image
from cnnlib.recognizer import Recognizer
from cnnlib.training import forecast as forecasts
from tests.helpers import is_png


def surely_read(trained, paths, text):
    """Return the images that the model reads as this text, the most certain first."""
    with Recognizer.from_config(trained.sample) as recognizer:
        predictions = recognizer.predict(map(open_image, paths))
    pairs = sorted(zip(predictions, paths, strict=True), key=lambda pair: -pair[0].confidence)
    return [path for prediction, path in pairs if prediction.text == text]


def test_wrong_labels_are_listed_and_drawn(trained, tmp_path, capsys, monkeypatch):
    project = tmp_path / "project"
    shutil.copytree(trained.root, project)
    wrong = []
    for path in surely_read(trained, sorted((project / "sample/train").glob("00_*")), "00")[:3]:
        wrong.append(path.with_name(path.name.replace("00_", "11_")))
        path.rename(wrong[-1])
    assert doctor.main(["--config", str(project / "conf/sample_config.json")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("600 images for training, 40 for testing\n- a test set of 40 cannot")
    assert all(f"  {path.name}: read as " in printed for path in wrong)
    assert f"look at them: {project / 'model/doubtful.png'}" in printed
    assert is_png(project / "model/doubtful.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert doctor.main(["--config", str(project / "conf/sample_config.json")]) == 0
    assert "no picture: matplotlib is not installed" in capsys.readouterr().err


def test_without_a_model_the_images_are_checked(project, draw_images, capsys):
    for folder in ("train", "test"):
        draw_images(project.root / "sample" / folder, 5)
    assert doctor.main(["--config", str(project.config_path)]) == 0
    assert "no model in model/ yet" in capsys.readouterr().out


@pytest.mark.parametrize("steps", [None, 2])
def test_forecast_leaves_the_model_alone(trained, capsys, monkeypatch, steps):
    asked = []

    def forecast(config, train, test, steps):
        asked.append((len(train), len(test), steps))
        return forecasts.Forecast(forecasts.Part(150, 450, 45), forecasts.Part(300, 300, 24), steps)

    monkeypatch.setattr(forecasts, "forecast", forecast)
    options = ["--forecast", *(["--steps", str(steps)] if steps else [])]
    assert doctor.main([*options, "--config", str(trained.config_path)]) == 0
    assert asked == [(600, 40, steps or 24)]  # else a fifth of cycle_stop
    printed = capsys.readouterr().out
    assert "    150 images: 90.0% right, measured on 450 others" in printed
    assert "doubtful" not in printed
