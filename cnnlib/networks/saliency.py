"""Which pixels a network's answer depends on."""

from __future__ import annotations

from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.weights import Tensor


def saliency(scores: Tensor, images: Tensor, axis: list[int]) -> Tensor:
    """Return how much each score depends on each pixel, its square, summed over some axes.

    The gradient of the scores, [B, P], by the images, [B, H, W, channels], which they come from
    (Simonyan et al. 2014, "Deep inside convolutional networks"). `axis` are those of the images
    that are summed: of [3] comes float32 [B, P, H, W], of [1, 3] comes [B, P, W].
    """
    gradients = [tf.gradients(scores[:, k], images)[0] for k in range(int(scores.shape[1]))]
    return tf.stack([tf.reduce_sum(tf.square(g), axis=axis) for g in gradients], axis=1)
