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

import cnnlib.onnx_recognizer
import cnnlib.runtimes
from cnnlib.config import load_sample_config
from cnnlib.dataset.images import open_image
from cnnlib.errors import CharsetError, ImageSizeError, ModelError
from cnnlib.exporting.export import export_model
from cnnlib.networks.model_folder import ModelFolder
from cnnlib.onnx_recognizer import OnnxRecognizer
from cnnlib.paths import PROJECT_ROOT
from cnnlib.recognizer import Recognizer
from cnnlib.runtimes import load_recognizer, recognizer_of
from cnnlib.text_reader import IMAGES_PER_RUN
from tests.helpers import SPEC, Project


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
    assert {**recognizer.describe(), "runtime": "onnx", "outdated": False} == onnx.describe()
    assert onnx.describe()["precision"] == "float32"


def test_no_images_and_a_closed_recogniser_are_the_same_for_both(exported):
    nothing = np.empty((0, 24, 40), np.uint8)
    for load in (Recognizer.from_config, load_onnx):
        recognizer = load(exported.sample)
        assert recognizer.predict([]) == recognizer.predict_pixels(nothing) == []
        recognizer.close()
        recognizer.close()  # a second time does nothing
        assert recognizer.predict([]) == []
        with pytest.raises(RuntimeError, match="[Cc]losed"):
            recognizer.rec_image(images(exported)[0])


def load_onnx(config):
    return OnnxRecognizer.in_folder(ModelFolder(config.model_save_dir), config.spec)


def test_relative_path_belongs_to_the_project_as_that_of_a_recogniser(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with OnnxRecognizer("model/pretrained/model.onnx") as recognizer:
        assert recognizer.image_width == 100


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


def newer_weights(project, age_s, checkpoint="best-9-00000000"):
    """Let model.json name other weights than the exported file, saved some seconds ago."""
    file = project / "model/model.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    for part in [*(project / "model").glob(f"{values['best']}.*")]:
        part.rename(part.with_name(part.name.replace(values["best"], checkpoint)))
    file.write_text(json.dumps({**values, "best": checkpoint}), encoding="utf-8")
    os.utime(file, times=(time.time() - age_s, time.time() - age_s))


def test_file_that_training_has_left_behind_is_reported(exported, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(exported.root, project)
    with OnnxRecognizer(project / "model/model.onnx") as recognizer:
        newer_weights(project, age_s=10)  # it may be exported in a moment
        assert recognizer.load_newer() is None
        assert recognizer.describe()["outdated"]
        newer_weights(project, age_s=1000)
        with pytest.raises(ModelError, match="has newer weights: run export_model.py"):
            recognizer.load_newer()


def runtime_of(config):
    with load_recognizer(config) as recognizer:
        return recognizer.describe()["runtime"]


def test_auto_takes_the_file_where_it_is_as_new_as_the_weights(exported, tmp_path, caplog):
    root = tmp_path / "project"
    shutil.copytree(exported.root, root)
    config = Project(root).sample
    assert runtime_of(config) == "onnx"
    assert runtime_of(dataclasses.replace(config, runtime="tensorflow")) == "tensorflow"
    assert not caplog.messages
    newer_weights(root, age_s=10)
    assert runtime_of(config) == "tensorflow"
    assert "has other weights than the newest of its folder: run export" in caplog.messages.pop()
    assert runtime_of(dataclasses.replace(config, runtime="onnx")) == "onnx"
    (root / "model/model.onnx").write_bytes(b"damaged")
    assert runtime_of(config) == "tensorflow"
    assert "the exported file is left aside: " in caplog.text and "is damaged" in caplog.text
    caplog.clear()
    (root / "model/model.onnx").unlink()
    assert runtime_of(config) == "tensorflow" and not caplog.messages


def test_auto_says_of_both_why_they_cannot_be_used(tmp_path):
    file = tmp_path / "project/model/model.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"no model in .* Nor can the exported file .* is damaged"):
        recognizer_of(SPEC, file.parent)


def test_without_tensorflow_auto_takes_the_file_and_says_where_to_export(
    exported, tmp_path, monkeypatch
):
    for module in (cnnlib.runtimes, cnnlib.onnx_recognizer):
        monkeypatch.setattr(module, "is_installed", lambda name: name != "tensorflow")
    assert runtime_of(exported.sample) == "onnx"
    with pytest.raises(
        ModelError,
        match=r"no exported model in .*/model\.onnx: run export_model"
        r"\.py where TensorFlow is installed, and copy the file here",
    ):
        recognizer_of(SPEC, tmp_path)


def reloaded(served):
    """Return which runtime takes the place of a recogniser, and that."""
    newer = served.load_newer()
    assert newer is not None and newer.load_newer() is None
    return newer.describe()["runtime"], newer


def test_auto_chooses_again_as_at_the_start(exported, tmp_path):
    root = tmp_path / "project"
    shutil.copytree(exported.root, root)
    file, kept = root / "model/model.onnx", root / "kept.onnx"
    served = load_recognizer(Project(root).sample)
    assert served.load_newer() is None
    newer_weights(root, age_s=10)
    assert served.load_newer() is None  # they may be exported in a moment
    newer_weights(root, age_s=1000, checkpoint="best-9-00000001")
    runtime, served = reloaded(served)
    assert runtime == "tensorflow"
    kept.write_bytes(file.read_bytes())
    os.utime(file)  # an older file that comes anew
    assert reloaded(served)[0] == "tensorflow"
    export_model(Project(root).sample)
    runtime, served = reloaded(served)
    assert runtime == "onnx"
    shutil.copy(kept, file)  # of the weights before these
    assert reloaded(served)[0] == "tensorflow"
    file.unlink()
    assert reloaded(served)[0] == "tensorflow"
    assert served.rec_image(images(exported)[0]) == served.rec_image(images(exported)[0])
    shutil.rmtree(root / "model")
    with pytest.raises(ModelError, match="no model in"):
        served.load_newer()
    assert served.load_newer() is None  # not tried again at once


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
