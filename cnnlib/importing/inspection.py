"""What labelled images show: sizes, colours, the height of their text."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from cnnlib.console import CONSOLE, Reporter
from cnnlib.dataset.images import GRAY_WEIGHTS, open_image, to_gray_or_rgb
from cnnlib.errors import SampleError

MAX_DECODED = 500  # images, to see their colours and their text
PROFILE_ROWS = 100  # to which the rows of an image of any height are interpolated
BLUR_RADIUS = 1.0  # takes most of the noise of single pixels


@dataclass(frozen=True)
class Inspection:
    """What was seen of labelled images."""

    labels: list[str]
    suffixes: tuple[str, ...]  # of the images' content, the most frequent first
    sizes: Counter[tuple[int, int]]  # width and height
    hidden_colour: float  # of 255, see `hidden_colour`
    text_height: float = 0.0  # pixels, of an image of median height; 0: not known
    separator: str = "_"
    broken: list[str] = field(default_factory=list)
    # What the labels will be, where the user said so: there are none yet.
    expected_lengths: tuple[int, ...] = ()
    expected_characters: str = ""

    @property
    def lengths(self) -> Counter[int]:
        return Counter([*map(len, self.labels), *self.expected_lengths])

    @property
    def characters(self) -> list[str]:
        return sorted({c for label in (*self.labels, self.expected_characters) for c in label})


def inspect_images(
    files: Sequence[Path],
    labels: Sequence[str],
    *,
    sizes: Counter[tuple[int, int]] | None = None,
    suffixes: Sequence[str] = (),
    separator: str = "_",
    seed: int = 0,
    reporter: Reporter = CONSOLE,
) -> Inspection:
    """Inspect images that have these labels; MAX_DECODED of them, chosen by the seed, are decoded.

    `sizes` and `suffixes` are of those that are decoded, and of their names, unless given. Raises
    SampleError where none can be decoded.
    """
    chosen = sorted(np.random.default_rng(seed).permutation(len(files))[:MAX_DECODED])
    seen: Counter[tuple[int, int]] = Counter()
    broken, hidden, profiles = [], [], []
    failure = ""
    for path in reporter.progress([files[i] for i in chosen], "inspecting"):
        try:
            image = to_gray_or_rgb(open_image(path), channels=3)
        except SampleError as error:
            broken.append(path.name)
            failure = failure or f"{path}: {error}"
            continue
        seen[image.size] += 1
        hidden.append(hidden_colour(np.asarray(image)))
        profiles.append(row_profile(image))
    if not seen:
        raise SampleError(f"no image can be decoded, such as {failure}")
    heights = [height for (_, height), n in seen.items() for _ in range(n)]
    names = Counter(os.path.splitext(path.name)[1].lstrip(".").lower() for path in files)
    return Inspection(
        list(labels),
        tuple(suffixes) or tuple(suffix for suffix, _ in names.most_common()),
        seen if sizes is None else sizes,
        float(np.mean(hidden)),
        text_share(np.mean(profiles, axis=0)) * float(np.median(heights)),
        separator,
        broken,
    )


def hidden_colour(pixels: np.ndarray) -> float:
    """Return how far the colours of an image, uint8 [H, W, 3], are from what its grays explain.

    It is the root mean square of what is left when each channel is explained by gray, linearly.
    """
    colours = pixels.reshape(-1, 3).astype(float)  # [H * W, 3]
    colours -= colours.mean(axis=0)
    gray = colours @ GRAY_WEIGHTS  # [H * W]
    explained = np.outer(gray, gray @ colours / max(gray @ gray, 1.0))
    return float(np.sqrt(np.mean((colours - explained) ** 2)))


def letter_height(images: np.ndarray) -> float:
    """Return about how high the letters of images, uint8 [N, H, W] or [N, H, W, 3], are, pixels."""
    profiles = [row_profile(Image.fromarray(pixels)) for pixels in images]
    return text_share(np.mean(profiles, axis=0)) * images.shape[1]


def row_profile(image: Image.Image) -> np.ndarray:
    """Return how much changes along each row, float [PROFILE_ROWS], from the top to the bottom.

    Letters change along their rows, a ground and lines across them hardly do.
    """
    gray = image.convert("L").filter(ImageFilter.GaussianBlur(BLUR_RADIUS))
    if gray.width < 2:
        return np.zeros(PROFILE_ROWS)
    rows = np.abs(np.diff(np.asarray(gray, float), axis=1)).mean(axis=1)  # [H]
    places = (np.arange(PROFILE_ROWS) + 0.5) / PROFILE_ROWS * gray.height - 0.5
    return np.interp(places, np.arange(gray.height), rows)


def text_share(profile: np.ndarray) -> float:
    """Return the share of the rows that letters take: those at half the height of the profile.

    The mean profile of many images has noise as its base, wherever each one's letters are.
    """
    peak, base = np.quantile(profile, 0.95), profile.min()
    return float(np.mean(profile > base + 0.5 * (peak - base))) if peak > base else 0.0
