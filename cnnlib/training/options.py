"""What a run is asked to do, and how it ended."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from cnnlib.dataset.image_set import ImageSet
from cnnlib.errors import ConfigError, SampleError
from cnnlib.evaluation.metrics import Scores
from cnnlib.network import CNN
from cnnlib.paths import AnyPath, ProjectPath
from cnnlib.training.cluster import Cluster
from cnnlib.training.recipes import RECIPES, Recipe
from cnnlib.version import __version__


@dataclass(frozen=True)
class RunOptions:
    """When a run ends, what it saves and reports, and where; raises ConfigError for its recipe."""

    cycle_stop: int
    acc_stop: float
    cycle_save: int
    train_batch_size: int
    test_batch_size: int
    recipe_name: str
    seed: int
    log_dir: ProjectPath
    enable_gpu: bool
    start: AnyPath  # as in a config
    teacher: AnyPath  # likewise: a model folder, or empty
    export_onnx: bool  # with each new best
    test_time_augmentation: bool  # whether it helps is to be found out
    cluster: Cluster | None  # the machines that train together

    def __post_init__(self) -> None:
        if self.recipe_name not in RECIPES:
            raise ConfigError(f"recipe {self.recipe_name!r} is not one of {', '.join(RECIPES)}")
        if self.teacher and not self.recipe.distillation:
            raise ConfigError(
                f"recipe {self.recipe_name!r} learns from labels alone: leave the teacher "
                f"{self.teacher} out, or name another recipe in conf/"
            )

    @property
    def recipe(self) -> Recipe:
        return RECIPES[self.recipe_name]

    def fingerprint(self, cnn: CNN, images: ImageSet) -> int:
        """Return a number that is the same on all machines that train the same in the same way."""
        trained = (cnn.spec, cnn.network, images.names, bool(self.teacher))
        way = (self.recipe_name, self.cycle_stop, self.train_batch_size, self.seed)
        addresses = self.cluster.addresses if self.cluster else None
        return zlib.crc32(f"{__version__} {trained} {way} {addresses}".encode())

    @property
    def replicas(self) -> int:
        """How many processes compute gradients."""
        return self.cluster.replicas if self.cluster else 1

    @property
    def own_batch_size(self) -> int:
        """How many images of each step this process takes."""
        return -(-self.train_batch_size // self.replicas)

    def own_share(self, images: ImageSet) -> ImageSet:
        """Return which of the images this process learns from.

        Raises SampleError where there are not enough for all.
        """
        cluster = self.cluster
        if cluster is None:
            return images
        if len(images) < cluster.replicas:
            raise SampleError(
                f"{len(images)} images for training are fewer than the {cluster.replicas} tasks "
                "that compute: collect more, or train in one process"
            )
        return images.share(cluster.position, cluster.replicas)


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended; `scores` are those of the best weights on the whole test set.

    Each image is read once for them, also where test-time augmentation helps.
    """

    scores: Scores
    steps: int  # in this call
    seconds: float
    interrupted: bool
