"""Exported files: what they say, that they read as the model does, and what is never written."""

import dataclasses
import functools
import io
import json
import shutil
import subprocess
import sys
import time
import zipfile
from contextlib import redirect_stdout

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

import export_model
from cnnlib.dataset.images import read_pixels
from cnnlib.errors import CaptchaError, ConfigError, ModelError, SampleError
from cnnlib.exporting import export as export_module
from cnnlib.exporting.runners import onnx_runner, saved_model_runner, tflite_runner
from cnnlib.networks.metadata import ModelMetadata
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.paths import PROJECT_ROOT
from cnnlib.recognizer import Recognizer
from cnnlib.training import TrainModel
from tests.helpers import new_project

RUNNERS = {"onnx": onnx_runner, "savedmodel": saved_model_runner, "tflite": tflite_runner}


def pixels_of(trained, count=20):
    paths = sorted((trained.root / "sample/test").glob("*.png"))[:count]
    return np.stack([read_pixels(path, trained.sample.spec) for path in paths])


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """Return exported(kind, precision) -> file, and what was printed; to be read alone."""
    folder = tmp_path_factory.mktemp("exported")

    @functools.cache
    def export(kind, precision="float32"):
        target, printed = folder / f"{kind}-{precision}", io.StringIO()
        arguments = ["--config", str(trained.config_path), "--output", str(target)]
        more = [] if precision == "float32" else ["--precision", precision]
        with redirect_stdout(printed):
            assert export_model.main([*arguments, "--format", kind, *more]) == 0
        return target, printed.getvalue()

    return export


@pytest.mark.parametrize("kind", RUNNERS)
def test_file_reads_as_the_model(trained, exported, kind):
    target, printed = exported(kind)
    assert f"{target}: " in printed and "in  image: uint8 [B, H = 24, W = 40]" in printed
    assert "compared with the model on 200 images: 0 texts differ" in printed
    images = pixels_of(trained)
    with RUNNERS[kind](target) as run, Recognizer.from_config(trained.sample) as recognizer:
        found, expected = run(images), recognizer.predict_pixels(images)
    texts = ["".join(trained.sample.char_set[i] for i in ids) for ids in found["char_ids"]]
    assert texts == [prediction.text for prediction in expected]


def test_onnx_says_what_it_is(trained, exported):
    properties = {p.key: p.value for p in onnx.load(exported("onnx")[0]).metadata_props}
    assert json.loads(properties["char_set"]) == ["0", "1"]
    assert (properties["image_width"], properties["resize"]) == ("40", "")
    with Recognizer.from_config(trained.sample) as recognizer:
        info = recognizer.info
    read = ModelMetadata.from_properties(properties, "model.onnx")
    assert (read.spec, read.checkpoint, read.temperature) == (
        info.spec,
        info.best,
        info.temperature,
    )
    assert read.accuracy == info.scores["image_accuracy"]


def test_saved_model_gives_texts_and_says_what_it_is(trained, exported):
    folder, _ = exported("savedmodel")
    assert json.loads((folder / "assets/cnn_captcha.json").read_text())["char_set"] == ["0", "1"]
    with tf.Graph().as_default(), tf.Session() as session:
        model = tf.saved_model.load(session, ["serve"], str(folder))
        signature = model.signature_def["serving_default"]
        images = pixels_of(trained)
        image, text = signature.inputs["image"].name, signature.outputs["text"].name
        texts = session.run(text, {image: images})
    with Recognizer.from_config(trained.sample) as recognizer:
        expected = recognizer.predict_pixels(images)
    assert [text.decode() for text in texts] == [prediction.text for prediction in expected]


def test_tflite_says_what_it_is(exported):
    with zipfile.ZipFile(exported("tflite")[0]) as archive:
        assert json.loads(archive.read("cnn_captcha.json"))["image_height"] == 24


@pytest.mark.filterwarnings("ignore:.mapping:DeprecationWarning")  # in onnxruntime 1.17
@pytest.mark.parametrize("kind", ["onnx", "tflite"])
@pytest.mark.parametrize(("precision", "share"), [("float16", 0.6), ("int8", 0.8)])
def test_smaller_files_say_what_they_lose(trained, exported, kind, precision, share):
    (whole, _), (small, printed) = exported(kind), exported(kind, precision)
    assert "\nright of them: " in printed
    assert small.stat().st_size < share * whole.stat().st_size
    images = pixels_of(trained)
    with RUNNERS[kind](small) as run, RUNNERS[kind](whole) as exact:
        same = (run(images)["char_ids"] == exact(images)["char_ids"]).all(axis=-1)
    assert same.mean() > 0.7  # of 20; some are as likely one text as another
    said = said_by(small)
    assert said["accuracy_of"] == "this file" and said["precision"] == precision
    assert said["accuracy"] == pytest.approx(accuracy_of(trained, kind, small))
    assert said_by(whole)["accuracy_of"] == "float32 model"


