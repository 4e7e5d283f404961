"""Weights of one kind of captcha as a start for another: every layer that fits, adapted.

Convolutions fit any size of image. What depends on it, on the characters or on the number of
positions is scaled, reordered or cut; what has no counterpart keeps its initial value. A network
with more filters has those of the narrower one, and others that these do not read yet: it answers
nearly alike, and learns more (after Chen et al. 2016, "Net2Net").

Shapes: C classes, P positions, D channels of the feature map.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.networks.architectures import CLASSIFIER, GLIMPSES, HEADS, feature_size

STEM = "stem/kernel"
PLACE = "attention/place"
QUERY = "attention/query"
QKV = "qkv/"  # queries, keys and values of self-attention, each with HEADS parts
SEEN = "seen/kernel"  # reads what all of HEADS have seen
# What a letter shows whose other case the labels do not have: labels in lower case may be those of
# captchas in upper case.
CASES = ("own", "other", "either")


@dataclass(frozen=True)
class Layout:
    """What the shapes of weights depend on, but for the network."""

    characters: tuple[str, ...]  # of the classifier's rows, before the end class
    has_end_class: bool
    grid: tuple[int, int]  # height and width of what the attention head reads

    @classmethod
    def of(cls, spec: CaptchaSpec) -> Layout:
        return cls(
            spec.char_set, spec.has_end_class, feature_size(spec.image_height, spec.image_width)
        )

    @property
    def names(self) -> list[str]:
        """Return a name for each class."""
        return [*self.characters, *[""] * self.has_end_class]


def adapted(
    values: Mapping[str, np.ndarray],
    source: Layout,
    target: Layout,
    initial: Mapping[str, np.ndarray],
    case: str = CASES[0],
) -> dict[str, np.ndarray]:
    """Return the weights named in `initial`, from `values` where these can be adapted.

    `case`, of CASES, says which rows letters get whose other case the target does not have.
    """
    return {
        name: _fitted(name, values[name], value, source, target, case) if name in values else value
        for name, value in initial.items()
    }


def _fitted(
    name: str,
    known: np.ndarray,
    initial: np.ndarray,
    source: Layout,
    target: Layout,
    case: str,
) -> np.ndarray:
    """Return a weight in the shape of `initial`."""
    if name.startswith(CLASSIFIER):
        shape = (*initial.shape[:-1], known.shape[-1])
        return _by_class(_with_zeros(name, known, shape), initial, source, target, case)
    if name == PLACE:
        depth = known.shape[-1]
        known = _scaled(known.reshape(*source.grid, depth), target.grid).reshape(-1, depth)
    if name == QUERY:
        return _queries(_with_zeros(name, known, (initial.shape[0], known.shape[1])), initial)
    if name == STEM and known.shape[:2] == initial.shape[:2]:
        known = _channels(known, initial.shape[2])
    return known if known.shape == initial.shape else _widened(name, known, initial)


def _with_zeros(name: str, known: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a weight for more filters, which it does not read; the same where they are fewer."""
    return _widened(name, known, np.zeros(shape, np.float32)) if _fits(known, shape) else known


def _fits(known: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Return whether a weight is a part of one of this shape: as many axes, and no longer ones."""
    return known.ndim == len(shape) and all(np.less_equal(known.shape, shape))


def _widened(name: str, known: np.ndarray, initial: np.ndarray) -> np.ndarray:
    """Return a weight [..., in, out] or [out] for more filters; `initial` where they are not more.

    What is read of new filters by old ones is 0. Each part of what consists of parts is widened.
    """
    if known.shape == initial.shape:
        return known
    if not _fits(known, initial.shape) or known.shape[:-2] != initial.shape[:-2]:
        return initial
    parts_in = {SEEN: HEADS, f"{CLASSIFIER}/kernel": GLIMPSES}
    inputs = next((n for end, n in parts_in.items() if name.endswith(end)), 1)
    outputs = 3 * HEADS if QKV in name else 1
    old, new = (
        value.reshape(*value.shape[:-2], inputs, -1, outputs, value.shape[-1] // outputs)
        for value in (known, initial.copy())
    )  # [..., parts, in, parts, out]
    width, read = old.shape[-1], old.shape[-3]
    new[..., read:, :, :width] = 0.0
    new[..., :read, :, :width] = old
    if QKV in name:  # queries have HEADS parts; their products are divided by the root of the width
        new[..., :HEADS, width:] = 0.0
        new[..., :HEADS, :width] *= (new.shape[-1] / width) ** 0.5
    return new.reshape(initial.shape)


def _by_class(
    known: np.ndarray, initial: np.ndarray, source: Layout, target: Layout, case: str
) -> np.ndarray:
    """Return rows of a classifier, [..., C], for the characters of the target.

    One that the source does not know in either case keeps its initial row.
    """
    if known.shape[:-1] != initial.shape[:-1] or known.shape[-1] != len(source.names):
        return initial
    place_of = {name: place for place, name in enumerate(source.names)}
    fitted = initial.copy()
    for place, name in enumerate(target.names):
        other = name.swapcase()
        both = [name] if other in target.names else [name, other]
        wanted = {"own": both[:1], "other": both[-1:], "either": both}[case]
        rows = [place_of[c] for c in wanted if c in place_of]
        rows = rows or [place_of[c] for c in both if c in place_of]
        if rows:
            fitted[..., place] = known[..., rows].mean(axis=-1)
    return fitted


def _scaled(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a map [h, w, D] in another size, linearly."""
    layers = [
        np.asarray(
            Image.fromarray(layer.astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
        )
        for layer in np.moveaxis(grid, -1, 0)
    ]
    return np.stack(layers, axis=-1)


def _queries(known: np.ndarray, initial: np.ndarray) -> np.ndarray:
    """Return the queries of the first positions, [D, P * GLIMPSES]; later ones as they are."""
    if known.shape[0] != initial.shape[0]:
        return initial
    fitted = initial.copy()
    count = min(known.shape[1], initial.shape[1]) // GLIMPSES * GLIMPSES
    fitted[:, :count] = known[:, :count]
    return fitted


def _channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Return a kernel [h, w, in, out] for gray or colour that sees gray images as before."""
    if kernel.shape[2] == channels:
        return kernel
    gray = kernel.sum(axis=2, keepdims=True)
    return np.repeat(gray / channels, channels, axis=2)
