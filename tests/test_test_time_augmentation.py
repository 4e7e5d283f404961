"""Test-time augmentation: what is read of the shifts of an image, by all that recognise."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from cnnlib.dataset.image_set import ImageSet, load_images
from cnnlib.dataset.verification import Rules
from cnnlib.evaluation.metrics import softmax
from cnnlib.exporting.export import FORMATS, export_model
from cnnlib.networks.metadata import ModelMetadata
from cnnlib.networks.test_time_augmentation import shifted
from cnnlib.onnx_recognizer import OnnxRecognizer
from cnnlib.recognizer import Recognizer
from cnnlib.training import saving
from cnnlib.training.saving import ModelSaver
from tests.helpers import Project
from tests.networks.test_model_folder import INFO

TEMPERATURE = 2.0


@pytest.fixture(scope="module")
def augmented(trained, tmp_path_factory) -> Project:
    """A model that reads several shifts of each image."""
    project = trained.copy(tmp_path_factory.mktemp("augmented") / "project")
    file = project.sample.model_save_dir.full / "model.json"
    said = json.loads(file.read_text(encoding="utf-8")) | {"augmented_temperature": TEMPERATURE}
    file.write_text(json.dumps(said), encoding="utf-8")
    return project


@pytest.fixture(scope="module")
def pixels(trained) -> np.ndarray:
    rules = Rules.from_config(trained.sample)
    return load_images(trained.sample.test_image_dir, rules, limit=20).pixels


def test_first_shift_is_the_image_and_edges_are_repeated():
    image = np.arange(60 * 100).reshape(1, 60, 100)
    as_it_is, left, right = shifted(image)
    assert np.array_equal(as_it_is, image)
    assert np.array_equal(left[..., :-3], image[..., 3:])
    assert np.array_equal(right[..., 3:], image[..., :-3])
    assert (right[..., :3] == image[..., :1]).all() and (left[..., -3:] == image[..., -1:]).all()
    colour = np.repeat(image[..., np.newaxis], 3, axis=-1)
    assert all(
        np.array_equal(a[..., 1], b) for a, b in zip(shifted(colour), shifted(image), strict=True)
    )


def test_probabilities_are_of_the_mean_of_the_logits(trained, augmented, pixels):
    with Recognizer.from_config(trained.sample) as once:
        logits = [
            np.log(once.probabilities(images)) * once.info.temperature for images in shifted(pixels)
        ]
    with Recognizer.from_config(augmented.sample) as several:
        found = several.probabilities(pixels)
        assert several.describe()["test_time_augmentation"] is True
    expected = softmax(np.mean(logits, axis=0) / TEMPERATURE)
    assert found == pytest.approx(expected, abs=0.02)  # bfloat16 in between


@pytest.mark.parametrize("kind", FORMATS)
def test_exported_files_read_the_same(augmented, pixels, kind, tmp_path):
    export = export_model(augmented.sample, kind, output=tmp_path / "exported")
    assert export.comparison.differing == 0 and export.metadata.test_time_augmentation
    assert export.comparison.largest_difference < 1e-3
    if kind != "onnx":
        return
    with OnnxRecognizer(export.file) as onnx, Recognizer.from_config(augmented.sample) as model:
        assert onnx.describe().items() >= (model.describe() | {"runtime": "onnx"}).items()
        assert onnx.predict_pixels(pixels[:1])[0].text == model.predict_pixels(pixels[:1])[0].text


def test_file_that_says_nothing_of_it_reads_once(augmented):
    info = ModelMetadata.of(INFO)
    properties = info.to_properties()
    del properties["test_time_augmentation"]
    assert ModelMetadata.from_properties(properties, "old.onnx") == info


def test_explanation_is_of_the_image_as_it_is(trained, augmented, pixels):
    with Recognizer.from_config(trained.sample) as once:
        plain = once.explain_pixels(pixels[:3])
    with Recognizer.from_config(augmented.sample) as several:
        details = several.explain_pixels(pixels[:3])
        assert np.array_equal(details.probabilities, several.probabilities(pixels[:3]))
    assert details.attention.shape == plain.attention.shape
    assert np.allclose(details.glimpses, plain.glimpses, rtol=0.1, atol=0.1)


def scores(right: int, of: int = 200) -> saving.Scores:
    return saving.Scores(0.9, right / of, 0.3, np.arange(of) < right)


@pytest.mark.parametrize(
    ("once", "several", "wanted", "chosen"),
    [
        (140, 160, True, True),
        (140, 160, False, False),  # by the key
        (140, 141, True, False),  # half a percent does not pay for its time
        (140, 130, True, False),
        (199, 200, True, False),
    ],
)
def test_training_chooses_it_where_clearly_more_is_right(once, several, wanted, chosen):
    outputs = np.zeros((200, 2, 4)), np.zeros((200, 2), int), np.zeros(200)
    recipe = SimpleNamespace(least_augmented_gain=0.01)
    saver = ModelSaver(
        None,
        None,
        None,
        SimpleNamespace(augmented_outputs=lambda *_: outputs, scores_of=lambda *_: scores(several)),
        SimpleNamespace(recipe=recipe, test_time_augmentation=wanted, acc_stop=1.0),
        ImageSet([], np.zeros((200, 24, 40), np.uint8), outputs[1]),
    )
    found, temperature = saver._augmented(scores(once))
    assert found.right.sum() == (several if chosen else once)
    assert (temperature > 0) is chosen
