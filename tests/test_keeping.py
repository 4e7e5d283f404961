"""What the API received is kept whole, not without end, and never at the cost of a request."""

from __future__ import annotations

import pytest

from cnnlib import keeping
from cnnlib.keeping import Keeper


@pytest.fixture
def lost():
    return []


def keep(folder, lost, labels, most=10):
    keeper = Keeper(folder, "png", most, lost.append)
    for serial, label in enumerate(labels):
        keeper.keep(label.encode(), label, str(serial))
    keeper.close()
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_images_are_whole_under_their_labels(tmp_path, lost):
    kept = keep(tmp_path / "new" / "folder", lost, ["ab12", "../x", "验?"])
    assert kept == {"ab12_0.png": b"ab12", "%2E%2E%2Fx_1.png": b"../x",
                    "验%3F_2.png": "验?".encode()}
    assert lost == []


def test_full_folder_takes_no_more_and_says_so_once(tmp_path, lost, caplog):
    (tmp_path / "there already").touch()
    assert len(keep(tmp_path, lost, ["a", "b", "c", "d"], most=3)) == 3
    assert lost == [keeping.FULL] * 2
    assert caplog.text.count("api_image_limit is 3") == 1


def test_room_that_is_made_is_used(tmp_path, lost, monkeypatch):
    monkeypatch.setattr(keeping, "RECOUNT_S", 0.0)
    keeper = Keeper(tmp_path, "png", 1, lost.append)
    for label in ("a", "b"):
        keeper.keep(b"", label, "0")
    while not lost:
        pass
    (tmp_path / "a_0.png").unlink()
    keeper.keep(b"", "c", "0")
    keeper.close()
    assert [path.name for path in tmp_path.iterdir()] == ["c_0.png"]


def test_limit_of_nothing_keeps_nothing(tmp_path, lost):
    assert keep(tmp_path, lost, ["a"], most=0) == {}


def test_slow_disk_costs_images_and_not_time(tmp_path, lost, monkeypatch):
    monkeypatch.setattr(keeping, "MOST_WAITING", 2)
    monkeypatch.setattr(Keeper, "_run", lambda self: None)  # a disk that never answers
    keeper = Keeper(tmp_path, "png", 10, lost.append)
    for _ in range(5):
        keeper.keep(b"", "a", "0")
    assert lost == [keeping.BUSY] * 3
