"""Labels of several lengths and in any case, images of several sizes, in colour: all the way."""

import random
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

import new_project
import train_model
import verify_and_split_data
from cnnlib.dataset.images import open_image
from cnnlib.dataset.verification import Rules
from cnnlib.evaluation import TestBatch
from cnnlib.recognizer import Recognizer
from cnnlib.serving.app import create_recognize_app
from cnnlib.training import TrainModel
from tests.helpers import drawing
from tests.helpers import new_project as empty_project


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A model of 1 to 3 letters O and X in any case, on images of many sizes and modes.

    It comes about as a new user's does, but for fewer steps, smaller pixels and a smaller network.
    """
    project = empty_project(tmp_path_factory.mktemp("mixed") / "project")
    images = project.root / "my images"
    rng = random.Random(0)
    draw = drawing(project)
    for i in range(660):
        text = "".join(rng.choices("oOxX", k=rng.randint(1, 3)))
        [path] = draw(
            images, texts=[text], width=20 * len(text), height=rng.randint(20, 28), seed=i
        )
        with Image.open(path) as image:
            modes = ("RGB", "RGBA", "L", "P", "LA", "CMYK")
            changed = image.convert(modes[i % len(modes)])
        changed.save(path, "JPEG" if changed.mode == "CMYK" else "PNG")
    project.config_path.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(new_project, "PROJECT_ROOT", project.root)
        assert new_project.main([str(images), "--name", project.config_path.stem]) == 0
    config = project.sample
    assert config.spec.has_end_class and (
        config.min_captcha,
        config.max_captcha,
        config.resize,
    ) == (1, 3, "pad")
    project.change(
        ignore_case=True,
        image_width=60,
        image_height=24,
        image_channels=3,
        network="cnn5",
        cycle_stop=120,
        cycle_save=120,
        train_batch_size=32,
    )
    for script in (verify_and_split_data, train_model):
        assert script.main(["--config", str(project.config_path)]) == 0
    return project


@pytest.fixture(scope="module")
def recognizer(mixed):
    with Recognizer.from_config(mixed.sample) as opened:
        yield opened


def test_texts_of_every_length_are_read(mixed, recognizer):
    config = mixed.sample
    result = TestBatch.from_config(config).test_batch()
    assert result.total == 33 and result.image_accuracy > 0.5  # by chance: 7 %
    labels = Rules.from_config(config).labels()
    lengths = set()
    for path in sorted(config.test_image_dir.full.iterdir()):
        image = open_image(path)
        [prediction] = recognizer.predict([image])
        assert 1 <= len(prediction.text) <= 3
        assert len(prediction.char_confidences) == len(prediction.text)
        assert prediction.confidence == pytest.approx(np.prod(prediction.char_confidences))
        if prediction.text == labels.label(path.name):
            lengths.add(len(prediction.text))
    assert lengths == {1, 2, 3}


def test_the_api_reads_them_as_a_recogniser_does(mixed, recognizer):
    app = create_recognize_app({"mine": Recognizer.from_config(mixed.sample)})
    with closing(app.extensions["service"]):
        client = app.test_client()
        for path in sorted(mixed.sample.test_image_dir.full.iterdir()):
            [prediction] = recognizer.predict([open_image(path)])
            with open(path, "rb") as file:
                answer = client.post("/b", data={"image_file": (file, path.name)}).get_json()
            assert answer["value"] == prediction.text
            assert answer["confidence"] == pytest.approx(prediction.confidence, abs=0.02)


def test_the_answer_can_be_restricted(mixed, recognizer):
    image = Image.open(next(mixed.sample.test_image_dir.full.iterdir()))
    probabilities = recognizer.probabilities(recognizer.pixels_of(image)[np.newaxis])[0]
    free, crosses = recognizer.read(probabilities), recognizer.read(probabilities, "X")
    assert set(crosses.text) == {"x"} and 1 <= len(crosses.text) <= 3
    assert set(free.text) <= set("ox")


def test_no_text_is_shorter_than_the_shortest(mixed):
    model = TrainModel.from_config(mixed.sample)
    assert model.possible_classes()[:, -1].tolist() == [False, True, True]
    assert model.text2vec("ox").reshape(3, 3).argmax(axis=1).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("width", "height", "network"),
    [
        (87, 26, "resnet_attention"),
        (65, 25, "resnet_attention_small"),
        (250, 50, "resnet_attention_small"),
        (800, 250, "resnet_attention_small"),
    ],
)
def test_odd_sizes_are_trained_and_served(project, draw_images, width, height, network):
    project.resize(width, height)
    project.change(network=network, cycle_stop=1, train_batch_size=4, test_batch_size=4)
    for folder in ("train", "test"):
        draw_images(project.root / "sample" / folder, 4)
    TrainModel.from_config(project.sample).train_cnn()
    app = create_recognize_app({"odd": Recognizer.from_config(project.sample)})
    image = next(project.sample.test_image_dir.full.iterdir())
    with closing(app.extensions["service"]), open(image, "rb") as file:
        answer = app.test_client().post("/b", data={"image_file": (file, "x.png")})
    assert answer.status_code == 200 and len(answer.get_json()["value"]) == 2
