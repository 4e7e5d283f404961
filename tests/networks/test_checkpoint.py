"""Weights that were saved: read, refused where damaged, adapted to more characters."""

import os

import numpy as np
import pytest

from cnnlib.errors import ModelError
from cnnlib.networks.checkpoint import assign, grow_classes, read_checkpoint, readable
from cnnlib.networks.tensorflow_v1 import tf
from tests.helpers import CountedCharacter, counted_characters


def test_damaged_checkpoint_is_reported(tmp_path):
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


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
@pytest.mark.parametrize("name", ["a[b]c*d?", "a[b", "[!x]", "b\\s", "*", "{a,b}", "验 ]"])
def test_checkpoint_in_a_folder_of_any_name_is_read_and_restored(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    for other in ("a", "best-10", "abc"):  # what a pattern would match
        (tmp_path / other).mkdir(exist_ok=True)
    with tf.Graph().as_default(), tf.Session() as session:
        variable = tf.get_variable("a", initializer=np.arange(1000.0))
        session.run(tf.global_variables_initializer())
        saver = tf.train.Saver()
        for number in ("1", "10"):
            prefix = str(folder / f"best-{number}")
            saver.save(session, prefix, write_meta_graph=False, write_state=False)
            session.run(variable.initializer, {variable.initializer.inputs[1]: np.zeros(1000)})
        with readable(folder / "best-1") as readable_name:
            saver.restore(session, readable_name)
        np.testing.assert_array_equal(session.run(variable), np.arange(1000.0))
    np.testing.assert_array_equal(read_checkpoint(folder / "best-1")["a"], np.arange(1000.0))
    with pytest.raises(ModelError, match="best-2 is missing or damaged"):
        read_checkpoint(folder / "best-2")
    with pytest.raises(ModelError, match="best-1 is missing or damaged"):
        read_checkpoint(tmp_path / "no folder" / "best-1")


@pytest.mark.parametrize("positions", [1, 2])  # the attention head has one classifier for all
def test_grown_char_set_keeps_what_was_learned(positions):
    rng = np.random.default_rng(0)
    old, new = tuple("ac"), tuple("abc")
    values = {
        "conv/kernel": rng.normal(size=(3, 3)),
        "classifier/bias": rng.normal(size=2 * positions),
        "classifier/kernel": rng.normal(size=(5, 2 * positions)),
    }
    initial = {
        "classifier/bias": np.full(3 * positions, 7.0),
        "classifier/kernel": np.full((5, 3 * positions), 7.0),
    }
    grown = grow_classes(values, old, new, initial, False)
    np.testing.assert_array_equal(grown["conv/kernel"], values["conv/kernel"])
    for name in initial:
        by_class = grown[name].reshape(*values[name].shape[:-1], positions, 3)
        np.testing.assert_array_equal(
            by_class[..., [0, 2]].reshape(values[name].shape), values[name]
        )
        assert (by_class[..., 1] == 7).all()


def test_the_end_class_stays_the_last_one():
    values = {"classifier/bias": np.array([1.0, 2.0, 9.0])}  # a, b, the end
    initial = {"classifier/bias": np.array([0.1, 0.2, 0.3, 0.4])}
    grown = grow_classes(values, ("a", "b"), ("b", "c", "a"), initial, True)["classifier/bias"]
    assert grown.tolist() == [2.0, 0.2, 1.0, 9.0]


def test_char_sets_of_thousands_are_compared_in_one_pass():
    old = counted_characters()
    values = {"classifier/bias": np.arange(len(old))}
    initial = {"classifier/bias": np.zeros(len(old) + 1)}
    grown = grow_classes(values, tuple(old), ("0", *reversed(old)), initial, False)
    assert grown["classifier/bias"].tolist() == [0, *reversed(range(len(old)))]
    assert CountedCharacter.compared < 10 * len(old)


def test_values_are_assigned_without_a_new_operation():
    with tf.Graph().as_default() as graph, tf.Session() as session:
        variables = [tf.get_variable(name, [2], tf.float32) for name in "ab"]
        session.run(tf.global_variables_initializer())
        graph.finalize()
        values = [np.float32([1, 2]), np.float32([3, 4])]
        assign(session, zip(variables, values, strict=True))
        np.testing.assert_array_equal(session.run(variables), values)