def said_by(file):
    """Return the metadata of a file, ONNX or TFLite."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            assert archive.namelist() == ["cnn_captcha.json"]
            return json.loads(archive.read("cnn_captcha.json"))
    properties = {p.key: p.value for p in onnx.load(file).metadata_props}
    return ModelMetadata.from_properties(properties, file.name).to_json()


def accuracy_of(trained, kind, file):
    """Return the share of all test images that a file reads as their names say."""
    names = [path.name for path in sorted((trained.root / "sample/test").glob("*.png"))]
    with RUNNERS[kind](file) as run:
        found = run(pixels_of(trained, len(names)))["char_ids"]
    texts = ["".join(trained.sample.char_set[i] for i in ids) for ids in found]
    return np.mean([text == name[:2] for text, name in zip(texts, names, strict=True)])


@pytest.mark.filterwarnings("ignore:.mapping:DeprecationWarning")  # in onnxruntime 1.17
def test_few_images_to_calibrate_are_reported_and_none_to_measure_is_said(
    trained, tmp_path, capsys
):
    project = new_project(tmp_path / "project")
    few = project.root / "sample/train"
    few.mkdir(parents=True)
    for path in sorted((trained.root / "sample/train").glob("*.png"))[:10]:
        shutil.copy(path, few)
    config = dataclasses.replace(
        trained.sample,
        test_image_dir=project.sample.test_image_dir,
        train_image_dir=project.sample.train_image_dir,
    )
    file = tmp_path / "int8.onnx"
    for _ in range(2):  # the second takes the place of the first
        export_module.export_model(config, precision="int8", output=file)
    assert "calibrated on 10 training images" in capsys.readouterr().err
    with Recognizer.from_config(trained.sample) as recognizer:
        expected = recognizer.info.scores["image_accuracy"]
    said = said_by(file)
    assert (said["accuracy"], said["accuracy_of"]) == (expected, "float32 model")


def test_files_of_before_have_the_accuracy_of_the_model(exported):
    properties = {p.key: p.value for p in onnx.load(exported("onnx")[0]).metadata_props}
    del properties["accuracy_of"]
    assert ModelMetadata.from_properties(properties, "x").accuracy_of == "float32 model"
    del properties["input"]
    with pytest.raises(ModelError, match="does not say what captcha it is for"):
        ModelMetadata.from_properties(properties, "x")


def test_names_tell_what_is_unusual(trained):
    kind, info = export_module.FORMATS["onnx"], Recognizer.from_config(trained.sample).info
    names = [
        export_module.default_name(kind, ModelMetadata.of(info, *unusual))
        for unusual in (("gray", "float32"), ("rgb", "float32"), ("gray", "int8"))
    ]
    assert names == ["model.onnx", "model-rgb.onnx", "model-int8.onnx"]


def test_file_that_reads_something_else_is_not_kept(trained, tmp_path, monkeypatch):
    build = export_module.build_inference_graph

    def wrong(metadata, values):
        return build(dataclasses.replace(metadata, temperature=2 * metadata.temperature), values)

    monkeypatch.setattr(export_module, "build_inference_graph", wrong)
    target = tmp_path / "model.onnx"
    target.write_bytes(b"an export of cnn_captcha")
    with pytest.raises(ModelError, match="does not read as the model does"):
        export_module.export_model(trained.sample, output=target)
    assert [*tmp_path.iterdir()] == [target] and target.read_bytes() == b"an export of cnn_captcha"


def test_export_that_is_told_to_stop_leaves_nothing(trained, tmp_path):
    command = [sys.executable, "export_model.py", "--config", str(trained.config_path)]
    with subprocess.Popen(
        [*command, "--output", str(tmp_path / "model.onnx")],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as script:
        while script.poll() is None and not [*tmp_path.iterdir()]:
            time.sleep(0.01)
        script.terminate()
        assert script.communicate() == ("", "interrupted\n")
    assert script.returncode == 130 and not [*tmp_path.iterdir()]


@pytest.mark.parametrize("taken", ["model.json", "folder"])
def test_other_files_are_never_replaced(trained, tmp_path, taken):
    (tmp_path / "folder").mkdir()
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(CaptchaError, match=r"is in the way, and not an exported|is a folder"):
        export_module.export_model(trained.sample, output=tmp_path / taken)
    assert (tmp_path / "model.json").read_text() == "{}"
    file = tmp_path / "model.onnx"
    for _ in range(2):
        export_module.export_model(trained.sample, output=file)


def test_saved_model_refuses_another_shape(trained, tmp_path):
    export_module.export_model(trained.sample, "savedmodel", output=tmp_path / "saved")
    with saved_model_runner(tmp_path / "saved") as run:
        for shape in ((1, 24, 41), (2, 12, 40), (1, 40, 24)):
            with pytest.raises(tf.errors.InvalidArgumentError):
                run(np.zeros(shape, np.uint8))


def test_folder_of_somebody_is_never_replaced(trained, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CaptchaError, match="is in the way: remove it, or name another output"):
        export_module.export_model(trained.sample, "savedmodel", output=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_saved_model_takes_the_place_of_an_earlier_one(trained, tmp_path):
    for _ in range(2):
        export_module.export_model(trained.sample, "savedmodel", output=tmp_path / "saved")
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_what_a_format_does_not_have(trained, tmp_path):
    with pytest.raises(ConfigError, match="a SavedModel has float32 alone"):
        export_module.export_model(trained.sample, "savedmodel", "int8", output=tmp_path / "x")
    assert not [*tmp_path.iterdir()]


def test_without_images_made_up_ones_are_compared(trained, tmp_path):
    nowhere = new_project(tmp_path / "project")
    config = dataclasses.replace(
        trained.sample,
        test_image_dir=nowhere.sample.test_image_dir,
        train_image_dir=nowhere.sample.train_image_dir,
    )
    export = export_module.export_model(config, output=tmp_path / "model.onnx")
    assert export.comparison.summary().startswith("compared with the model on 200 made-up images")
    with pytest.raises(SampleError, match="int8 is calibrated on training images"):
        export_module.export_model(config, precision="int8", output=tmp_path / "int8.onnx")


@pytest.fixture(scope="module")
def chinese(tmp_path_factory):
    """A model of Chinese texts of several lengths, in colour images of several sizes."""
    project = new_project(tmp_path_factory.mktemp("chinese") / "project")
    project.change(
        char_set="验证码字",
        min_captcha=1,
        image_channels=3,
        resize="pad",
        network="cnn5",
        cycle_stop=10,
    )
    rng = np.random.default_rng(0)
    for folder in (project.root / "sample/train", project.root / "sample/test"):
        folder.mkdir(parents=True)
        for i, label in enumerate(10 * ["验", "证码", "字字"]):
            size = (int(rng.integers(20, 30)), int(rng.integers(30, 60)), 3)
            picture = Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8))
            picture.save(folder / f"{label}_{i}.png")
    TrainModel.from_config(project.sample).train_cnn()
    return project


@pytest.mark.parametrize("kind", RUNNERS)
def test_model_of_another_kind_reads_the_same(chinese, tmp_path, kind):
    export = export_module.export_model(chinese.sample, kind, output=tmp_path / "exported")
    assert (export.comparison.captchas, export.comparison.differing) == (60, 0)
    assert export.shapes["image"] == "uint8 [B, H = 24, W = 40, 3]"


def test_training_exports_each_new_best(project, draw_images):
    project.resize(24, 16)
    for folder in ("train", "test"):
        draw_images(project.root / "sample" / folder, 20)
    project.change(network="cnn5", export_onnx=True)
    trainer = TrainModel.from_config(project.sample)
    trainer.train_cnn()
    file = trainer.folder.full / "model.onnx"
    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    exported = session.get_modelmeta().custom_metadata_map["checkpoint"]
    assert exported == trainer.folder.read_required().best


def test_what_is_missing_is_said_before_a_training(project, draw_images, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    project.change(export_onnx=True)
    with pytest.raises(ConfigError, match=r"pip install -r requirements-export\.txt"):
        TrainModel.from_config(project.sample).train_cnn()
    with pytest.raises(ConfigError, match=r"pip install -r requirements-export\.txt"):
        export_module.export_model(project.sample)  # before it looks for a model


def test_damaged_model_leaves_the_export_alone(trained, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(trained.root, project)
    for file in (project / "model").glob("best-*.data-*"):
        file.write_bytes(file.read_bytes()[:1000])
    config = ["--config", str(project / "conf/sample_config.json")]
    assert export_model.main(config) == 2
    assert not (project / "model/model.onnx").exists()
