"""Values of a network's variables: read from a checkpoint, assigned, adapted to more classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cnnlib.errors import ModelError
from cnnlib.networks.architectures import CLASSIFIER
from cnnlib.networks.tensorflow_v1 import tf


def read_checkpoint(prefix: Path) -> dict[str, np.ndarray]:
    """Return all values of a checkpoint by the names of their variables; raises ModelError."""
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        raise ModelError(
            f"{prefix} is missing or damaged: train again with --fresh, or restore "
            f"the folder from a copy ({str(error).splitlines()[0]})"
        ) from error


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
    places = [new.index(character) for character in old] + [len(new)] * has_end_class
    for name in values:
        if name.startswith(CLASSIFIER):
            value = initial[name].copy()
            by_class = value.reshape(*value.shape[:-1], -1, len(new) + has_end_class)
            by_class[..., places] = values[name].reshape(*by_class.shape[:-1], len(places))
            grown[name] = value
    return grown
