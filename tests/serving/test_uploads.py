"""What the API received is saved whole, up to a limit, and never at the cost of a request."""

from __future__ import annotations

import pytest

from cnnlib.serving import uploads
from cnnlib.serving.uploads import FAILED, FOLDER_FULL, QUEUE_FULL, UploadStore
from tests.serving.helpers import wait_for


@pytest.fixture
def dropped():
    return []


def save(folder, dropped, labels, max_files=10):
    store = UploadStore(folder, "png", max_files, on_drop=dropped.append)
    for serial, label in enumerate(labels):
        store.save(label.encode(), label, str(serial))
    store.close()
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_images_are_whole_under_their_labels(tmp_path, dropped):
    saved = save(tmp_path / "new" / "folder", dropped, ["ab12", "../x", "验?"])
    assert saved == {
        "ab12_0.png": b"ab12",
        "%2E%2E%2Fx_1.png": b"../x",
        "验%3F_2.png": "验?".encode(),
    }
    assert dropped == []


def test_name_that_is_taken_gives_way_to_another(tmp_path, dropped):
    store = UploadStore(tmp_path, "png", 10, separator="-", on_drop=dropped.append)
    for data in (b"first", b"second"):
        store.save(data, "ab", "7")
    store.close()
    saved = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert saved.pop("ab-7.png") == b"first"
    [(name, data)] = saved.items()
    assert name.startswith("ab-") and data == b"second" and dropped == []


def test_full_folder_takes_no_more_and_logs_it_once(tmp_path, dropped, caplog):
    (tmp_path / "here already").touch()
    assert len(save(tmp_path, dropped, ["a", "b", "c", "d"], max_files=3)) == 3
    assert dropped == [FOLDER_FULL] * 2
    assert caplog.text.count("api_image_limit is 3") == 1


def test_files_that_are_moved_away_make_room(tmp_path, dropped, monkeypatch):
    monkeypatch.setattr(uploads, "RECOUNT_S", 0.0)
    store = UploadStore(tmp_path, "png", 1, on_drop=dropped.append)
    for label in ("a", "b"):
        store.save(b"", label, "0")
    wait_for(lambda: dropped)
    (tmp_path / "a_0.png").unlink()
    store.save(b"", "c", "0")
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["c_0.png"]


def test_limit_of_nothing_saves_nothing(tmp_path, dropped):
    assert save(tmp_path, dropped, ["a"], max_files=0) == {}


def test_slow_disk_costs_images_and_not_time(tmp_path, dropped, monkeypatch, caplog):
    monkeypatch.setattr(uploads, "MAX_QUEUED_UPLOADS", 2)
    monkeypatch.setattr(UploadStore, "_run", lambda self: None)  # a disk that never answers
    store = UploadStore(tmp_path, "png", 10, on_drop=dropped.append)
    for _ in range(5):
        store.save(b"", "a", "0")
    assert dropped == [QUEUE_FULL] * 3 == ["busy"] * 3
    assert caplog.text.count("too slow") == 1


def test_closed_store_drops_what_comes(tmp_path, dropped):
    store = UploadStore(tmp_path, "png", 10, on_drop=dropped.append)
    store.save(b"", "a", "0")
    store.close()
    store.close()  # harmless
    store.save(b"", "b", "0")
    assert [path.name for path in tmp_path.iterdir()] == ["a_0.png"] and dropped == [FAILED]
