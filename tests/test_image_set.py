"""Labelled images as arrays: nothing wrong is learned from, nothing is decoded twice."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from cnnlib import encoding, image_set
from cnnlib.config import PROJECT_ROOT, ProjectPath
from cnnlib.dataset import Rules
from cnnlib.encoding import InputFormat
from cnnlib.errors import SampleError
from cnnlib.image_set import ImageSet, ahead, cache_dir


def rules(**changed):
    """For images of 40x24 with two of the digits 0-3, unless something is changed."""
    return Rules(**{"format": InputFormat(40, 24), "char_set": "0123", "min_length": 2,
                    "max_length": max(2, changed.get("min_length", 2))} | changed)


def test_loaded_images_are_those_of_the_files(tmp_path, draw_images):
    folder = tmp_path / "with space 验证"
    paths = sorted(draw_images(folder, 10) + draw_images(folder, 5, image_suffix="jpg"))
    (folder / ".DS_Store").touch()
    (folder / "notes.txt").touch()
    images = image_set.load_images(folder, rules())
    assert images.names == [path.name for path in paths]
    assert (images.pixels.dtype, images.pixels.shape) == (np.uint8, (15, 24, 40))
    assert (images.char_ids.dtype, images.char_ids.shape) == (np.int32, (15, 2))
    for name, pixels, ids in zip(images.names, images.pixels, images.char_ids, strict=True):
        np.testing.assert_array_equal(pixels, InputFormat(40, 24).read(folder / name))
        assert encoding.ids_to_label(ids, "0123") == encoding.label_of(name)
    assert len(image_set.load_images(folder, rules(suffixes=("JPG",)))) == 5


def test_unusable_files_are_reported_and_skipped(tmp_path, draw_images, capsys):
    [good] = draw_images(tmp_path, texts=["01"])
    for i in range(8):
        (tmp_path / f"02_{i}.png").write_text("no image")
    images = image_set.load_images(tmp_path, rules())
    assert images.names == [good.name] and len(images.pixels) == len(images.char_ids) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith(f"skipped {tmp_path / '02_0.png'}: ")
    assert lines[5] == f"skipped 3 more in {tmp_path}"


def test_folder_without_usable_images_names_the_remedy(tmp_path, draw_images):
    with pytest.raises(SampleError, match="does not exist: run verify_and_split_data.py"):
        image_set.load_images(tmp_path / "none", rules())
    draw_images(tmp_path, texts=["01"])
    for changed in ({"format": InputFormat(41, 24)}, {"char_set": "0"}, {"min_length": 3},
                    {"suffixes": ("jpg",)}):
        with pytest.raises(SampleError, match="no usable image .*verify_and_split_data.py"):
            image_set.load_images(tmp_path, rules(**changed))


def test_limit_takes_so_many_different_images_by_the_generator(tmp_path, draw_images):
    draw_images(tmp_path, 30)

    def names(seed, limit=10):
        rng = np.random.default_rng(seed)
        return image_set.load_images(tmp_path, rules(), limit=limit, rng=rng).names

    assert len(set(names(0))) == 10
    assert names(0) == names(0) != names(1)
    assert len(names(0, limit=99)) == 30


def numbered(count):
    """Images whose pixels and class are their number."""
    numbers = np.arange(count)
    return ImageSet([f"{i}_x.png" for i in numbers],
                            np.repeat(numbers.astype(np.uint8), 6).reshape(count, 2, 3),
                            numbers.astype(np.int32)[:, None])


def test_batches_show_every_image_once_an_epoch_in_new_order():
    batches = numbered(10).batches(4, np.random.default_rng(0))
    seen = []
    for _ in range(15):  # six epochs
        chosen = next(batches)
        assert len(chosen) == 4
        seen += chosen.tolist()
    epochs = [tuple(seen[start:start + 10]) for start in range(0, 60, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len(set(epochs)) == 6


def test_batches_of_a_small_set_hold_each_image_once():
    batches = numbered(3).batches(128, np.random.default_rng(0))
    for _ in range(5):
        assert sorted(next(batches)) == [0, 1, 2]


def test_sample_repeats_nothing():
    images, rng = numbered(10), np.random.default_rng(0)
    pixels, char_ids = images.sample(6, rng)
    assert len(set(char_ids[:, 0])) == 6
    np.testing.assert_array_equal(pixels[:, 1, 2], char_ids[:, 0])
    assert sorted(images.sample(99, rng)[1][:, 0]) == list(range(10))


# --- cache ---


@pytest.fixture
def decodings(monkeypatch):
    """Names of the files that were decoded."""
    names = []
    check = image_set.check

    def noted(folder, name, rules):
        names.append(name)
        return check(folder, name, rules)

    monkeypatch.setattr(image_set, "check", noted)
    return names


def load(folder, char_set="0123"):
    return image_set.load_images(folder, rules(char_set=char_set, suffixes=("png",)), cached=True)


def test_second_loading_decodes_nothing_and_gives_the_same(tmp_path, draw_images, decodings,
                                                           capsys):
    draw_images(tmp_path, 150)
    (tmp_path / "02_broken.png").write_text("no image")
    first, warned = load(tmp_path), capsys.readouterr().err
    assert len(decodings) == 151
    second = load(tmp_path)
    assert decodings[151:] == ["02_broken.png"]  # it might have been mended
    assert capsys.readouterr().err == warned != ""
    plain = image_set.load_images(tmp_path, rules())
    for images in (first, second):
        assert images.names == plain.names
        np.testing.assert_array_equal(images.pixels, plain.pixels)
        np.testing.assert_array_equal(images.char_ids, plain.char_ids)


@pytest.mark.parametrize("change", ["added", "removed", "rewritten", "char_set"])
def test_cache_is_made_anew_when_the_folder_changes(tmp_path, draw_images, decodings, change):
    folder = tmp_path / "images"
    images = sorted(draw_images(folder, 5))
    load(folder)
    for file in cache_dir(ProjectPath(folder)).iterdir():
        os.utime(file, (0, 0))  # not one that another training is just making
    decodings.clear()
    if change == "added":
        draw_images(folder, texts=["01"])
    elif change == "removed":
        images[0].unlink()
    elif change == "rewritten":  # with the picture of another, of the same size or not
        shutil.copyfile(images[1], images[0])
    now = load(folder, "01234" if change == "char_set" else "0123")
    assert len(decodings) == len(now) == {"added": 6, "removed": 4}.get(change, 5)
    assert len(list(cache_dir(ProjectPath(folder)).iterdir())) == 2
    if change == "rewritten":
        np.testing.assert_array_equal(now.pixels[0], now.pixels[1])


def test_file_that_could_not_be_read_for_a_while_is_not_forgotten(tmp_path, draw_images,
                                                                  monkeypatch):
    draw_images(tmp_path, 5)
    check = image_set.check
    failed: list[str] = []

    def fails_once(folder, name, rules):
        if not failed:
            failed.append(name)
            raise SampleError("too many open files")
        return check(folder, name, rules)

    monkeypatch.setattr(image_set, "check", fails_once)
    assert len(load(tmp_path)) == 4
    assert len(load(tmp_path)) == 5


def test_pixels_and_names_of_two_writers_are_no_cache(tmp_path, draw_images):
    draw_images(tmp_path, 5)
    expected = load(tmp_path)
    [index] = cache_dir(ProjectPath(tmp_path)).glob("*.json")
    names = json.loads(index.read_text())["names"]
    index.write_text(json.dumps({"names": names[1:], "skipped": []}))
    images = load(tmp_path)
    assert images.names == expected.names
    np.testing.assert_array_equal(images.pixels, expected.pixels)


def test_damaged_cache_is_made_anew(tmp_path, draw_images, decodings):
    draw_images(tmp_path, 5)
    expected = load(tmp_path).pixels.copy()
    for damage in (lambda file: file.unlink(), lambda file: os.truncate(file, 10)):
        for suffix in ("", ".json"):
            [file] = [f for f in cache_dir(ProjectPath(tmp_path)).iterdir() if f.suffix == suffix]
            damage(file)
            np.testing.assert_array_equal(load(tmp_path).pixels, expected)
    assert len(decodings) == 25


def test_folder_that_cannot_keep_a_cache_is_trained_on_all_the_same(tmp_path, draw_images, capsys):
    images = tmp_path / "images"
    draw_images(images, 5)
    (tmp_path / ".decoded").touch()  # a file where the folder should be
    assert len(load(images)) == 5
    assert "decoded images are not kept for the next time" in capsys.readouterr().err


RESIDENT = """
import json, sys
from cnnlib import dataset, encoding, image_set
rules = dataset.Rules(encoding.InputFormat(100, 60), char_set="01", min_length=1, max_length=1)
images = image_set.load_images(sys.argv[1], rules, cached=True)
anonymous = lambda: int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0]) / 1024
before = anonymous()
images = image_set.load_images(sys.argv[1], rules, cached=True)
total = int(images.pixels.sum(dtype="int64"))  # every page is read
print(json.dumps([len(images), anonymous() - before, images.pixels.nbytes / 2**20]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pixels_are_mapped_and_not_held_in_memory(tmp_path, draw_images):
    [image] = draw_images(tmp_path, texts=["0"], width=100, height=60, char_count=1)
    for i in range(5000):
        os.link(image, tmp_path / f"1_{i}.png")
    out = subprocess.run([sys.executable, "-c", RESIDENT, str(tmp_path)], cwd=PROJECT_ROOT,
                         check=True, capture_output=True, text=True).stdout
    count, grown, size = json.loads(out)
    assert count == 5001 and grown < 10 < 28 < size  # MB


# --- batches ahead ---


def test_items_come_in_order_and_an_error_at_its_place():
    def items():
        yield from range(5)
        raise SampleError("gone")

    with ahead(items()) as taken:
        assert [next(taken) for _ in range(5)] == [0, 1, 2, 3, 4]
        with pytest.raises(SampleError, match="gone"):
            next(taken)
