"""The graph that learns: a network with loss, optimiser and savers, built once and closed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnlib.dataset.labels import PAD_ID, UNKNOWN_ID
from cnnlib.network import CNN
from cnnlib.networks.saliency import saliency
from cnnlib.networks.tensorflow_v1 import cond, tf
from cnnlib.networks.weights import Tensor, TrainableWeights
from cnnlib.training.augmentation import distort
from cnnlib.training.cluster import Cluster
from cnnlib.training.distillation import Teacher, taught_losses
from cnnlib.training.recipes import Recipe
from cnnlib.training.replication import Replication, placed


@dataclass(frozen=True)
class TrainingGraph:
    """A closed graph, and what a training feeds, runs and saves of it.

    That of a cluster is closed by its session, which adds to it.
    """

    graph: tf.Graph
    X: Tensor  # uint8 [B, H, W] or [B, H, W, 3]
    Y: Tensor  # int32 [B, L]
    keep_prob: Tensor
    training: Tensor  # bool: distort images, normalise over the batch
    rate: Tensor  # the learning rate
    logits: Tensor  # [B, P, C]
    losses: Tensor  # [B], as reported: without smoothing
    saliency: Tensor | None  # [B, L, W], where characters are to be located
    train_step: Tensor
    weight_variables: Sequence[Any]  # with the averages of batch norm
    all_variables: Sequence[Any]  # with the averages of the optimiser
    initializer: Tensor
    best_saver: Any  # of the weights
    last_saver: Any  # of everything
    replication: Replication | None  # where several machines train together


def build(
    cnn: CNN,
    recipe: Recipe,
    seed: int,
    *,
    distortion: float = 0.0,
    splices: bool = False,
    teacher: Teacher | None = None,
    cluster: Cluster | None = None,
) -> TrainingGraph:
    """Build what trains `cnn`, whose graph is empty but for its placeholders, and close it.

    `distortion` is the strength of augmentation; `splices` adds the saliency, and `teacher` a loss.
    In a `cluster` the steps are those of all its machines.
    """
    cnn.require_unbuilt()
    with cnn.graph.as_default(), placed(cluster):
        # For the operations that come after it; each machine distorts in its own way.
        tf.set_random_seed(seed + (cluster.position if cluster else 0))
        weights = TrainableWeights(cnn.training, cnn.keep_prob)
        undistorted = cnn.standardized()  # [B, H, W, channels]
        images = _distorted(cnn, undistorted, recipe, distortion)
        cnn.model(weights, images)
        weight_variables = tf.global_variables()
        learned = _losses(cnn, recipe, recipe.label_smoothing)  # [B]
        if teacher and recipe.distillation:
            learned = taught_losses(cnn, images, learned, teacher, recipe.distillation)
        loss = tf.reduce_mean(learned)
        losses = _losses(cnn, recipe, smoothing=0.0)
        saliency = _saliency(cnn, undistorted) if splices else None
        rate = tf.placeholder(tf.float32, [], "rate")
        replication = Replication(cluster) if cluster else None
        train_step = _train_step(loss, rate, recipe, weights.moving_averages, replication)
        all_variables = tf.global_variables()
        graph = TrainingGraph(
            graph=cnn.graph,
            X=cnn.X,
            Y=cnn.Y,
            keep_prob=cnn.keep_prob,
            training=cnn.training,
            rate=rate,
            logits=cnn.logits,
            losses=losses,
            saliency=saliency,
            train_step=train_step,
            weight_variables=weight_variables,
            all_variables=all_variables,
            initializer=tf.variables_initializer(all_variables),
            best_saver=tf.train.Saver(weight_variables, max_to_keep=None),
            last_saver=tf.train.Saver(max_to_keep=None),
            replication=replication,
        )
    if replication is None:
        cnn.graph.finalize()
    return graph


def _distorted(cnn: CNN, undistorted: Tensor, recipe: Recipe, strength: float) -> Tensor:
    """Return the images, distorted at random in training."""
    limits = recipe.augmentation
    if limits is None or not strength:
        return undistorted
    images = cond(cnn.training, lambda: distort(undistorted, limits, strength), lambda: undistorted)
    return tf.ensure_shape(images, undistorted.shape)


def _losses(cnn: CNN, recipe: Recipe, smoothing: float) -> Tensor:
    """Return the loss of each image, float32 [B]."""
    targets = _targets(cnn, smoothing)
    if recipe.sigmoid:
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=cnn.logits)
        return tf.reduce_mean(losses, axis=[1, 2])  # of [B, P, C]
    losses = tf.nn.softmax_cross_entropy_with_logits_v2(labels=targets, logits=cnn.logits)
    known = tf.cast(tf.not_equal(cnn.Y, UNKNOWN_ID), tf.float32)  # [B, P]
    return tf.reduce_mean(known * losses, axis=1)


def _targets(cnn: CNN, smoothing: float) -> Tensor:
    """Return the probability of each class, float32 [B, P, C]."""
    classes = cnn.spec.classes
    end = tf.fill(tf.shape(cnn.Y), classes - 1)
    class_ids = tf.where(tf.equal(cnn.Y, PAD_ID), end, cnn.Y)  # [B, P]
    possible = cnn.possible_classes().astype(np.float32)  # [P, C]
    uniform = possible / possible.sum(axis=-1, keepdims=True)
    return tf.one_hot(class_ids, classes) * (1 - smoothing) + smoothing * uniform


def _saliency(cnn: CNN, images: Tensor) -> Tensor:
    """Return what each column of an image contributes to each character, float32 [B, L, W]."""
    chosen = tf.one_hot(cnn.Y, cnn.spec.classes)
    scores = tf.reduce_sum(cnn.logits * chosen, axis=-1)  # [B, L]
    return saliency(scores, images, axis=[1, 3])  # of [B, H, W, channels]


def _train_step(
    loss: Tensor,
    rate: Tensor,
    recipe: Recipe,
    moving_averages: Sequence[Tensor],
    replication: Replication | None,
) -> Tensor:
    """Return what a step runs; in a cluster the chief alone keeps the averages of batch norm."""
    optimizer = _Optimizer(replication.rate if replication else rate, recipe)
    gradients = optimizer.compute_gradients(loss)
    if replication is None:
        return tf.group(optimizer.apply_gradients(gradients), *moving_averages)
    step = replication.synchronized(optimizer, gradients, rate)
    return tf.group(step, *(moving_averages if replication.cluster.is_chief else ()))


class _Optimizer(tf.train.AdamOptimizer):
    """Adam on gradients that are clipped together; then kernels decay."""

    def __init__(self, rate: Tensor, recipe: Recipe) -> None:
        super().__init__(rate, beta2=recipe.adam_beta2)
        self._rate, self._recipe = rate, recipe

    def apply_gradients(
        self,
        grads_and_vars: Iterable[tuple[Tensor, Any]],
        global_step: Any = None,
        name: Any = None,
    ) -> Tensor:
        recipe = self._recipe
        gradients, variables = zip(*grads_and_vars, strict=True)
        if recipe.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, recipe.clip_norm)
        step = super().apply_gradients(zip(gradients, variables, strict=True), global_step, name)
        decay = []
        for kernel in variables:
            if kernel.op.name.endswith("kernel"):
                with tf.control_dependencies([step]), tf.device(kernel.device):
                    decay.append(kernel.assign_sub(self._rate * recipe.weight_decay * kernel))
        return tf.group(step, *decay)
