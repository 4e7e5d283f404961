"""Weights of one kind of captcha as a start for another."""

import dataclasses
import functools

import numpy as np
import pytest

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.network import CNN
from cnnlib.networks.architectures import GLIMPSES, WIDER, feature_size
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.transfer import Layout, adapted

SPEC = CaptchaSpec(48, 96, 4, tuple("01ab"))
LAYOUT = Layout.of(SPEC)
WIDER_PAIR = next(iter(WIDER.items()))


@functools.cache
def shapes_of(spec):
    cnn = CNN(spec.image_height, spec.image_width, spec.max_captcha, spec.char_set, "m", spec=spec)
    cnn.model()
    with cnn.graph.as_default():
        return {v.op.name: v.shape.as_list() for v in tf.global_variables()}


def random_values(spec, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in shapes_of(spec).items()}


def adapt(source, target):
    """Return the values of the source, the initial ones of the target, and those adapted."""
    known, initial = random_values(source), random_values(target, seed=1)
    return known, initial, adapted(known, Layout.of(source), Layout.of(target), initial)


@pytest.mark.parametrize("size", [(60, 100), (45, 420), (24, 40), (200, 300), (80, 780), (1, 1)])
def test_layout_knows_how_large_the_map_is_that_is_attended_to(size):
    spec = dataclasses.replace(SPEC, image_height=size[0], image_width=size[1])
    height, width = feature_size(*size)
    assert shapes_of(spec)["attention/place"][0] == height * width


def test_same_kind_of_captcha_keeps_all():
    known, _, fitted = adapt(SPEC, SPEC)
    assert fitted.keys() == known.keys()
    assert all(np.allclose(fitted[name], known[name]) for name in known)


@pytest.mark.parametrize(
    "changed",
    [
        {"image_height": 60, "image_width": 200},
        {"image_channels": 3},
        {"max_captcha": 7},
        {"max_captcha": 2, "min_captcha": 1},
        {"char_set": tuple("中文字")},
    ],
)
def test_every_layer_is_kept_for_another_kind_in_its_shape(changed):
    _, initial, fitted = adapt(SPEC, dataclasses.replace(SPEC, **changed))
    assert {name: value.shape for name, value in fitted.items()} == {
        name: value.shape for name, value in initial.items()
    }
    new = {name for name in initial if fitted[name] is initial[name]}
    assert not new
    rows = fitted["classifier/kernel"]
    if "char_set" in changed:
        assert np.array_equal(rows, initial["classifier/kernel"])  # all of them are new characters


def test_classifier_rows_go_with_their_characters():
    known, initial, fitted = adapt(
        SPEC, dataclasses.replace(SPEC, char_set=tuple("b2A0"), min_captcha=2)
    )
    kernel = fitted["classifier/kernel"]
    assert np.allclose(kernel[:, 0], known["classifier/kernel"][:, 3])  # b
    assert np.allclose(kernel[:, 1], initial["classifier/kernel"][:, 1])  # 2 is new
    assert np.allclose(kernel[:, 2], known["classifier/kernel"][:, 2])  # A is known as a
    assert np.allclose(kernel[:, 3], known["classifier/kernel"][:, 0])  # 0
    assert np.allclose(kernel[:, 4], initial["classifier/kernel"][:, 4])  # texts had no end


@pytest.mark.parametrize(("case", "rows"), [("own", [0]), ("other", [1]), ("either", [0, 1])])
def test_letter_can_show_its_other_case_where_that_is_not_in_the_labels(case, rows):
    both, lower = (dataclasses.replace(SPEC, char_set=tuple(text)) for text in ("aA1bB", "a1b"))
    known, initial = random_values(both), random_values(lower, seed=1)
    fitted = adapted(known, Layout.of(both), Layout.of(lower), initial, case)
    old, new = known["classifier/kernel"], fitted["classifier/kernel"]
    assert np.allclose(new[:, 0], old[:, rows].mean(axis=1))
    assert np.allclose(new[:, 1], old[:, 2])
    same = adapted(known, Layout.of(both), Layout.of(both), known, case)
    assert np.allclose(same["classifier/kernel"], old)


