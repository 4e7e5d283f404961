"""The base class: what users' own code relies on."""

import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image

from cnnlib import network
from cnnlib.errors import ConfigError, ModelError, SampleError
from cnnlib.network import CNN, grow_classes, read_checkpoint, session_options


@pytest.fixture
def cnn(tmp_path):
    return CNN(24, 40, 2, "012验", tmp_path / "model", network="cnn5")


def test_model_is_built_once_and_returns_logits(cnn):
    logits = cnn.model()
    assert logits.shape.as_list() == [None, 8] and cnn.logits.shape.as_list() == [None, 2, 4]
    before = len(cnn.graph.get_operations())
    with pytest.raises(RuntimeError, match="called already"):
        cnn.model()
    assert len(cnn.graph.get_operations()) == before


def test_inference_feeds_x_alone(cnn):
    logits = cnn.model()
    with tf.Session(graph=cnn.graph, config=session_options()) as session:
        with cnn.graph.as_default():
            initializer = tf.global_variables_initializer()
        session.run(initializer)
        pixels = np.random.default_rng(0).integers(0, 256, (3, 24, 40), np.uint8)
        first, again = (session.run(logits, {cnn.X: pixels}) for _ in range(2))
    np.testing.assert_array_equal(first, again)  # no dropout
    assert cnn.Y.shape.as_list() == [None, 2] and cnn.Y.dtype == tf.int32


def test_images_are_standardised_one_by_one(cnn):
    pixels = np.stack([np.full((24, 40), 9, np.uint8), np.tile(np.uint8([0, 255]), (24, 20)),
                       np.tile(np.uint8([100, 101]), (24, 20))])
    with cnn.graph.as_default(), tf.Session() as session:
        images = session.run(cnn.images(), {cnn.X: pixels})
    assert images.shape == (3, 24, 40, 1) and np.isfinite(images).all()
    np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(images[1:].std(axis=(1, 2, 3)), 1, atol=1e-3)


def test_text2vec_is_one_hot(cnn):
    np.testing.assert_array_equal(cnn.text2vec("2验"), [0, 0, 1, 0, 0, 0, 0, 1])
    for text in ("2", "222", "2x"):
        with pytest.raises(SampleError, match=f"label '{text}'"):
            cnn.text2vec(text)


def test_convert2gray_takes_images_and_arrays(cnn):
    colours = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    image = Image.fromarray(colours)
    np.testing.assert_array_equal(cnn.convert2gray(image), np.asarray(image.convert("L")))
    np.testing.assert_array_equal(cnn.convert2gray(colours), cnn.convert2gray(image))
    np.testing.assert_array_equal(cnn.convert2gray(colours[..., 0]), colours[..., 0])


def test_char_set_is_checked(tmp_path):
    with pytest.raises(ConfigError, match="'a' more than once"):
        CNN(24, 40, 2, "aab", tmp_path)


def test_graphs_are_separate(tmp_path, cnn):
    other = CNN(10, 30, 1, "ab", tmp_path, network="cnn5")
    other.model()
    cnn.model()
    assert other.graph is not cnn.graph and other.logits.graph is other.graph


def test_bfloat16_only_where_the_processor_has_it(monkeypatch):
    for has in (True, False):
        monkeypatch.setattr(network, "has_bfloat16", lambda has=has: has)
        rewrites = session_options().graph_options.rewrite_options
        assert (rewrites.auto_mixed_precision_onednn_bfloat16 == rewrites.ON) is has


def test_without_enable_gpu_no_gpu_is_taken():
    assert session_options(False).device_count["GPU"] == 0
    assert "GPU" not in session_options(True).device_count
    assert session_options(True).gpu_options.allow_growth


def test_damaged_checkpoint_is_said(tmp_path):
    with pytest.raises(ModelError, match="best-1 is missing or damaged"):
        read_checkpoint(tmp_path / "best-1")
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("a", initializer=np.arange(1000.0))
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(tmp_path / "best-2"), write_state=False)
    np.testing.assert_array_equal(read_checkpoint(tmp_path / "best-2")["a"], np.arange(1000.0))
    os.truncate(tmp_path / "best-2.data-00000-of-00001", 100)
    with pytest.raises(ModelError, match="best-2 is missing or damaged.*--fresh"):
        read_checkpoint(tmp_path / "best-2")


@pytest.mark.parametrize("positions", [1, 2])  # the attention head has one classifier for all
def test_grown_char_set_keeps_what_was_learned(positions):
    rng = np.random.default_rng(0)
    old, new = tuple("ac"), tuple("abc")
    values = {"conv/kernel": rng.normal(size=(3, 3)),
              "classifier/bias": rng.normal(size=2 * positions),
              "classifier/kernel": rng.normal(size=(5, 2 * positions))}
    initial = {"classifier/bias": np.full(3 * positions, 7.0),
               "classifier/kernel": np.full((5, 3 * positions), 7.0)}
    grown = grow_classes(values, old, new, initial, False)
    np.testing.assert_array_equal(grown["conv/kernel"], values["conv/kernel"])
    for name in initial:
        by_class = grown[name].reshape(*values[name].shape[:-1], positions, 3)
        np.testing.assert_array_equal(
            by_class[..., [0, 2]].reshape(values[name].shape), values[name])
        assert (by_class[..., 1] == 7).all()


def test_the_class_of_the_end_stays_the_last_one():
    values = {"classifier/bias": np.array([1.0, 2.0, 9.0])}  # a, b, the end
    initial = {"classifier/bias": np.array([0.1, 0.2, 0.3, 0.4])}
    grown = grow_classes(values, ("a", "b"), ("b", "c", "a"), initial, True)["classifier/bias"]
    assert grown.tolist() == [2.0, 0.2, 1.0, 9.0]
