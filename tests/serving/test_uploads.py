"""What the API received is saved whole, up to a limit, and never at the cost of a request."""

from __future__ import annotations

import errno
import os
import threading

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


def test_several_stores_of_a_folder_have_one_limit(tmp_path, dropped):
    stores = [UploadStore(tmp_path, "png", 5, on_drop=dropped.append) for _ in range(3)]
    for number in range(4):
        for name, store in zip("abc", stores, strict=True):
            store.save(b"", name, str(number))
    for store in stores:
        store.close()
    assert len(list(tmp_path.iterdir())) == 5 and dropped == [FOLDER_FULL] * 7


def test_limit_of_nothing_saves_nothing(tmp_path, dropped):
    assert save(tmp_path, dropped, ["a"], max_files=0) == {}


# --- what the log says of images that are dropped ---


class Disk:
    """Writes an image for each `allow`; before that it hangs."""

    def __init__(self):
        self._allowed, self.begun = threading.Semaphore(0), 0
        self._write = uploads.store_image

    def allow(self, count=1):
        self._allowed.release(count)

    def store_image(self, *arguments):
        self.begun += 1
        assert self._allowed.acquire(timeout=20)
        return self._write(*arguments)


@pytest.fixture
def disk(monkeypatch):
    slow = Disk()
    monkeypatch.setattr(uploads, "store_image", slow.store_image)
    yield slow
    slow.allow(10_000)


def logged(caplog, part):
    return [r.levelname for r in caplog.records if part in r.getMessage()]


def test_slow_disk_costs_images_and_not_time(tmp_path, dropped, monkeypatch, caplog):
    monkeypatch.setattr(uploads, "MAX_QUEUED_UPLOADS", 2)
    monkeypatch.setattr(UploadStore, "_run", lambda self: None)  # a disk that never answers
    store = UploadStore(tmp_path, "png", 10, on_drop=dropped.append)
    for _ in range(5):
        store.save(b"", "a", "0")
    assert dropped == [QUEUE_FULL] * 3 == ["busy"] * 3
    assert caplog.text.count("too slow") == 1


def test_full_queue_is_one_line_when_it_begins_and_one_with_the_number_when_it_ends(
    tmp_path, dropped, monkeypatch, caplog, disk
):
    monkeypatch.setattr(uploads, "MAX_QUEUED_UPLOADS", 4)
    store = UploadStore(tmp_path, "png", 1000, on_drop=dropped.append)
    store.save(b"", "a", "first")
    wait_for(lambda: disk.begun == 1)
    for number in range(40):  # each image that is written makes room for one of two
        for half in range(2):
            store.save(b"", "a", f"{number}-{half}")
        disk.allow()
        wait_for(lambda expected=number + 2: disk.begun >= expected)
    assert dropped.count(QUEUE_FULL) == len(dropped) > 30
    assert logged(caplog, "") == ["ERROR"] and logged(caplog, "too slow") == ["ERROR"]
    disk.allow(100)
    wait_for(lambda: len(caplog.records) == 2)
    assert logged(caplog, f"kept again; not kept in {tmp_path}: {len(dropped)},") == ["WARNING"]
    store.close()
    assert len(caplog.records) == 2


