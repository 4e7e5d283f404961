"""Evaluation: how right a model is, and what is wrong with images and labels."""

from cnnlib.evaluation.batch_test import TestBatch

__all__ = ["TestBatch"]
