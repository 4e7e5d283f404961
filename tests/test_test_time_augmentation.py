"""Test-time augmentation: what is read of the shifts of an image, by all that recognise."""

import dataclasses
import json

import numpy as np
import pytest

from cnnlib.dataset.image_set import load_images
from cnnlib.dataset.verification import Rules
from cnnlib.evaluation import TestBatch
from cnnlib.evaluation.metrics import softmax
from cnnlib.exporting.export import FORMATS, export_model
from cnnlib.exporting.inference_graph import build_inference_graph
from cnnlib.networks.metadata import RGB, ModelMetadata
from cnnlib.networks.model_folder import MODEL_FILE
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.test_time_augmentation import shifted, shifted_columns
from cnnlib.onnx_recognizer import OnnxRecognizer
from cnnlib.recognizer import Recognizer
from cnnlib.runtimes import load_recognizer
from tests.exporting.test_onnx_graph import TO_FOUR, outputs, some_images, trained_values
from tests.helpers import Project
from tests.networks.test_model_folder import INFO
from tests.training.helpers import info, train

TEMPERATURE = 2.0


def augment(project: Project) -> Project:
    """Let a project's model read several shifts of each image."""
    file = project.sample.model_save_dir.full / MODEL_FILE
    values = {"temperature": TEMPERATURE, "image_accuracy": 0.99}
    said = json.loads(file.read_text(encoding="utf-8")) | {"augmented": values}
    file.write_text(json.dumps(said), encoding="utf-8")
    return project


@pytest.fixture(scope="module")
def augmented(trained, tmp_path_factory) -> Project:
    """For tests that change nothing."""
    return augment(trained.copy(tmp_path_factory.mktemp("augmented") / "project"))


@pytest.fixture(scope="module")
def pixels(trained) -> np.ndarray:
    rules = Rules.from_config(trained.sample)
    return load_images(trained.sample.test_image_dir, rules, limit=20).pixels


def all_shifts(pixels: np.ndarray) -> list[np.ndarray]:
    columns = shifted_columns(*pixels.shape[1:3])
    return [pixels, *(pixels[:, :, some] for some in columns)]


@pytest.mark.parametrize(("height", "shift"), [(8, 1), (24, 1), (37, 1), (60, 3), (80, 5)])
def test_images_are_shifted_to_both_sides_and_their_edges_repeated(height, shift):
    image = np.arange(height * 100).reshape(1, height, 100)
    left, right = (image[:, :, columns] for columns in shifted_columns(height, 100))
    assert np.array_equal(left[..., :-shift], image[..., shift:])
    assert np.array_equal(right[..., shift:], image[..., :-shift])
    assert (right[..., :shift] == image[..., :1]).all()
    assert (left[..., -shift:] == image[..., -1:]).all()


def test_probabilities_are_of_the_mean_of_the_logits(trained, augmented, pixels):
    with Recognizer.from_config(trained.sample) as once:
        logits = [
            np.log(once.probabilities(images)) * once.info.temperature
            for images in all_shifts(pixels)
        ]
        plain = once.probabilities(pixels)
    with Recognizer.from_config(augmented.sample) as several:
        found = several.probabilities(pixels)
        said = several.describe()
    expected = softmax(np.mean(logits, axis=0) / TEMPERATURE)
    assert found == pytest.approx(expected, abs=0.02)  # bfloat16 in between
    assert (said["test_time_augmentation"], said["accuracy"]) == (True, 0.99)
    config = dataclasses.replace(augmented.sample, test_time_augmentation=False)
    with Recognizer.from_config(config) as once_again:  # with the temperature of that
        assert np.array_equal(once_again.probabilities(pixels), plain)
        assert once_again.describe()["accuracy"] == info(trained).scores["image_accuracy"]


