"""The recogniser that needs no TensorFlow: it reads what the other one reads."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import cnnlib.runtimes
from cnnlib.config import load_sample_config
from cnnlib.dataset.images import open_image
from cnnlib.errors import CharsetError, ConfigError, ImageSizeError, ModelError
from cnnlib.exporting.export import export_model
from cnnlib.networks.model_folder import ModelFolder
from cnnlib.onnx_recognizer import OnnxRecognizer
from cnnlib.paths import PROJECT_ROOT
from cnnlib.recognizer import Recognizer
from cnnlib.runtimes import load_recognizer
from cnnlib.text_reader import IMAGES_PER_RUN
from tests.helpers import Project


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """A copy of the trained project, with its exported file in the model folder."""
    root = tmp_path_factory.mktemp("exported") / "project"
    shutil.copytree(trained.root, root)
    project = Project(root)
    export_model(project.sample)
    return project


@pytest.fixture
def both(exported):
    folder = ModelFolder(exported.sample.model_save_dir)
    with (
        Recognizer.from_config(exported.sample) as recognizer,
        OnnxRecognizer.in_folder(folder, exported.sample.spec) as onnx,
    ):
        yield recognizer, onnx


def images(project):
    return [open_image(path) for path in sorted((project.root / "sample/test").glob("*.png"))]


def test_same_answers(exported, both):
    recognizer, onnx = both
    many = images(exported)
    assert len(many) > IMAGES_PER_RUN
    for a, b in zip(recognizer.predict(many), onnx.predict(many), strict=True):
        assert a.text == b.text
        assert a.char_confidences == pytest.approx(b.char_confidences, abs=0.05)  # bfloat16
    assert onnx.rec_image(many[0]) == recognizer.rec_image(many[0])
    assert {**recognizer.describe(), "runtime": "onnx"} == onnx.describe()
    assert onnx.predict([]) == []


def test_same_refusals(both):
    for recognizer in both:
        with pytest.raises(ImageSizeError, match="image of 41x24, expected 40x24"):
            recognizer.rec_image(Image.new("RGB", (41, 24)))
        with pytest.raises(CharsetError, match="charset has 'z': the model knows 01"):
            recognizer.read(np.full((2, 2), 0.5, np.float32), ["z"])


def test_many_threads_at_once(exported, both):
    _, onnx = both
    many = images(exported)
    expected = [onnx.rec_image(image) for image in many]
    with ThreadPoolExecutor(8) as threads:
        assert [*threads.map(onnx.rec_image, 4 * many)] == 4 * expected


def test_file_for_rgb_is_given_gray_pixels_too(exported, both, tmp_path):
    file = tmp_path / "rgb.onnx"
    export_model(exported.sample, input_kind="rgb", output=file)
    _, onnx = both
    with OnnxRecognizer(file) as rgb:
        assert rgb.predict(images(exported)) == onnx.predict(images(exported))


def test_another_captcha_is_refused(exported):
    folder = ModelFolder(exported.sample.model_save_dir)
    wanted = dataclasses.replace(exported.sample.spec, image_width=50)
    with pytest.raises(ModelError, match=r"exported for image_width 40, not 50\. Export the model"):
        OnnxRecognizer.in_folder(folder, wanted)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is damaged"), (b"half of a file", "is damaged"), (None, "no exported model in")],
)
def test_file_that_cannot_be_used(tmp_path, content, message):
    file = tmp_path / "model.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        OnnxRecognizer(file)


def test_newer_file_is_loaded(exported, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(exported.root, project)
    file = project / "model/model.onnx"
    with OnnxRecognizer(file) as recognizer:
        assert recognizer.load_newer() is None
        data = file.read_bytes()
        file.write_bytes(data[:1000])
        with pytest.raises(ModelError, match="is damaged"):
            recognizer.load_newer()
        assert recognizer.load_newer() is None  # not tried again at once
        file.write_bytes(data)
        newer = recognizer.load_newer()
        assert newer is not None and newer.rec_image(images(exported)[0])
        newer.close()


def newer_weights(project, age_s):
    """Let model.json name other weights than the exported file, saved some seconds ago."""
    file = project / "model/model.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    for part in [*(project / "model").glob(f"{values['best']}.*")]:
        part.rename(part.with_name(part.name.replace(values["best"], "best-9-00000000")))
    file.write_text(json.dumps({**values, "best": "best-9-00000000"}), encoding="utf-8")
    os.utime(file, times=(time.time() - age_s, time.time() - age_s))


def test_file_that_training_has_left_behind_is_reported(exported, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(exported.root, project)
    with OnnxRecognizer(project / "model/model.onnx") as recognizer:
        newer_weights(project, age_s=10)  # it may be exported in a moment
        assert recognizer.load_newer() is None
        newer_weights(project, age_s=1000)
        with pytest.raises(ModelError, match="has newer weights: run export_model.py"):
            recognizer.load_newer()


def runtime_of(config):
    with load_recognizer(config) as recognizer:
        return recognizer.describe()["runtime"]


def test_auto_takes_the_file_where_it_is_as_new_as_the_weights(exported, tmp_path, monkeypatch):
    root = tmp_path / "project"
    shutil.copytree(exported.root, root)
    config = Project(root).sample
    assert runtime_of(config) == "onnx"
    assert runtime_of(dataclasses.replace(config, runtime="tensorflow")) == "tensorflow"
    newer_weights(root, age_s=10)
    assert runtime_of(config) == "tensorflow"
    assert runtime_of(dataclasses.replace(config, runtime="onnx")) == "onnx"
    (root / "model/model.onnx").write_bytes(b"damaged")
    assert runtime_of(config) == "tensorflow"
    monkeypatch.setattr(cnnlib.runtimes, "is_installed", lambda name: name != "tensorflow")
    with pytest.raises(ModelError, match="is damaged"):
        load_recognizer(config)
    with pytest.raises(ConfigError, match=r"TensorFlow is not installed: pip install"):
        load_recognizer(dataclasses.replace(config, runtime="tensorflow"))


ALONE = """
import sys
sys.modules.update(dict.fromkeys(["tensorflow", "tqdm", "flask", "requests", "prometheus_client"]))
from PIL import Image
from cnnlib.onnx_recognizer import OnnxRecognizer
with OnnxRecognizer(sys.argv[1]) as recognizer:
    print(recognizer.rec_image(Image.open(sys.argv[2])), recognizer.load_newer())
