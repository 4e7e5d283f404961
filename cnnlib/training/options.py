"""What a run is asked to do, and how it ended."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from cnnlib.dataset.image_set import ImageSet
from cnnlib.errors import ConfigError
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

    def number_of(self, cnn: CNN) -> int:
        """Return a number that stands for what is trained, and how, on all machines alike."""
        what = (cnn.spec, cnn.network, self.recipe_name, self.cycle_stop, self.train_batch_size)
        return zlib.crc32(f"{__version__} {what}".encode())

    @property
    def replicas(self) -> int:
        """How many processes compute gradients."""
        return self.cluster.replicas if self.cluster else 1

    @property
    def own_batch_size(self) -> int:
        """How many images of each step this process takes."""
        return -(-self.train_batch_size // self.replicas)

    def own_share(self, images: ImageSet) -> ImageSet:
        """Return which of the images this process learns from."""
        cluster = self.cluster
        return images.share(cluster.position, cluster.replicas) if cluster else images


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended; `scores` are those of the best weights on the whole test set."""

    scores: Scores
    steps: int  # in this call
    seconds: float
    interrupted: bool
