"""What is behind an answer: confidence, runners-up, where the network looked, and boxes from it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

import numpy as np
import pytest
from captcha.image import ImageCaptcha
from PIL import Image

from cnnlib.errors import ImageSizeError
from cnnlib.explanation import character_boxes, explain, heat_map, place_centres, runners_up
from cnnlib.networks.architectures import feature_size
from cnnlib.networks.checkpoint import read_best
from cnnlib.networks.model_folder import ModelFolder
from cnnlib.paths import PROJECT_ROOT
from cnnlib.recognizer import Recognizer
from cnnlib.text_reader import IMAGES_PER_RUN, Prediction
from tests.helpers import Project, fixed_pixels

LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
SHIPPED = PROJECT_ROOT / "model" / "pretrained"
SIZE = (60, 100)


class Inked(ImageCaptcha):
    """The library's drawing, which remembers where it has put each character."""

    def draw(self, text: str) -> tuple[Image.Image, np.ndarray]:
        """Return an image and the ink of its characters, float [L, H, W]."""
        self.drawn: list[str] = []
        inks: list[Image.Image] = []
        paste = Image.Image.paste

        def remember(image, other, box=None, mask=None):
            ink = Image.new("L", image.size)
            paste(ink, mask, box)
            inks.append(ink)
            paste(image, other, box, mask)

        with patch.object(Image.Image, "paste", remember):
            image = self.generate_image(text)
        pairs = zip(self.drawn, inks, strict=True)  # spaces too
        return image, np.stack(
            [np.asarray(ink.resize(image.size), float) for drawn, ink in pairs if drawn != " "]
        )

    def _draw_character(self, c, *arguments, **keywords):
        self.drawn.append(c)
        return super()._draw_character(c, *arguments, **keywords)


@pytest.fixture(scope="module")
def recognizer() -> Iterator[Recognizer]:
    with Recognizer(*SIZE, 4, LETTERS, SHIPPED) as shipped:
        yield shipped


@pytest.fixture(scope="module")
def cnn5(trained: Project) -> Iterator[Recognizer]:
    with Recognizer.from_config(trained.sample) as small:
        yield small


@pytest.fixture(scope="module")
def drawn() -> list[tuple[str, Image.Image, np.ndarray]]:
    """40 texts, their images, and the ink of their characters."""
    rng, generator = random.Random(0), Inked(SIZE[1], SIZE[0])
    texts = ["".join(rng.choices(LETTERS, k=4)) for _ in range(40)]
    with fixed_pixels(0):
        return [(text, *generator.draw(text)) for text in texts]


@pytest.fixture(scope="module")
def pixels(recognizer, drawn) -> np.ndarray:
    return np.stack([recognizer.pixels_of(image) for _, image, _ in drawn])


def random_pixels(recognizer: Recognizer, count: int) -> np.ndarray:
    shape = (count, *recognizer.spec.shape)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def is_map(attention: np.ndarray) -> bool:
    sums = attention.sum(axis=(-2, -1))
    return attention.dtype == np.float32 and attention.min() >= 0 and np.allclose(sums, 1)


def test_details_have_the_probabilities_of_answers(recognizer, pixels):
    assert len(pixels) > IMAGES_PER_RUN
    before = recognizer.probabilities(pixels)
    details = recognizer.explain_pixels(pixels)
    assert np.array_equal(details.probabilities, before)
    assert np.array_equal(recognizer.probabilities(pixels), before)
    assert details.attention.shape == (40, 4, *feature_size(*SIZE))
    assert is_map(details.attention)


def test_glimpses_are_what_the_classifier_reads(recognizer, pixels):
    info, weights = read_best(ModelFolder(SHIPPED))
    details = recognizer.explain_pixels(pixels[:5])
    assert details.glimpses.shape[:2] == (5, 4) and details.glimpses.dtype == np.float32
    scores = details.glimpses @ weights["classifier/kernel"] + weights["classifier/bias"]
    powers = np.exp(scores / info.temperature)
    expected = powers / powers.sum(axis=-1, keepdims=True)
    assert details.probabilities == pytest.approx(expected, abs=0.02)  # bfloat16 in between


def test_network_without_attention_has_saliency(cnn5):
    """Of a blank image too, where no pixel says anything."""
    pixels = np.concatenate([random_pixels(cnn5, 3), np.zeros((1, 24, 40), np.uint8)])
    details = cnn5.explain_pixels(pixels)
    assert np.array_equal(details.probabilities, cnn5.probabilities(pixels))
    assert details.attention.shape == (4, 2, 6, 10) and is_map(details.attention)
    assert details.glimpses.shape == (4, 2, 1024)
    assert np.array_equal(details.glimpses[:, 0], details.glimpses[:, 1])
    assert np.array_equal(details.attention, cnn5.saliency_of(pixels))


def test_explanation_of_an_image(recognizer, drawn, pixels):
    for number, (_, image, _) in enumerate(drawn[:3]):
        explanation = recognizer.explain(image)
        assert explanation.prediction == recognizer.predict([image])[0]
        assert "".join(each.character for each in explanation.characters) == (
            explanation.prediction.text
        )
        confidences = tuple(each.confidence for each in explanation.characters)
        assert confidences == explanation.prediction.char_confidences
        details = recognizer.explain_pixels(pixels[number][np.newaxis])
        for position, each in enumerate(explanation.characters):
            assert np.array_equal(each.attention, details.attention[0, position])
            row = details.probabilities[0, position]
            for other, probability in each.runners_up:
                assert other != each.character
                assert probability == row[LETTERS.index(other)]
    with pytest.raises(ImageSizeError, match="101x60"):
        recognizer.explain(Image.new("L", (101, 60)))


