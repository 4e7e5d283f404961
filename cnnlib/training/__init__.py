"""Training: recipes, the graph that learns, the loop, what it saves and what it says."""

from cnnlib.training.trainer import TrainModel

__all__ = ["TrainModel"]
