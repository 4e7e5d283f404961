"""Millions of images to a table of answers: what recognize_batch.py runs."""

from cnnlib.bulk.run import BulkResult as BulkResult
from cnnlib.bulk.run import recognize_bulk as recognize_bulk