def test_runners_up_are_five_characters_that_are_possible():
    of_end = 0.3
    row = np.array([0.2, 0.0005, 0.1, 0.05, 0.06, 0.07, 0.08, 0.09, of_end])
    expected = (("c", 0.1), ("h", 0.09), ("g", 0.08), ("f", 0.07), ("e", 0.06))
    assert runners_up(row, "a", tuple("abcdefgh")) == expected
    assert runners_up(row[[0, 1, 2]], "a", tuple("abc")) == (("c", 0.1),)
    assert runners_up(np.array([1.0]), "a", ("a",)) == ()


def test_what_comes_after_the_end_of_a_text_is_not_explained():
    attention = np.full((3, 2, 2), 0.25, np.float32)
    probabilities = np.array([[0.9, 0.1, 0], [0.2, 0.1, 0.7], [0.5, 0.5, 0]])
    explanation = explain(Prediction("a", 0.63, (0.63,)), probabilities, attention, ("a", "b"))
    [character] = explanation.characters
    assert (character.character, character.confidence) == ("a", 0.63)
    assert character.runners_up == (("b", 0.1),)


@pytest.mark.parametrize(("with_saliency", "least"), [(False, 0.95), (True, 0.98)])
def test_box_of_a_character_has_most_of_its_ink(recognizer, drawn, pixels, with_saliency, least):
    attention = recognizer.explain_pixels(pixels).attention
    saliency = recognizer.saliency_of(pixels) if with_saliency else [None] * len(pixels)
    shares = []
    for maps, more, (_, _, inks) in zip(attention, saliency, drawn, strict=True):
        boxes = character_boxes(maps, 4, SIZE, more)
        assert (boxes[:, 2] - boxes[:, 0]).max() <= 60
        for (left, top, right, bottom), ink in zip(boxes, inks, strict=True):
            shares.append(ink[top:bottom, left:right].sum() / ink.sum())
    assert np.mean(np.array(shares) > 0.5) > least


def spots(places: list[tuple[int, int]], height: int, width: int) -> np.ndarray:
    """Return maps with all their weight on one place each."""
    maps = np.zeros((len(places), height, width), np.float32)
    for k, (row, column) in enumerate(places):
        maps[k, row, column] = 1
    return maps


def test_boxes_of_scattered_characters_are_no_wider_than_high():
    boxes = character_boxes(spots([(2, 1), (1, 20), (3, 40)], 5, 48), 3, (80, 768))
    widths, centres = boxes[:, 2] - boxes[:, 0], (boxes[:, 0] + boxes[:, 2]) / 2
    assert widths.max() <= 80 and widths.min() > 20
    assert centres == pytest.approx(place_centres(48, 768)[[1, 20, 40]], abs=20)
    assert (boxes[:, 1] == 0).all() and (boxes[:, 3] == 80).all()
    [alone] = character_boxes(spots([(2, 24)], 5, 48), 1, (80, 768))
    assert alone[2] - alone[0] == 80


def test_boxes_are_in_the_image_and_never_empty():
    """Also where all maps are the same, where their order is another, in tiny images."""
    same = np.full((4, 2, 3), 1 / 6, np.float32)
    for size in ((24, 40), (4, 5), (3, 2)):
        boxes = character_boxes(same, 4, size)
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= size[::-1]).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= min(4, *size)).all()
    backwards = character_boxes(spots([(0, 2), (0, 1), (0, 0)], 1, 3), 3, (16, 48))
    assert (np.diff(backwards[:, 0]) < 0).all()
    assert character_boxes(same, 0, (24, 40)).shape == (0, 4)
    assert len(character_boxes(same, 2, (24, 40))) == 2


def test_boxes_in_high_images_show_a_part_of_their_height():
    boxes = character_boxes(spots([(1, 1), (18, 3)], 20, 5), 2, (320, 80))
    assert boxes[0, 3] < 160 < boxes[1, 1]


def test_heat_map_lies_over_what_was_looked_at():
    heat = heat_map(spots([(1, 5)], 4, 7)[0], SIZE)
    assert heat.shape == SIZE and heat.max() == 1 and heat.min() == 0
    row, column = np.unravel_index(heat.argmax(), SIZE)
    assert abs(column + 0.5 - place_centres(7, 100)[5]) < 1
    assert abs(row + 0.5 - place_centres(4, 60)[1]) < 1


def test_graph_of_recognition_stays_as_it_is(cnn5):
    operations = [operation.name for operation in cnn5.graph.get_operations()]
    cnn5.saliency_of(random_pixels(cnn5, 1))
    assert [operation.name for operation in cnn5.graph.get_operations()] == operations
    assert not [name for name in operations if "grad" in name.lower()]


def test_explanations_do_not_mix_between_threads(drawn, recognizer):
    images = [image.convert("L") for _, image, _ in drawn[:8]]
    expected = [recognizer.explain(image).prediction for image in images]
    with Recognizer(*SIZE, 4, LETTERS, SHIPPED) as fresh, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(fresh.explain, images * 5))  # the first ones ask at a time
    assert [explanation.prediction for explanation in found] == expected * 5


@pytest.mark.parametrize("explained_before", [False, True])
def test_closed_recogniser_says_so(trained, explained_before):
    recognizer = Recognizer.from_config(trained.sample)
    image = Image.new("L", (40, 24))
    if explained_before:
        recognizer.explain(image)
    recognizer.close()
    for call in (recognizer.explain, lambda image: recognizer.saliency_of(np.zeros((1, 24, 40)))):
        with pytest.raises(RuntimeError, match="closed"):
            call(image)
    recognizer.close()  # a second time does nothing
