"""The exported graph computes what the network computes, in ONNX as in TensorFlow."""

import dataclasses

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.exporting import inference_graph, onnx_graph
from cnnlib.exporting.inference_graph import InferenceGraph, build_inference_graph, to_gray
from cnnlib.exporting.onnx_graph import to_onnx
from cnnlib.network import CNN
from cnnlib.networks import decoding
from cnnlib.networks.architectures import NETWORKS
from cnnlib.networks.metadata import GRAY, RGB, ModelMetadata
from cnnlib.networks.tensorflow_v1 import tf

ONE_LENGTH = CaptchaSpec(24, 40, 3, tuple("0123x"))
TO_FOUR = dataclasses.replace(ONE_LENGTH, max_captcha=4, min_captcha=1)
COLOUR = dataclasses.replace(ONE_LENGTH, image_channels=3)
# Sides that no stride divides, and so many places that feature maps are halved.
ODD = dataclasses.replace(TO_FOUR, image_height=45, image_width=333)


def trained_values(network, spec):
    """Return random weights of a network, as if they had been trained."""
    cnn = CNN(
        spec.image_height,
        spec.image_width,
        spec.max_captcha,
        spec.char_set,
        "",
        spec=spec,
        network=network,
    )
    cnn.model()
    with cnn.graph.as_default(), tf.Session() as session:
        tf.set_random_seed(0)
        session.run(tf.global_variables_initializer())
        values = {v.op.name: v for v in tf.global_variables()}
        rng = np.random.default_rng(0)
        return {
            name: rng.uniform(0.5, 1.5, value.shape).astype(np.float32)
            if name.endswith(("gamma", "variance"))
            else value / 2 + rng.normal(0, 0.02, value.shape).astype(np.float32)
            for name, value in session.run(values).items()
        }


def exported(network, spec, input_kind=GRAY, augmented=False):
    """Return the graph of a network with random weights."""
    metadata = ModelMetadata(
        spec, network, 1, 1.0, 0.6, "", "best", input_kind, test_time_augmentation=augmented
    )
    return build_inference_graph(metadata, trained_values(network, spec))


def outputs(inference: InferenceGraph, images):
    with tf.Session(graph=inference.graph) as session:
        return session.run(dict(inference.outputs), {inference.image: images})


def onnx_outputs(model, images):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": images}), strict=True))


def some_images(inference: InferenceGraph, count):
    shape = (count, *inference.image.shape.as_list()[1:])
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    ("spec", "input_kind"),
    [(ONE_LENGTH, GRAY), (TO_FOUR, RGB), (COLOUR, RGB)],
    ids=["one length", "to four, from RGB", "colour"],
)
def test_onnx_gives_the_same(network, spec, input_kind):
    inference = exported(network, spec, input_kind)
    model = to_onnx(inference)
    for count in (1, 3):
        images = some_images(inference, count)
        expected, found = outputs(inference, images), onnx_outputs(model, images)
        assert {name: (o.shape, o.dtype) for name, o in found.items()} == {
            name: (o.shape, o.dtype) for name, o in expected.items()
        }
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=2e-5)


def test_sides_that_no_stride_divides():
    inference = exported("resnet_attention", ODD)
    images = some_images(inference, 2)
    expected, found = outputs(inference, images), onnx_outputs(to_onnx(inference), images)
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=2e-5)


def test_texts_are_decoded_as_the_recognizer_does():
    graph = tf.Graph()
    with graph.as_default():
        image = tf.placeholder(tf.uint8, [None, 4, 6], "image")  # stands for logits
        probabilities = tf.nn.softmax(tf.cast(image, tf.float32) / 30)
        char_ids, confidence = inference_graph.decode(probabilities, has_end_class=True)
    outputs = {"probabilities": probabilities, "char_ids": char_ids, "confidence": confidence}
    inference = InferenceGraph(graph, image, outputs)
    found = onnx_outputs(to_onnx(inference), some_images(inference, 500))
    ids, confidences = decoding.decode(found["probabilities"], has_end_class=True)
    assert (found["char_ids"] == ids).all()
    assert {*(ids != -1).sum(axis=1).tolist()} == {1, 2, 3, 4}  # lengths
    np.testing.assert_allclose(found["confidence"], confidences.prod(axis=1), rtol=1e-5)


def test_half_the_size_with_float16():
    inference = exported("cnn5", ONE_LENGTH)
    whole, half = to_onnx(inference), to_onnx(inference, halve=True)
    assert half.ByteSize() < 0.6 * whole.ByteSize()
    images = some_images(inference, 2)
    found, expected = onnx_outputs(half, images), onnx_outputs(whole, images)
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=0.01)


def test_gray_is_that_of_pillow():
    rng = np.random.default_rng(0)
    corners = np.array(np.meshgrid(*3 * [[0, 1, 127, 128, 254, 255]])).T.reshape(-1, 3)
    colours = np.concatenate([corners, rng.integers(0, 256, (99_784, 3))]).astype(np.uint8)
    image = colours.reshape(1, 100, 1000, 3)
    with tf.Graph().as_default(), tf.Session() as session:
        gray = session.run(to_gray(tf.constant(image.astype(np.float32))))
    assert (gray[0] == np.array(Image.fromarray(image[0]).convert("L"))).all()


def test_operation_without_a_translation_is_named():
    graph = tf.Graph()
    with graph.as_default():
        image = tf.placeholder(tf.uint8, [None, 2, 2], "image")
        erf = tf.math.erf(tf.cast(image, tf.float32), name="what")
    with pytest.raises(NotImplementedError, match=r"Erf \(what\)"):
        to_onnx(InferenceGraph(graph, image, {"probabilities": erf}))


def test_no_translation_is_there_for_nothing(monkeypatch):
    used = set()

    class Watched(dict):
        def get(self, key):
            used.add(key)
            return super().get(key)

    monkeypatch.setattr(onnx_graph, "TRANSLATIONS", Watched(onnx_graph.TRANSLATIONS))
    for network in ("resnet_attention", "cnn5"):
        to_onnx(exported(network, TO_FOUR, RGB))
        to_onnx(exported(network, ONE_LENGTH, GRAY, augmented=True))
    assert used == set(onnx_graph.TRANSLATIONS)
