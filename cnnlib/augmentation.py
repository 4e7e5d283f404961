"""Random distortions of training images, as functions on float images [B, H, W, channels].

A strength of 1 means the limits below; 0 changes nothing.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow.compat.v1 as tf

Tensor = Any

ROTATION = math.radians(5)
SCALE = 0.08
SHEAR = 0.10
SHIFT = 0.04  # of the width and of the height
CONTRAST = 0.25
BRIGHTNESS = 0.25  # standard deviations of the image


def distort(images: Tensor, strength: float = 1.0) -> Tensor:
    """Rotate, scale, shear and shift each image a little, then change contrast and brightness."""
    return vary_light(warp(images, strength), strength)


def warp(images: Tensor, strength: float = 1.0) -> Tensor:
    batch = tf.shape(images)[0]
    height, width = float(images.shape[1]), float(images.shape[2])

    def uniform(limit: float) -> Tensor:
        return tf.random.uniform([batch], -limit * strength, limit * strength)

    angle, shear = uniform(ROTATION), uniform(SHEAR)
    scale_x, scale_y = tf.exp(uniform(SCALE)), tf.exp(uniform(SCALE))
    # The map from an output place to the input place it shows, as matrix [[a, b], [c, d]].
    a = tf.cos(angle) * scale_x
    b = (shear * tf.cos(angle) - tf.sin(angle)) * scale_x
    c = tf.sin(angle) * scale_y
    d = (shear * tf.sin(angle) + tf.cos(angle)) * scale_y
    # The centre stays where it is, but for the shift.
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    shift_x = centre_x - a * centre_x - b * centre_y + uniform(SHIFT) * width
    shift_y = centre_y - c * centre_x - d * centre_y + uniform(SHIFT) * height
    zeros = tf.zeros([batch])
    transforms = tf.stack([a, b, shift_x, c, d, shift_y, zeros, zeros], axis=1)
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=images, transforms=transforms, output_shape=tf.shape(images)[1:3],
        fill_value=0.0, interpolation="BILINEAR", fill_mode="NEAREST")
    return tf.ensure_shape(warped, images.shape)


def vary_light(images: Tensor, strength: float = 1.0) -> Tensor:
    shape = [tf.shape(images)[0], 1, 1, 1]
    contrast, brightness = strength * CONTRAST, strength * BRIGHTNESS
    images *= tf.random.uniform(shape, 1 - contrast, 1 + contrast)
    return images + tf.random.uniform(shape, -brightness, brightness)
