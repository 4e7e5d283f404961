"""Scores are those of inference, however many images there are."""

import numpy as np
import pytest

from cnnlib.dataset.image_set import ImageSet
from cnnlib.training import TrainModel, scoring
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
    monkeypatch.setattr(scoring, "SCORED_PER_RUN", 3)
    for part, expected in zip(scorer.outputs(images.pixels, images.char_ids), whole, strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-5, atol=1e-5)


def test_images_are_right_where_all_their_characters_are(scorer, images):
    logits = scorer.outputs(images.pixels, images.char_ids)[0]
    answers = logits.argmax(axis=-1)
    answers[:4, 0] = (answers[:4, 0] + 1) % 4
    scores = scorer.score_all(ImageSet(images.names, images.pixels, answers))
    assert (scores.char_accuracy, scores.image_accuracy) == (16 / 20, 6 / 10)
    assert scores == scorer.score(images.pixels, answers)