def test_graph_reads_all_shifts_of_colour_images_with_texts_of_several_lengths():
    spec = dataclasses.replace(TO_FOUR, image_channels=3)
    metadata = ModelMetadata(spec, "cnn5", 1, 1.0, 1.0, "", "best", RGB)
    values = trained_values("cnn5", spec)
    once = build_inference_graph(metadata, values)
    images = some_images(once, 3)
    logits = [np.log(outputs(once, some)["probabilities"] + 1e-30) for some in all_shifts(images)]
    several = build_inference_graph(
        dataclasses.replace(metadata, test_time_augmentation=True), values
    )
    expected = softmax(np.mean(logits, axis=0))
    assert outputs(several, images)["probabilities"] == pytest.approx(expected, abs=1e-3)


def test_shifts_of_a_tensor_are_those_of_pixels():
    images = np.random.default_rng(0).integers(0, 256, (2, 60, 100, 3)).astype(np.uint8)
    with tf.Graph().as_default(), tf.Session() as session:
        found = session.run(shifted(tf.constant(images)))
    assert np.array_equal(found, np.concatenate(all_shifts(images)))


@pytest.mark.parametrize("kind", FORMATS)
def test_exported_files_read_the_same(augmented, kind, tmp_path):
    export = export_model(augmented.sample, kind, output=tmp_path / "exported")
    assert export.comparison.differing == 0 and export.metadata.test_time_augmentation
    assert export.comparison.largest_difference < 1e-3
    if kind == "onnx":
        with OnnxRecognizer(export.file) as onnx, Recognizer.from_config(augmented.sample) as model:
            assert onnx.describe().items() >= (model.describe() | {"runtime": "onnx"}).items()


def test_int8_file_of_several_lengths_reads_nearly_as_well(trained, tmp_path):
    """What no text can have is masked by huge values, which int8 cannot hold with others."""
    project = trained.copy(tmp_path / "project")
    project.change(min_captcha=1, cycle_stop=60, cycle_save=60)
    train(project, fresh=True)
    augment(project)
    export = export_model(project.sample, "tflite", "int8", output=tmp_path / "exported")
    assert export.comparison.file_accuracy >= export.comparison.model_accuracy - 0.1
    assert export.comparison.model_accuracy > 0.5  # by chance: 0.25


def test_key_decides_without_a_training(trained, tmp_path):
    """Also where a file was exported before the key was changed."""
    project = augment(trained.copy(tmp_path / "project"))
    export_model(project.sample)
    for wanted, runtime in ((True, "onnx"), (False, "tensorflow")):
        project.change(test_time_augmentation=wanted)
        with load_recognizer(project.sample) as recognizer:
            said = recognizer.describe()
        assert TestBatch.from_config(project.sample).recognizer.describe() == said
        assert (said["test_time_augmentation"], said["runtime"]) == (wanted, runtime)
    export_model(project.sample)
    with load_recognizer(project.sample) as recognizer:
        said = recognizer.describe()
    assert (said["test_time_augmentation"], said["runtime"]) == (False, "onnx")


def test_file_is_served_where_the_model_next_to_it_is_damaged(augmented, tmp_path):
    project = augmented.copy(tmp_path / "project")
    export_model(project.sample)
    (project.sample.model_save_dir.full / MODEL_FILE).write_text("{", encoding="utf-8")
    with load_recognizer(project.sample) as recognizer:
        assert recognizer.describe()["runtime"] == "onnx"


def test_file_that_says_nothing_of_it_reads_once():
    metadata = ModelMetadata.of(INFO)
    properties = metadata.to_properties()
    del properties["test_time_augmentation"]
    assert ModelMetadata.from_properties(properties, "old.onnx") == metadata


def test_explanation_is_of_the_image_as_it_is(trained, augmented, pixels):
    with Recognizer.from_config(trained.sample) as once:
        plain = once.explain_pixels(pixels[:3])
    with Recognizer.from_config(augmented.sample) as several:
        details = several.explain_pixels(pixels[:3])
        assert np.array_equal(details.probabilities, several.probabilities(pixels[:3]))
    assert details.attention.shape == plain.attention.shape
    assert np.allclose(details.glimpses, plain.glimpses, rtol=0.1, atol=0.1)