def test_what_goes_on_is_reported_at_intervals(tmp_path, dropped, monkeypatch, caplog):
    now_s = [1000.0]
    monkeypatch.setattr(uploads.time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr(uploads, "MAX_QUEUED_UPLOADS", 1)
    monkeypatch.setattr(UploadStore, "_run", lambda self: None)
    store = UploadStore(tmp_path, "png", 10, on_drop=dropped.append)
    for _ in range(1 + 125):  # the first one is queued
        store.save(b"", "a", "0")
        now_s[0] += 1
    assert [r.getMessage().rpartition("kept")[2] for r in caplog.records] == [
        "",
        " (61 so far)",
        " (121 so far)",
    ]


def test_full_folder_from_which_files_are_taken_one_by_one_is_not_logged_each_time(
    tmp_path, dropped, caplog
):
    store = UploadStore(tmp_path / "api", "png", 1, on_drop=dropped.append)
    for number in range(20):
        expected = len(dropped) + 1
        for half in range(2):
            store.save(b"", "a", f"{number}-{half}")
        wait_for(lambda expected=expected: len(dropped) == expected)
        for path in (tmp_path / "api").iterdir():
            path.unlink()
    store.close()
    assert dropped == [FOLDER_FULL] * 20
    lines = [r.getMessage() for r in caplog.records]
    assert len(lines) == 3  # it is full, images are kept again, the server stops
    told = [int(line.rpartition(": ")[2].split(",")[0]) for line in lines[1:]]
    assert sum(told) == 20


def test_disk_that_fails_is_logged_once_until_it_works(tmp_path, dropped, monkeypatch, caplog):
    failing = [OSError(errno.ENOSPC, "No space left on device")]

    def link(source, target, link=os.link):
        if failing:
            raise failing[0]
        link(source, target)

    monkeypatch.setattr(os, "link", link)
    store = UploadStore(tmp_path / "api", "png", 10, on_drop=dropped.append)
    for number in range(5):
        store.save(b"", "a", str(number))
    wait_for(lambda: len(dropped) == 5)
    failing[0] = RuntimeError("unforeseen")
    store.save(b"", "a", "5")
    wait_for(lambda: len(dropped) == 6)
    failing.clear()
    store.save(b"", "a", "6")
    store.close()
    assert dropped == [FAILED] * 6
    assert logged(caplog, "No space left on device; free some space") == ["ERROR"]
    assert logged(caplog, "kept again; not kept in") == ["WARNING"] and len(caplog.records) == 2
    assert [path.name for path in (tmp_path / "api").iterdir()] == ["a_6.png"]


# --- the end ---


def test_close_does_not_wait_for_a_disk_that_never_answers(
    tmp_path, dropped, monkeypatch, caplog, disk
):
    monkeypatch.setattr(uploads, "CLOSE_S", 0.2)
    monkeypatch.setattr(uploads, "MAX_QUEUED_UPLOADS", 3)
    store = UploadStore(tmp_path, "png", 10, on_drop=dropped.append)
    store.save(b"", "a", "0")
    wait_for(lambda: disk.begun == 1)
    for number in range(3):
        store.save(b"", "a", str(number))
    closing = threading.Thread(target=store.close, daemon=True)
    closing.start()
    closing.join(20)
    assert not closing.is_alive()
    assert dropped == [FAILED] * 3 and "does not answer" in caplog.text
    assert "the server stops; not kept" in caplog.text
    disk.allow(10)  # after all: what was dropped is not written
    wait_for(lambda: not store._thread.is_alive())
    assert len(list(tmp_path.iterdir())) == 1


def test_close_says_so_where_the_very_image_that_is_written_hangs(
    tmp_path, monkeypatch, caplog, disk
):
    monkeypatch.setattr(uploads, "CLOSE_S", 0.1)
    store = UploadStore(tmp_path, "png", 10)
    store.save(b"", "a", "0")
    wait_for(lambda: disk.begun == 1)
    store.close()
    assert "does not answer" in caplog.text


def test_close_writes_what_is_queued(tmp_path, dropped):
    store = UploadStore(tmp_path, "png", 1000, on_drop=dropped.append)
    for number in range(500):
        store.save(b"", "a", str(number))
    store.close()
    assert len(list(tmp_path.iterdir())) == 500 and dropped == []


def test_closed_store_drops_what_comes(tmp_path, dropped):
    store = UploadStore(tmp_path, "png", 10, on_drop=dropped.append)
    store.save(b"", "a", "0")
    store.close()
    store.close()  # harmless
    store.save(b"", "b", "0")
    assert [path.name for path in tmp_path.iterdir()] == ["a_0.png"] and dropped == [FAILED]
