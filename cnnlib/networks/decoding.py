"""Decode network output to text, in numpy alone.

A network gives the probability of each class at each position. Class i is character i of char_set.
Where lengths vary there is one class more, the last: the end class. It says that the text has ended
before this position; what comes after its first occurrence means nothing.

Shapes: N images, P positions, C classes with the end class. A text is char_ids, int [N, P], PAD_ID
after its end.
"""

from __future__ import annotations

import numpy as np

from cnnlib.dataset.labels import PAD_ID


def decode(probabilities: np.ndarray, has_end_class: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the most probable texts, int [N, P], and their characters' confidences, float [N, P].

    The product over an image's positions is the probability of its text: that it ends where it
    does is part of its last character's, and after the end the value is 1.
    """
    if not has_end_class:
        return probabilities.argmax(axis=-1), probabilities.max(axis=-1)
    characters, end = probabilities[..., :-1], probabilities[..., -1]  # [N, P, C - 1], [N, P]
    char_ids, confidences = characters.argmax(axis=-1), characters.max(axis=-1)  # [N, P]
    # A text of n characters has its end at position n, or no position left.
    ended = np.concatenate([end[:, 1:], np.ones_like(end[:, :1])], axis=1)  # [N, P], n - 1 = 0..
    last = (confidences.cumprod(axis=1) * ended).argmax(axis=1)[:, np.newaxis]  # [N, 1]
    positions = np.arange(char_ids.shape[1])
    confidences = np.where(positions == last, confidences * ended, confidences)
    return (
        np.where(positions > last, PAD_ID, char_ids),
        np.where(positions > last, 1.0, confidences),
    )


def sequence_probability(probabilities: np.ndarray, char_ids: np.ndarray) -> np.ndarray:
    """Return the probability of each text, float [N]."""
    classes = class_ids(char_ids, probabilities.shape[-1])
    chosen = np.take_along_axis(probabilities, classes[..., np.newaxis], axis=-1)[..., 0]  # [N, P]
    return np.where(counted_positions(char_ids), chosen, 1.0).prod(axis=-1)


def class_ids(char_ids: np.ndarray, classes: int) -> np.ndarray:
    """Return the class at each position, int [N, P]: the end class after a text's end."""
    return np.where(char_ids == PAD_ID, classes - 1, char_ids)


def counted_positions(char_ids: np.ndarray) -> np.ndarray:
    """Return which positions a text depends on, bool [N, P]: its characters and its end."""
    inside = char_ids != PAD_ID
    return np.concatenate([np.ones_like(inside[:, :1]), inside[:, :-1]], axis=1)
