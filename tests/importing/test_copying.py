"""Images are copied whole, once each, and the folder that they come from stays as it is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from cnnlib.console import SilentReporter
from cnnlib.errors import SampleError
from cnnlib.importing import copying
from cnnlib.importing.copying import STAGING, ProjectImages
from tests.dataset.helpers import file_bytes
from tests.helpers import names_in

QUIET = SilentReporter()


def image(shade, kind="PNG"):
    return file_bytes(Image.new("L", (20, 10), shade), kind)


@pytest.fixture
def source(tmp_path):
    """Return fill(name=bytes) -> the folder they are written to."""

    def fill(**files):
        for name, data in files.items():
            path = tmp_path / "theirs" / name.replace("__", "/")
            path = path.with_name(path.name.replace("_png", ".png"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return tmp_path / "theirs"

    return fill


@pytest.fixture
def add(tmp_path):
    """Return add(folder, labels, unlabelled) -> result, into the project `shop`."""

    def run(root, labels, unlabelled=()):
        images = ProjectImages(tmp_path / "shop")
        with images.locked():
            images.read()
            return images.add(root, labels, list(unlabelled), QUIET)

    return run


@pytest.fixture
def shop(tmp_path):
    return tmp_path / "shop"


def serial(data):
    return hashlib.sha256(data).hexdigest()[:16]


def test_names_say_label_and_content(source, add, shop):
    root = source(a_png=image(1), sub__b_png=image(2, "JPEG"), c_png=image(3))
    before = {path: path.read_bytes() for path in root.rglob("*.png")}
    result = add(root, {"a.png": "x_/y", "sub/b.png": "zz"}, ["c.png"])
    assert (result.added, result.unlabelled, result.present) == (2, 1, 0)
    assert names_in(shop / "origin") == [
        f"x%5F%2Fy_{serial(image(1))}.png",
        f"zz_{serial(image(2, 'JPEG'))}.jpg",  # what it is, whatever its name says
    ]
    assert names_in(shop / "unlabelled") == [f"{serial(image(3))}.png"]
    assert (shop / "origin" / names_in(shop / "origin")[0]).read_bytes() == image(1)
    assert dict(result.sizes) == {(20, 10): 2} and dict(result.suffixes) == {"png": 2, "jpg": 1}
    assert before == {path: path.read_bytes() for path in root.rglob("*.png")}


def test_second_time_only_what_is_new_is_added(source, add, shop):
    root = source(a_png=image(1), b_png=image(2))
    labels = {"a.png": "aa", "b.png": "bb"}
    add(root, labels)
    for folder in ("train", "test", "new"):  # as a split moves them
        (shop / folder).mkdir()
    for name, folder in zip(names_in(shop / "origin"), ("train", "test"), strict=True):
        os.rename(shop / "origin" / name, shop / folder / name)
    root = source(c_png=image(3), d_png=image(1))
    result = add(root, {**labels, "c.png": "cc", "d.png": "aa"})
    assert (result.added, result.present) == (1, 3)
    assert names_in(shop / "origin") == [f"cc_{serial(image(3))}.png"]


def test_one_content_is_taken_once_under_a_label_and_not_under_two(source, add, shop):
    root = source(a_png=image(1), b_png=image(1), c_png=image(2), d_png=image(2), e_png=image(3))
    result = add(root, {"a.png": "aa", "b.png": "aa", "c.png": "cc", "d.png": "dd", "e.png": "ee"})
    assert result.duplicates == ["b.png"]
    assert result.contradictions == ["d.png is 'dd', c.png 'cc'"]
    assert result.added == 2
    assert [name[:2] for name in names_in(shop / "origin")] == ["aa", "ee"]
    result = add(source(f_png=image(1)), {"f.png": "ff"})
    assert result.contradictions == ["f.png is 'ff', in the project 'aa'"]
    assert [name[:2] for name in names_in(shop / "origin")] == ["aa", "ee"]


def test_label_that_becomes_known_takes_the_image_out_of_the_unlabelled(source, add, shop):
    root = source(a_png=image(1), b_png=image(2))
    assert add(root, {}, ["a.png", "b.png"]).unlabelled == 2
    assert add(root, {}, ["a.png", "b.png"]).unlabelled == 0
    assert add(root, {"a.png": "aa"}, ["b.png"]).added == 1
    assert names_in(shop / "unlabelled") == [f"{serial(image(2))}.png"]


def test_files_that_are_no_images_are_named(source, add, shop):
    root = source(a_png=image(1), b_png=b"text", c_png=b"")
    result = add(root, {"a.png": "a" * 300, "b.png": "bb", "gone.png": "gg"}, ["c.png"])
    assert result.added == 0 and names_in(shop / "origin") == []
    assert [line.partition(":")[0] for line in result.broken] == [
        "a.png",
        "b.png",
        "gone.png",
        "c.png",
    ]
    assert "a label of 300 characters is too long" in result.broken[0]


@pytest.mark.parametrize("stop_at", [0, 1, 37, 64, 100])
def test_stopped_import_goes_on(source, add, shop, monkeypatch, stop_at):
    files = {f"i{n}_png": image(n) for n in range(110)}
    labels = {f"i{n}.png": f"l{n}" for n in range(110)}
    root = source(**files)
    calls = iter(range(1000))

    def stop(self, copy, *rest):
        if next(calls) == stop_at:
            raise KeyboardInterrupt
        return target(self, copy, *rest)

    target = ProjectImages._target
    with monkeypatch.context() as patched:
        patched.setattr(ProjectImages, "_target", stop)
        with pytest.raises(KeyboardInterrupt):
            add(root, labels)
    assert len(names_in(shop / "origin")) == stop_at and not (shop / STAGING).exists()
    result = add(root, labels)
    assert (result.added, result.present) == (110 - stop_at, stop_at)
    contents = {path.read_bytes() for path in (shop / "origin").iterdir()}
    assert contents == set(files.values())


def test_crash_leaves_no_half_file_under_a_name(source, add, shop, monkeypatch):
    root = source(a_png=image(1), b_png=image(2))
    monkeypatch.setattr(copying.os, "replace", crash)
    with pytest.raises(SystemExit):
        add(root, {"a.png": "aa", "b.png": "bb"})
    assert names_in(shop / "origin") == []


def crash(*_):
    raise SystemExit


@pytest.mark.skipif(os.name == "nt", reason="Windows has no locks on folders")
def test_second_import_at_once_is_refused(source, add, shop):
    root = source(a_png=image(1))
    with (
        ProjectImages(shop).locked(),
        pytest.raises(SampleError, match="another program copies images into .*shop: wait"),
    ):
        add(root, {"a.png": "aa"})


def test_disk_without_room_is_said_before_anything_is_copied(tmp_path):
    images = ProjectImages(tmp_path / "new" / "folder")
    images.check_room(10, 1 << 20)
    with pytest.raises(SampleError, match=r"the images need \d+ MB, and .* has \d+ MB free"):
        images.check_room(10, 1 << 60)
    assert not (tmp_path / "new").exists()


def test_images_that_are_there_need_no_room(source, add, shop, monkeypatch):
    add(source(a_png=image(1)), {"a.png": "aa"})
    usage = SimpleNamespace(free=copying.SPARE_BYTES)
    monkeypatch.setattr(copying.shutil, "disk_usage", lambda path: usage)
    ProjectImages(shop).check_room(1, len(image(1)))
    with pytest.raises(SampleError, match="free some space, or use --in-place"):
        ProjectImages(shop).check_room(2, 2 * len(image(1)))


def test_images_of_several_syncs_all_get_their_names(source, add, shop, monkeypatch):
    monkeypatch.setattr(copying, "IMAGES_A_SYNC", 7)
    root = source(**{f"i{n}_png": image(n) for n in range(50)})
    assert add(root, {f"i{n}.png": "aa" for n in range(50)}).added == 50
    assert len(names_in(shop / "origin")) == 50


def test_folder_that_cannot_be_written_is_named(source, add, shop, monkeypatch):
    root = source(a_png=image(1))

    def refuse(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(SampleError, match="cannot write to .*shop: No space left.*; free some"):
        add(root, {"a.png": "aa"})


def test_images_that_others_put_there_count_with_their_labels(source, add, shop):
    (shop / "new").mkdir(parents=True)
    for name in ("QQQQ_1.png", "RRRR_1.png", ".DS_Store", "img_0001.png"):
        (shop / "new" / name).write_bytes(name.encode())
    (shop / "new" / "labels.csv").write_text("img_0001.png,SSSS\n")
    images = ProjectImages(shop)
    images.read()
    assert sorted(images.labels()) == ["QQQQ", "RRRR", "SSSS"]


def test_file_where_a_folder_should_be_is_named(source, add, shop):
    shop.mkdir()
    (shop / "unlabelled").touch()
    with pytest.raises(SampleError, match="cannot write to .*unlabelled|cannot be read"):
        add(source(a_png=image(1)), {}, ["a.png"])
