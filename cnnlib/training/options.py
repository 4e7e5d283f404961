"""What a run is asked to do, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass

from cnnlib.errors import ConfigError
from cnnlib.evaluation.metrics import Scores
from cnnlib.paths import AnyPath, ProjectPath
from cnnlib.training.recipes import RECIPES, Recipe


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


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended; `scores` are those of the best weights on the whole test set."""

    scores: Scores
    steps: int  # in this call
    seconds: float
    interrupted: bool
