"""Scoring reads as many images at a time as memory allows."""

from types import SimpleNamespace

import numpy as np
import pytest

from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.training.scoring import Scorer

GRAPH = SimpleNamespace(logits="logits", losses="losses", X="X", Y="Y")


def scorer(most):
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
    reader, ran = scorer(70)
    logits, _, losses = reader.outputs(pixels, char_ids)
    assert ran == [62, 62, 62, 14]
    assert losses.tolist() == list(range(200)) and logits.shape == (200, 1, 2)
    reader.outputs(pixels, char_ids)
    assert ran[4:] == [62, 62, 62, 14]  # it remembers


def test_no_memory_for_a_single_image_is_an_error():
    reader, _ = scorer(0)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        reader.outputs(np.zeros((3, 1, 1), np.uint8), np.zeros((3, 1), int))
