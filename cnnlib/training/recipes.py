"""How weights are learned: rates, loss, augmentation, splicing and teacher, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cnnlib.config import NETWORK_NAMES


@dataclass(frozen=True)
class Augmentation:
    """The limits of random distortions, each way, at strength 1."""

    rotation: float = math.radians(5)
    scale: float = 0.08  # its logarithm
    shear: float = 0.10
    shift: float = 0.04  # of the width and of the height
    contrast: float = 0.25
    brightness: float = 0.25  # standard deviations of the image
    full_from_views: int = 8  # images that are seen a few times are new enough as they are
    least_strength: float = 0.5

    def strength(self, views: float) -> float:
        """Return the strength where each image is seen this many times."""
        return min(1.0, max(self.least_strength, views / self.full_from_views))


@dataclass(frozen=True)
class Splicing:
    """How characters of different images are joined to new images."""

    from_views: int = 15  # of each image; 8 was not tried
    until: float = 0.75  # of a run: at its end it sees images as they are
    # Shares of a run after which characters are located: when the network reads them, and again
    # when it reads them better.
    locate_at: tuple[float, ...] = (0.15, 0.35)
    located_images: int = 4000  # at most: locating takes as long as two steps of training on each
    batch_share: float = 0.5  # of a batch, where not all images were located
    # Of some training images this share must be right: else the network does not know where their
    # characters are. On the practice style `hard`, with a tenth to a third right, splicing cost 5
    # points.
    known_images: int = 500
    known_share: float = 0.5
    # Of some test images, where weights know letters from the start: these have few training images
    # by heart at once. On the style `lines`, with 500 labels and 68 % of the test images right,
    # splicing cost 7 points. From random weights it is what teaches single letters: 1,000 images of
    # the style `captcha` gave 76 % without it, 97 with it.
    started_known_share: float = 0.8
    switch: float = 0.5  # chance that a character is of another image than the one to its left
    narrowest: float = 0.2  # of the mean width of a character: a narrower piece shows nothing
    slack: float = 0.15  # of the image's width, by which all pieces may be wider or narrower
    overlap: float = 0.1  # of the image's width, at most, with four characters; less with more


@dataclass(frozen=True)
class SelfTraining:
    """How a network learns from images without labels: from what it reads in them with confidence.

    Pseudo-labels (Lee 2013), of single characters, updated as the network gets better.
    """

    # Shares of a run after which it reads them.
    read_at: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    confidence: float = 0.85  # of a character that is learned, at least
    least_known: float = 0.5  # of the characters of an image that is used
    batch_share: float = 0.5  # of each batch
    most_images: int = 10_000  # reading them takes as long as 20 steps


@dataclass(frozen=True)
class Distillation:
    """How a network learns from a teacher, where there is one (Hinton et al. 2015).

    A teacher that was trained with label smoothing needs a low temperature (Chandrasegaran et al.
    2022, "Revisiting label smoothing and knowledge distillation compatibility"). At 1 it gives the
    right one of 36 classes about 0.95, as its training asked for; at 2 it would be 0.43, most of
    the rest spread over all classes alike.
    """

    temperature: float = 1.0  # divides the logits of both
    weight: float = 0.8  # of the teacher's probabilities; the rest is that of the labels


@dataclass(frozen=True)
class Recipe:
    """How weights are learned; the learning rate rises linearly, then falls along a cosine."""

    peak_rates: Mapping[str, float]  # of each network; batch norm allows a higher one
    started_share: float  # of the peak rate, where weights know something; 0: all start at random
    # Where each image is seen more often than this, that share falls with the root of the views: a
    # high rate forgets what was known while it learns few images by heart. On the practice style
    # `lines`, 500 labels and 1,500 steps gave 72 % at half the peak rate, 79 at 0.15 of it.
    started_views: float
    warm_up: float  # share of the steps; 0 keeps the rate constant
    least_warm_up: int  # steps; a quarter of a run at most
    weight_decay: float  # of kernels, decoupled (Loshchilov and Hutter 2019)
    keep_prob: float
    label_smoothing: float  # Szegedy et al. 2016
    sigmoid: bool  # every class of every character is a yes or no of its own
    clip_norm: float  # of the gradient of all weights; 0 leaves it as it is
    adam_beta2: float  # how long Adam's mean of squared gradients remembers
    augmentation: Augmentation | None
    splicing: Splicing | None
    # Shares of a run after which images are left out whose labels the network holds for wrong.
    doubt_at: tuple[float, ...]
    doubt_from_views: float  # of each image: reading all takes as long as a third of a view
    distillation: Distillation | None  # with a teacher; None: there can be none
    self_training: SelfTraining | None  # with images that have no labels; None: not from these
    # From which gain on images are read in several shifts, as a share of the test images. 1: never.
    least_augmented_gain: float

    def rate(
        self,
        network: str,
        step: int,
        steps: int,
        rewarm_from: int = 0,
        started: bool = False,
        views: float = 0.0,
    ) -> float:
        """Return the learning rate of a step, counted from 1, of a run of `steps`.

        It rises a second time from the step `rewarm_from` on, if there is one, at which images
        become of a new kind: Adam's mean of squared gradients is too small then, and its steps
        would be too long. Where a run `started` from weights that know something the rate is lower,
        by how often each image is seen.
        """
        peak = self.peak_rates[network] * (self._started_share(views) if started else 1.0)
        if not self.warm_up:
            return peak
        rising = max(1, round(self.warm_up * steps), min(self.least_warm_up, steps // 4))
        if step <= rising:
            return peak * step / rising
        again = min(1.0, (step - rewarm_from + 1) / rising) if 0 < rewarm_from <= step else 1.0
        return again * peak * (1 + math.cos(math.pi * (step - rising) / (steps - rising))) / 2

    def _started_share(self, views: float) -> float:
        return self.started_share * math.sqrt(self.started_views / max(views, self.started_views))

    def distortion(self, views: float) -> float:
        """Return the strength of augmentation where each image is seen this many times."""
        return self.augmentation.strength(views) if self.augmentation else 0.0

    def splices(self, views: float, max_captcha: int) -> bool:
        """Return whether characters are spliced where each image is seen this many times."""
        return bool(self.splicing and views >= self.splicing.from_views and max_captcha > 1)


RECIPES = {
    "default": Recipe(
        peak_rates={
            "resnet_attention": 2e-2,
            "resnet_attention_wide": 2e-2,
            "resnet_attention_small": 2e-2,
            "cnn5": 2e-3,
        },
        started_share=0.5,
        started_views=20.0,
        warm_up=0.07,
        least_warm_up=100,
        weight_decay=0.05,
        keep_prob=1.0,
        label_smoothing=0.05,
        sigmoid=False,
        clip_norm=1.0,
        adam_beta2=0.98,
        augmentation=Augmentation(),
        splicing=Splicing(),
        doubt_at=(0.4, 0.7),
        doubt_from_views=3.0,
        distillation=Distillation(),
        self_training=SelfTraining(),
        least_augmented_gain=0.01,
    ),
    "specification": Recipe(  # that of version 2
        peak_rates=dict.fromkeys(NETWORK_NAMES, 1e-4),
        started_share=0.0,
        started_views=1.0,
        warm_up=0.0,
        least_warm_up=0,
        weight_decay=0.0,
        keep_prob=0.75,
        label_smoothing=0.0,
        sigmoid=True,
        clip_norm=0.0,
        adam_beta2=0.999,
        augmentation=None,
        splicing=None,
        doubt_at=(),
        doubt_from_views=0.0,
        distillation=None,
        self_training=None,
        least_augmented_gain=1.0,
    ),
}
