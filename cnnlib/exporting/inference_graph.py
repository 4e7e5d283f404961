"""The graph that is exported: uint8 images in; probabilities, texts and their confidence out.

Everything that stands between an image and its text is in it, so that no other program has to do it
again: gray from RGB, shifts, standardisation, the network with its batch normalisation folded away,
the temperature, and the exact decoding of texts whose lengths vary.

Shapes: B images, H x W pixels, P character positions, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cnnlib.dataset.labels import PAD_ID
from cnnlib.network import CNN
from cnnlib.networks.metadata import RGB, ModelMetadata
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.weights import Tensor

IMAGE, PROBABILITIES, CHAR_IDS, CONFIDENCE = "image", "probabilities", "char_ids", "confidence"
# Pillow's weights of red, green and blue, in 65,536ths: ITU-R BT.601, rounded. All sums are below
# 2**24, so that float32 computes them, and the result, to the last bit.
LUMA = np.array([19595, 38470, 7471], np.float32)
LUMA_UNIT = 65536.0


@dataclass(frozen=True)
class InferenceGraph:
    """A graph of constants alone.

    `image`: uint8 [B, H, W] gray, or [B, H, W, 3]. `outputs`: probabilities, float32 [B, P, C];
    char_ids, int32 [B, P], PAD_ID after the end of a text; confidence, float32 [B].
    """

    graph: tf.Graph
    image: Tensor
    outputs: Mapping[str, Tensor]


def build_inference_graph(
    metadata: ModelMetadata, values: Mapping[str, np.ndarray]
) -> InferenceGraph:
    """Build the graph of a model from its weights, by the names of their variables."""
    spec = metadata.spec
    cnn = CNN(
        spec.image_height,
        spec.image_width,
        spec.max_captcha,
        spec.char_set,
        "",
        spec=spec,
        network=metadata.network,
    )
    colour = [3] if metadata.input == RGB else []
    with cnn.graph.as_default():
        size = [None, spec.image_height, spec.image_width]
        image = tf.placeholder(tf.uint8, size + colour, IMAGE)
        pixels = tf.cast(image, tf.float32)  # [B, H, W] or [B, H, W, 3]
        if metadata.input == RGB and spec.image_channels == 1:
            pixels = to_gray(pixels)  # [B, H, W]
        _, probabilities = cnn.inference_model(metadata, values, pixels)
        char_ids, confidence = decode(probabilities, spec.has_end_class)
    outputs = {PROBABILITIES: probabilities, CHAR_IDS: char_ids, CONFIDENCE: confidence}
    cnn.graph.finalize()
    return InferenceGraph(cnn.graph, image, outputs)


def to_gray(pixels: Tensor) -> Tensor:
    """Return what Pillow's conversion to L gives of whole numbers, [B, H, W, 3] -> [B, H, W]."""
    weighted = tf.reduce_sum(pixels * LUMA, axis=-1)  # [B, H, W]
    return tf.floor((weighted + LUMA_UNIT / 2) * (1 / LUMA_UNIT))


def decode(probabilities: Tensor, has_end_class: bool) -> tuple[Tensor, Tensor]:
    """Return the most probable texts, int32 [B, P], and their probability, float32 [B].

    As `cnnlib.networks.decoding.decode`, in operations that every format knows.
    """
    _, positions, classes = probabilities.shape.as_list()
    if not has_end_class:
        char_ids = tf.argmax(probabilities, axis=-1, output_type=tf.int32)  # [B, P]
        return char_ids, tf.reduce_prod(tf.reduce_max(probabilities, axis=-1), axis=-1)
    sizes = [-1, positions, classes - 1]
    characters = tf.slice(probabilities, [0, 0, 0], sizes)  # [B, P, C - 1]
    # A text of n characters has its end at position n, or no position left.
    end = tf.slice(probabilities, [0, 1, classes - 1], [-1, positions - 1, 1])  # [B, P - 1, 1]
    end = tf.reshape(end, [-1, positions - 1])
    ended = tf.pad(end, [[0, 0], [0, 1]], constant_values=1.0)  # [B, P], n - 1 = 0..
    best = tf.reduce_max(characters, axis=-1)  # [B, P]
    # All products of the first n: position i counts for n where i < n.
    counts = np.tril(np.ones((positions, positions), np.float32))
    first = tf.reshape(best, [-1, 1, positions]) * counts + (1 - counts)  # [B, P, P]
    texts = tf.reduce_prod(first, axis=-1) * ended  # [B, P], the probability of n characters
    last = tf.argmax(texts, axis=-1, output_type=tf.int32)  # [B]
    inside = tf.less_equal(np.arange(positions, dtype=np.int32), tf.reshape(last, [-1, 1]))
    inside = tf.cast(inside, tf.int32)  # [B, P]
    char_ids = tf.argmax(characters, axis=-1, output_type=tf.int32)  # [B, P]
    return char_ids * inside + PAD_ID * (1 - inside), tf.reduce_max(texts, axis=-1)
