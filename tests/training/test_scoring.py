"""Scores are those of inference, however many images there are, and however little memory."""

from types import SimpleNamespace

import numpy as np
import pytest

from cnnlib.dataset.image_set import ImageSet
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.training import TrainModel
from cnnlib.training.scoring import Scorer
from tests.training.helpers import exact_session


@pytest.fixture
def scorer(ready):
    graph = TrainModel.from_config(ready.sample).build_graph(40)
    with exact_session(graph.graph) as session:
        session.run(graph.initializer)
        yield Scorer(graph, session, has_end_class=False)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (10, 16, 24), np.uint8)
    return ImageSet([f"{i}_x.png" for i in range(10)], pixels, rng.integers(0, 4, (10, 2)))


def test_parts_give_the_same_as_all_at_once(scorer, images, monkeypatch):
    whole = scorer.outputs(images.pixels, images.char_ids)
    assert [part.shape for part in whole] == [(10, 2, 4), (10, 2), (10,)]
    monkeypatch.setattr(scorer, "_per_run", 3)
    for part, expected in zip(scorer.outputs(images.pixels, images.char_ids), whole, strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-5, atol=1e-5)


def test_images_are_right_where_all_their_characters_are(scorer, images):
    logits = scorer.outputs(images.pixels, images.char_ids)[0]
    answers = logits.argmax(axis=-1)
    answers[:4, 0] = (answers[:4, 0] + 1) % 4
    scores = scorer.score_all(ImageSet(images.names, images.pixels, answers))
    assert (scores.char_accuracy, scores.image_accuracy) == (16 / 20, 6 / 10)
    assert scores == scorer.score(images.pixels, answers)


GRAPH = SimpleNamespace(logits="logits", losses="losses", X="X", Y="Y")


def scorer_with_memory(most):
    """Return a scorer, of a session with memory for that many images, and what it ran."""
    ran = []

    def run(fetches, feeds):
        count = len(feeds["X"])
        if count > most:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        ran.append(count)
        shown = feeds["X"][:, 0, 0].astype(np.float32)
        return np.eye(2)[feeds["Y"]] * shown[:, np.newaxis, np.newaxis], shown

    return Scorer(GRAPH, SimpleNamespace(run=run), False), ran


def test_fewer_images_at_a_time_where_memory_does_not_suffice():
    pixels = np.arange(200, dtype=np.uint8).reshape(-1, 1, 1)
    char_ids = np.zeros((200, 1), int)
    reader, ran = scorer_with_memory(70)
    logits, _, losses = reader.outputs(pixels, char_ids)
    assert ran == [62, 62, 62, 14]
    assert losses.tolist() == list(range(200)) and logits.shape == (200, 1, 2)
    reader.outputs(pixels, char_ids)
    assert ran[4:] == [62, 62, 62, 14]  # it remembers


def test_no_memory_for_a_single_image_is_an_error():
    reader, _ = scorer_with_memory(0)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        reader.outputs(np.zeros((3, 1, 1), np.uint8), np.zeros((3, 1), int))
