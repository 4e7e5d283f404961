"""Labels of several lengths and in any case, images of several sizes, in colour: all the way."""

import random

import numpy as np
import pytest
from PIL import Image

from cnnlib import dataset, encoding
from cnnlib.evaluation import TestBatch
from cnnlib.recognizer import Recognizer
from cnnlib.training import TrainModel
from tests.conftest import drawing, new_project


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A model of 1 to 3 letters O and X in any case, on images of many sizes and modes."""
    project = new_project(tmp_path_factory.mktemp("mixed") / "project")
    project.change(char_set="Ox", ignore_case=True, min_captcha=1, max_captcha=3,
                   image_channels=3, resize=True, image_width=60, network="cnn5",
                   cycle_stop=150, cycle_save=150, train_batch_size=32)
    rng = random.Random(0)
    draw = drawing(project)
    for folder, count in (("train", 600), ("test", 60)):
        for i in range(count):
            text = "".join(rng.choices("oOxX", k=rng.randint(1, 3)))
            [path] = draw(project.root / "sample" / folder, texts=[text],
                          width=20 * len(text), height=rng.randint(20, 28))
            with Image.open(path) as image:
                modes = ("RGB", "RGBA", "L", "P", "LA", "CMYK")
                changed = image.convert(modes[i % len(modes)])
            changed.save(path, "JPEG" if changed.mode == "CMYK" else "PNG")
    TrainModel.from_config(project.sample).train_cnn()
    return project


def test_texts_of_every_length_are_read(mixed, capsys):
    config = mixed.sample
    result = TestBatch.from_config(config).test_batch()
    assert result.total == 60 and result.image_accuracy > 0.5  # guessing: 7 %
    recognizer = Recognizer.from_config(config)
    rules = dataset.rules_of(config)
    lengths = set()
    for path in sorted(config.test_image_dir.full.iterdir()):
        image = encoding.open_image(path)
        [prediction] = recognizer.predict([image])
        assert 1 <= len(prediction.text) <= 3
        assert len(prediction.char_confidences) == len(prediction.text)
        assert prediction.confidence == pytest.approx(np.prod(prediction.char_confidences))
        if prediction.text == rules.label(path.name):
            lengths.add(len(prediction.text))
    assert lengths == {1, 2, 3}


def test_the_answer_can_be_restricted(mixed):
    recognizer = Recognizer.from_config(mixed.sample)
    image = Image.open(next(mixed.sample.test_image_dir.full.iterdir()))
    probabilities = recognizer.probabilities(recognizer.pixels_of(image)[np.newaxis])[0]
    free, crosses = recognizer.read(probabilities), recognizer.read(probabilities, "X")
    assert set(crosses.text) == {"x"} and 1 <= len(crosses.text) <= 3
    assert set(free.text) <= set("ox")


def test_no_text_is_shorter_than_the_shortest(mixed):
    model = TrainModel.from_config(mixed.sample)
    assert model.possible()[:, -1].tolist() == [False, True, True]
    assert model.text2vec("ox").reshape(3, 3).argmax(axis=1).tolist() == [0, 1, 2]
