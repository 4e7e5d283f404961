"""The base class: what users' own code relies on."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.errors import ConfigError, SampleError
from cnnlib.network import CNN
from cnnlib.networks.session import session_options
from cnnlib.networks.tensorflow_v1 import tf


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
    assert len(np.unique(first.round(6), axis=0)) == 3
    assert cnn.Y.shape.as_list() == [None, 2] and cnn.Y.dtype == tf.int32


def test_images_are_standardised_one_by_one(cnn):
    pixels = np.stack(
        [
            np.full((24, 40), 9, np.uint8),
            np.tile(np.uint8([0, 255]), (24, 20)),
            np.tile(np.uint8([100, 101]), (24, 20)),
        ]
    )
    with cnn.graph.as_default(), tf.Session() as session:
        images = session.run(cnn.standardized(), {cnn.X: pixels})
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


def test_spec_says_what_the_parameters_do_not(tmp_path):
    spec = CaptchaSpec(1, 2, 9, ("x",), 1, image_channels=3, resize="pad", ignore_case=True)
    cnn = CNN(24, 40, 3, "ab", tmp_path, spec=spec, network="cnn5")
    assert cnn.spec == CaptchaSpec(24, 40, 3, ("a", "b"), 1, 3, "pad", True)
    assert cnn.X.shape.as_list() == [None, 24, 40, 3]
    assert (cnn.image_height, cnn.image_width, cnn.max_captcha) == (24, 40, 3)


def test_no_text_ends_before_the_shortest(tmp_path):
    cnn = CNN(24, 40, 3, "ab", tmp_path, spec=CaptchaSpec(min_captcha=2), network="cnn5")
    assert cnn.possible_classes()[:, -1].tolist() == [False, False, True]
    assert cnn.possible_classes()[:, :-1].all()
    cnn.model()
    with tf.Session(graph=cnn.graph, config=session_options()) as session:
        with cnn.graph.as_default():
            probabilities = tf.nn.softmax(cnn.logits)
            initializer = tf.global_variables_initializer()
        session.run(initializer)
        pixels = np.random.default_rng(0).integers(0, 256, (3, 24, 40), np.uint8)
        end = session.run(probabilities, {cnn.X: pixels})[..., -1]
    assert (end[:, :2] == 0).all() and (end[:, 2] > 0).all()


def test_images_that_the_network_reads_can_be_given(cnn):
    with cnn.graph.as_default():
        images = 2 * cnn.standardized()
    logits = cnn.model(images=images)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 24, 40), np.uint8)
    with cnn.graph.as_default(), tf.Session() as session:
        session.run(tf.global_variables_initializer())
        given = session.run(images, {cnn.X: pixels})
        np.testing.assert_allclose(
            session.run(logits, {images: given}), session.run(logits, {cnn.X: pixels}), rtol=1e-5
        )
        assert given.std() == pytest.approx(2, rel=1e-3)


def test_vector_of_one_among_thousands_takes_no_table_of_all(tmp_path):
    cnn = CNN(24, 40, 2, [chr(0x4E00 + i) for i in range(7000)], tmp_path)
    tracemalloc.start()
    vector = cnn.text2vec("丁一")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert vector.nonzero()[0].tolist() == [1, 7000] and vector.shape == (14_000,)
    assert peak < 5_000_000  # bytes; the table has 196 million
