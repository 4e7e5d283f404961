"""Random distortions of training images, as functions on float images [B, H, W, channels].

A strength of 1 means the limits of the recipe; 0 changes nothing.
"""

from __future__ import annotations

from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.weights import Tensor
from cnnlib.training.recipes import Augmentation


def distort(images: Tensor, limits: Augmentation, strength: float = 1.0) -> Tensor:
    """Rotate, scale, shear and shift each image a little, then change contrast and brightness."""
    return vary_light(warp(images, limits, strength), limits, strength)


def warp(images: Tensor, limits: Augmentation, strength: float = 1.0) -> Tensor:
    batch = tf.shape(images)[0]
    height, width = float(images.shape[1]), float(images.shape[2])

    def uniform(limit: float) -> Tensor:
        return tf.random.uniform([batch], -limit * strength, limit * strength)  # [B]

    angle, shear = uniform(limits.rotation), uniform(limits.shear)
    scale_x, scale_y = tf.exp(uniform(limits.scale)), tf.exp(uniform(limits.scale))
    # The map from an output place to the input place it shows, as matrix [[a, b], [c, d]].
    a = tf.cos(angle) * scale_x
    b = (shear * tf.cos(angle) - tf.sin(angle)) * scale_x
    c = tf.sin(angle) * scale_y
    d = (shear * tf.sin(angle) + tf.cos(angle)) * scale_y
    # The centre stays where it is, but for the shift.
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    shift_x = centre_x - a * centre_x - b * centre_y + uniform(limits.shift) * width
    shift_y = centre_y - c * centre_x - d * centre_y + uniform(limits.shift) * height
    zeros = tf.zeros([batch])
    transforms = tf.stack([a, b, shift_x, c, d, shift_y, zeros, zeros], axis=1)  # [B, 8]
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
    return tf.ensure_shape(warped, images.shape)  # [B, H, W, channels]


def vary_light(images: Tensor, limits: Augmentation, strength: float = 1.0) -> Tensor:
    shape = [tf.shape(images)[0], 1, 1, 1]  # one value an image
    contrast, brightness = strength * limits.contrast, strength * limits.brightness
    images *= tf.random.uniform(shape, 1 - contrast, 1 + contrast)
    return images + tf.random.uniform(shape, -brightness, brightness)
