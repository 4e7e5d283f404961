"""Labelled images: decode, name, verify, split, load."""

from cnnlib.dataset.splitting import split, verify_and_split
from cnnlib.dataset.verification import verify

__all__ = ["split", "verify", "verify_and_split"]
