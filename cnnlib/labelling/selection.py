"""Which images teach most: those that the model is unsure of, each unsure in another way.

An image is described by the gradient that its most probable text would give the classifier: what
the classifier sees at each position, times how far the probabilities are from certain. Its length
says how much is to be learned, and its direction what: which characters are confused, and how they
look. Images far from each other are chosen one after the other (BADGE: Ash et al. 2020, "Deep batch
active learning by diverse, uncertain gradient lower bounds"). The outer products are never made:
two random projections, multiplied, keep their inner products (tensor sketch: Pham and Pagh 2013).

Shapes: N images, P positions, C classes, F features that the classifier reads at a position.
"""

from __future__ import annotations

import numpy as np

SKETCH = 256  # numbers that describe an image
MAX_POOL, MAX_ORDERED = 4000, 1000  # images: the least certain, and those chosen of them
PROJECTION_SEED = 0  # descriptions of different runs must be comparable


class GradientSketch:
    """Describes images by `SKETCH` numbers each; the projections depend on the shapes alone."""

    def __init__(self, classes: int, features: int) -> None:
        rng = np.random.default_rng([PROJECTION_SEED, classes, features])
        signs = np.array([-1.0, 1.0], np.float32)
        self._of_classes = rng.choice(signs, (classes, SKETCH))
        self._of_features = rng.choice(signs, (features, SKETCH)) / np.sqrt(np.float32(SKETCH))

    def describe(self, probabilities: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Return float32 [N, SKETCH], from float [N, P, C] and float [N, P, F]."""
        most = probabilities.argmax(axis=-1)  # [N, P]
        errors = probabilities.astype(np.float32).copy()
        np.put_along_axis(
            errors, most[..., None], np.take_along_axis(errors, most[..., None], -1) - 1, -1
        )  # [N, P, C], the gradient of the logits
        scale = np.linalg.norm(features, axis=-1, keepdims=True).mean() + 1e-6
        sketch = (errors @ self._of_classes) * (features / scale @ self._of_features)
        described: np.ndarray = sketch.sum(axis=1)
        return described


def order_by_gain(sketches: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the indices of up to `count` images, int, in the order in which to label them.

    The first is the longest sketch; each further one is drawn with a chance that grows with the
    square of its distance to the nearest of those before (k-means++: Arthur and Vassilvitskii
    2007).
    """
    images = len(sketches)
    count = min(count, images)
    if not count:
        return np.empty(0, int)
    lengths = (sketches**2).sum(axis=1)  # [N]
    chosen = [int(lengths.argmax())]
    nearest = np.full(images, np.inf)
    while len(chosen) < count:
        last = chosen[-1]
        distance = lengths - 2 * (sketches @ sketches[last]) + lengths[last]
        nearest = np.minimum(nearest, np.maximum(distance, 0))
        nearest[chosen] = 0
        total = nearest.sum()
        if total <= 0:  # all that are left are the same as one that is chosen
            rest = np.setdiff1d(np.arange(images), chosen)
            chosen += rest[np.argsort(-lengths[rest], kind="stable")][
                : count - len(chosen)
            ].tolist()
            break
        chosen.append(int(np.searchsorted(nearest.cumsum(), rng.random() * total)))
    return np.array(chosen[:count])
