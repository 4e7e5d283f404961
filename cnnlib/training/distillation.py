"""Learning from a teacher: a trained model whose probabilities a network learns, with the labels.

The teacher reads the images as the network in training sees them, distorted and spliced: what it is
unsure of in an image is then what is hard to see in that very image (Beyer et al. 2022, "Knowledge
distillation: a good teacher is patient and consistent").

Shapes: B images, P character positions, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cnnlib.errors import ConfigError, ModelError
from cnnlib.network import CNN
from cnnlib.networks.checkpoint import read_best
from cnnlib.networks.model_folder import ModelFolder
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.weights import ConstantWeights, Tensor
from cnnlib.paths import AnyPath
from cnnlib.training.recipes import Distillation

SCOPE = "teacher"  # of its operations in the graph


@dataclass(frozen=True)
class Teacher:
    """The best weights of a model, which stay as they are."""

    name: str  # in words
    network: str
    values: Mapping[str, np.ndarray]


def read_teacher(path: AnyPath, cnn: CNN) -> Teacher:
    """Return the model in a folder as a teacher of `cnn`; their networks may differ.

    Raises ConfigError for the folder that `cnn` is saved to, and ModelError where there is no
    model, or one of another captcha.
    """
    folder = ModelFolder(path)
    if folder.full.resolve() == cnn.folder.full.resolve():
        raise ConfigError(
            f"{folder} is the teacher and the model_save_dir: a model cannot be its own teacher. "
            "Name another model_save_dir in conf/, or another teacher"
        )
    if folder.read() is None:
        raise ModelError(
            f"no model in {folder}, the teacher: train it first, or correct 'teacher' in conf/ or "
            "--teacher"
        )
    info, values = read_best(folder)
    folder.check_fits(
        info,
        cnn.spec,
        info.network,
        "A teacher must be trained for the same captcha: train one with this configuration and "
        "another model_save_dir, or leave it out",
        with_case=True,
    )
    accuracy = info.scores["image_accuracy"]
    return Teacher(
        f"{folder}: {info.network}, {accuracy:.2%} of its test images right",
        info.network,
        values,
    )


def taught_losses(
    cnn: CNN, images: Tensor, label_losses: Tensor, teacher: Teacher, settings: Distillation
) -> Tensor:
    """Return the losses of labels and teacher together, float32 [B]; `cnn` is built on `images`.

    That of the teacher is the cross-entropy of both networks' probabilities at the temperature T.
    It is multiplied by T^2, as its gradient is by 1 / T^2 (Hinton et al. 2015, "Distilling the
    knowledge in a neural network").
    """
    temperature, weight = settings.temperature, settings.weight
    with tf.name_scope(SCOPE):
        logits = cnn.logits_of(teacher.network, ConstantWeights(teacher.values), images)
        probabilities = tf.nn.softmax(logits / temperature, name="probabilities")  # [B, P, C]
    losses = tf.nn.softmax_cross_entropy_with_logits_v2(
        labels=probabilities, logits=cnn.logits / temperature
    )  # [B, P]
    teacher_losses = temperature**2 * tf.reduce_mean(losses, axis=1)  # [B]
    return (1 - weight) * label_losses + weight * teacher_losses