"""


def test_it_needs_onnxruntime_numpy_and_pillow_alone(exported, both):
    image = sorted((exported.root / "sample/test").glob("*.png"))[0]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(exported.root / "model/model.onnx"), str(image)],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [both[0].rec_image(open_image(image)), "None"]


WITHOUT_TENSORFLOW = """
import sys
sys.modules.update(dict.fromkeys(["tensorflow", "tensorboard", "captcha", "matplotlib", "onnx"]))
import webserver_recognize_api
app = webserver_recognize_api.create_app(sys.argv[1], save=False, runtime="onnx")
with open(sys.argv[2], "rb") as image:
    answer = app.test_client().post("/b", data={"image_file": (image, "x.png")})
print(answer.get_json()["value"])
app.extensions["service"].close()
"""


def test_api_answers_without_tensorflow(exported, both):
    image = sorted((exported.root / "sample/test").glob("*.png"))[0]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, str(exported.config_path), str(image)],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == both[0].rec_image(open_image(image))


def test_shipped_file_is_the_shipped_model():
    config = load_sample_config("conf/pretrained_config.json", runtime="onnx")
    with load_recognizer(config) as onnx:
        assert isinstance(onnx, OnnxRecognizer)
        assert onnx.metadata.checkpoint == ModelFolder(config.model_save_dir).read_required().best
