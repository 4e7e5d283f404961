"""Values of a network's variables: read from a checkpoint, assigned, adapted to more classes."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from cnnlib.errors import ModelError
from cnnlib.networks.architectures import CLASSIFIER
from cnnlib.networks.model_folder import ModelFolder, ModelInfo
from cnnlib.networks.tensorflow_v1 import tf

# TensorFlow writes to any name, but reads the files that match it as a pattern. On Windows
# the path has no backslash here.
PATTERN = re.compile(r"[*?[\\]")


def read_best(folder: ModelFolder) -> tuple[ModelInfo, dict[str, np.ndarray]]:
    """Read model.json and the best weights, by the names of their variables; raises ModelError."""
    while True:
        info = folder.read_required()
        try:
            return info, read_checkpoint(folder.full / info.best)
        except ModelError:
            if folder.read_required().best == info.best:  # else a training has saved in between
                raise


def read_checkpoint(prefix: Path) -> dict[str, np.ndarray]:
    """Return all values of a checkpoint by the names of their variables; raises ModelError."""
    try:
        with readable(prefix) as name:
            reader = tf.train.NewCheckpointReader(name)
            return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, OSError, ValueError, RuntimeError, IndexError) as error:
        detail = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{prefix} is missing or damaged: train again with --fresh, or restore "
            f"the folder from a copy ({detail})"
        ) from error


@contextmanager
def readable(prefix: Path) -> Iterator[str]:
    """Give the name by which TensorFlow can read a checkpoint, whatever its folder is called.

    Where the name would be taken for a pattern it is that of a copy in TensorFlow's file system in
    memory: links may be forbidden, and the folder for temporary files may be called so as well.
    """
    if not PATTERN.search(prefix.as_posix()):
        yield prefix.as_posix()
        return
    files = [f for f in prefix.parent.iterdir() if f.name.startswith(f"{prefix.name}.")]
    folder = f"ram://cnn_captcha/{secrets.token_hex(8)}"
    try:
        for file in files:
            with tf.io.gfile.GFile(f"{folder}/{file.name}", "wb") as copy:
                copy.write(file.read_bytes())
        yield f"{folder}/{prefix.name}"
    finally:
        for file in files:
            with suppress(tf.errors.OpError):
                tf.io.gfile.remove(f"{folder}/{file.name}")


def assign(session: Any, values: Iterable[tuple[Any, Any]]) -> None:
    """Give variables their values, pairs of both; a closed graph gets no new operation."""
    feeds = {
        variable.initializer: (variable.initializer.inputs[1], value) for variable, value in values
    }
    session.run(list(feeds), dict(feeds.values()))


def grow_classes(
    values: Mapping[str, np.ndarray],
    old: tuple[str, ...],
    new: tuple[str, ...],
    initial: Mapping[str, np.ndarray],
    has_end_class: bool,
) -> dict[str, np.ndarray]:
    """Return the weights for a char_set that has grown: what was learned of the old stays.

    The last axis of the classifier's weights counts the classes, at each position where it has
    several; new classes start from `initial`.
    """
    grown = dict(values)
    place_of = {character: place for place, character in enumerate(new)}
    places = [place_of[character] for character in old] + [len(new)] * has_end_class
    for name in values:
        if name.startswith(CLASSIFIER):
            value = initial[name].copy()
            by_class = value.reshape(*value.shape[:-1], -1, len(new) + has_end_class)
            by_class[..., places] = values[name].reshape(*by_class.shape[:-1], len(places))
            grown[name] = value
    return grown
