"""The version of this project."""

__version__ = "3.0.0"
