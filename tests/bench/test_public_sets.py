"""The held-back tenth: fixed by content, and never seen by the training."""

from __future__ import annotations

from typing import Any

import pytest

from bench.bench_public_sets import hold_back, is_held_back, row_text
from cnnlib.importing.labelled_folder import read_labelled_folder


@pytest.fixture
def found(tmp_path):
    for i in range(400):
        (tmp_path / f"{'abcdefgh'[i % 8]}{'ijklmno'[i % 7]}_{i}.png").write_bytes(str(i).encode())
    return read_labelled_folder(tmp_path)


def test_tenth_is_held_back_whatever_its_names_are(found, tmp_path):
    kept, back = hold_back(found)
    assert 20 <= len(back) <= 60
    assert not set(back) & set(kept.source.images) and not set(back) & set(kept.labels)
    assert kept.labels | back == found.labels
    for name in back:
        copy = (tmp_path / name).rename(tmp_path / f"other name {name}")
        assert is_held_back(copy)


def test_row_says_how_sure_it_is():
    row: dict[str, Any] = {
        "source": "them/theirs 0a1b2c",
        "images": 1040,
        "lengths": [4, 6],
        "characters": 19,
        "size": [200, 50, 3],
        "steps": 3000,
        "training_s": 600,
        "held_back": 104,
        "right": 102,
    }
    assert row_text(row) == (
        "| them/theirs 0a1b2c | 1,040 | 4-6 | 19 | 200x50x3 | 3,000 steps, 10.0 min | "
        "98.1% of 104 (93.3% to 99.5%) |"
    )
