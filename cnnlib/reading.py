"""From what a network puts out to texts, and how likely each is; in numpy alone.

A network gives the probability of each class at each position. Class i is the i-th character.
Where lengths vary, one class more, the last, says that the text has ended before this position.
What stands after its first occurrence means nothing.

Shapes: N images, P positions, C classes with that of the end. A text is char_ids, int [N, P],
NO_CHARACTER after its end; `ends` tells whether there is a class of the end.
"""

from __future__ import annotations

import numpy as np

from cnnlib.encoding import NO_CHARACTER


def most_probable(probabilities: np.ndarray, ends: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the most probable texts and how likely each of their characters is, float [N, P].

    The product over an image's positions is the probability of its text: that it ends where it
    does is part of its last character's, and after the end stands 1.
    """
    if not ends:
        return probabilities.argmax(axis=-1), probabilities.max(axis=-1)
    characters, end = probabilities[..., :-1], probabilities[..., -1]
    char_ids, confidences = characters.argmax(axis=-1), characters.max(axis=-1)
    # The text of n characters ends at position n, or has no place left.
    ended = np.concatenate([end[:, 1:], np.ones_like(end[:, :1])], axis=1)  # [N, P], n - 1 = 0..
    last = (confidences.cumprod(axis=1) * ended).argmax(axis=1)[:, np.newaxis]
    places = np.arange(char_ids.shape[1])
    confidences = np.where(places == last, confidences * ended, confidences)
    return (np.where(places > last, NO_CHARACTER, char_ids),
            np.where(places > last, 1.0, confidences))


def probability(probabilities: np.ndarray, char_ids: np.ndarray) -> np.ndarray:
    """Return how likely each text is, float [N]."""
    classes = class_ids(char_ids, probabilities.shape[-1])
    chosen = np.take_along_axis(probabilities, classes[..., np.newaxis], axis=-1)[..., 0]
    return np.where(counted(char_ids), chosen, 1.0).prod(axis=-1)


def class_ids(char_ids: np.ndarray, classes: int) -> np.ndarray:
    """Return the class at each position, int [N, P]: that of the end after a text's end."""
    return np.where(char_ids == NO_CHARACTER, classes - 1, char_ids)


def counted(char_ids: np.ndarray) -> np.ndarray:
    """Return which positions a text depends on, bool [N, P]: its characters and its end."""
    inside = char_ids != NO_CHARACTER
    return np.concatenate([np.ones_like(inside[:, :1]), inside[:, :-1]], axis=1)