def test_gray_images_look_the_same_to_a_kernel_for_colour():
    known, _, fitted = adapt(dataclasses.replace(SPEC, image_channels=3), SPEC)
    assert np.allclose(known["stem/kernel"].sum(axis=2), fitted["stem/kernel"][:, :, 0])
    known, _, fitted = adapt(SPEC, dataclasses.replace(SPEC, image_channels=3))
    assert np.allclose(fitted["stem/kernel"].sum(axis=2), known["stem/kernel"][:, :, 0])


def test_more_positions_begin_with_the_known_ones():
    known, initial, fitted = adapt(SPEC, dataclasses.replace(SPEC, max_captcha=6))
    query = fitted["attention/query"]
    assert np.array_equal(query[:, : 4 * GLIMPSES], known["attention/query"])
    assert np.array_equal(query[:, 4 * GLIMPSES :], initial["attention/query"][:, 4 * GLIMPSES :])


def test_place_embedding_is_scaled():
    source = dataclasses.replace(SPEC, image_width=160)
    known, initial = random_values(source), random_values(SPEC)
    height, width = feature_size(48, 160)
    ramp = np.repeat(np.linspace(0, 1, width)[np.newaxis], height, axis=0)
    known["attention/place"] = np.repeat(ramp.reshape(-1, 1), 128, axis=1)
    fitted = adapted(known, Layout.of(source), Layout.of(SPEC), initial)["attention/place"]
    columns = fitted.reshape(*feature_size(48, 96), 128)[0, :, 0]
    assert columns[0] < 0.1 and columns[-1] > 0.9 and (np.diff(columns) > 0).all()


def test_other_networks_share_no_layer_but_what_has_their_shape():
    known = {"dense1/kernel": np.zeros((3, 3))}
    initial = random_values(SPEC)
    fitted = adapted(known, Layout.of(SPEC), Layout.of(SPEC), initial)
    assert all(fitted[name] is initial[name] for name in initial)


def test_wide_network_answers_as_the_narrower_one_does():
    """Layer norm counts the new filters, too: alike are all features, if not to the digit."""
    networks = {name: CNN(48, 96, 4, "01ab", "m", network=name) for name in WIDER_PAIR}
    pixels = np.random.default_rng(0).integers(0, 256, (8, 48, 96)).astype(np.uint8)
    values, logits = {}, []
    for cnn in networks.values():
        cnn.model()
        with cnn.graph.as_default(), tf.Session(graph=cnn.graph) as session:
            tf.set_random_seed(0)
            variables = {v.op.name: v for v in tf.global_variables()}
            session.run(tf.global_variables_initializer())
            initial = session.run(variables)
            values = adapted(values, LAYOUT, LAYOUT, initial) if values else initial
            session.run([tf.assign(v, values[name]) for name, v in variables.items()])
            logits.append(session.run(cnn.logits, {cnn.X: pixels}).ravel())
    assert np.corrcoef(*logits)[0, 1] > 0.95


def test_new_filters_are_read_by_new_ones_alone():
    known, initial = np.ones((3, 3, 2, 4), np.float32), np.full((3, 3, 3, 6), 2, np.float32)
    name = "stage1/block1/conv1/kernel"
    fitted = adapted({name: known}, LAYOUT, LAYOUT, {name: initial})[name]
    assert (fitted[:, :, :2, :4] == 1).all()
    assert (fitted[:, :, 2:, :4] == 0).all()
    assert (fitted[:, :, :, 4:] == 2).all()


def test_narrower_network_keeps_what_has_its_shape_alone():
    values = {"attention/query": np.ones((6, 16)), "classifier/kernel": np.ones((24, 5))}
    initial = {name: 2 * value[: len(value) // 2] for name, value in values.items()}
    fitted = adapted(values, LAYOUT, LAYOUT, initial)
    assert all((fitted[name] == 2).all() for name in values)
