"""Decoded images on the disk: nothing is decoded twice, nothing outdated is used."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from cnnlib.dataset import image_cache
from cnnlib.dataset.image_cache import cache_dir
from cnnlib.dataset.image_set import load_images
from cnnlib.errors import SampleError
from cnnlib.paths import PROJECT_ROOT, ProjectPath
from tests.dataset.helpers import rules


@pytest.fixture
def decodings(monkeypatch):
    """Names of the files that were decoded."""
    names = []
    check_image = image_cache.check_image

    def noted(folder, name, rules, labels):
        names.append(name)
        return check_image(folder, name, rules, labels)

    monkeypatch.setattr(image_cache, "check_image", noted)
    return names


def load(folder, char_set="0123"):
    return load_images(folder, rules(char_set=tuple(char_set), suffixes=("png",)), cached=True)


def test_second_loading_decodes_nothing_and_gives_the_same(
    tmp_path, draw_images, decodings, capsys
):
    draw_images(tmp_path, 150)
    (tmp_path / "02_broken.png").write_text("no image")
    first, warned = load(tmp_path), capsys.readouterr().err
    assert len(decodings) == 151
    second = load(tmp_path)
    assert decodings[151:] == ["02_broken.png"]  # it may have been repaired
    assert capsys.readouterr().err == warned != ""
    plain = load_images(tmp_path, rules())
    for images in (first, second):
        assert images.names == plain.names
        np.testing.assert_array_equal(images.pixels, plain.pixels)
        np.testing.assert_array_equal(images.char_ids, plain.char_ids)


@pytest.mark.parametrize("change", ["added", "removed", "rewritten", "char_set"])
def test_cache_is_rebuilt_when_the_folder_changes(tmp_path, draw_images, decodings, change):
    folder = tmp_path / "images"
    images = sorted(draw_images(folder, 5))
    load(folder)
    for file in cache_dir(ProjectPath(folder)).iterdir():
        os.utime(file, (0, 0))  # not one that another training is writing
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


def test_file_that_could_not_be_read_for_a_while_is_not_forgotten(
    tmp_path, draw_images, monkeypatch
):
    draw_images(tmp_path, 5)
    check_image = image_cache.check_image
    failed: list[str] = []

    def fails_once(folder, name, rules, labels):
        if not failed:
            failed.append(name)
            raise SampleError("too many open files")
        return check_image(folder, name, rules, labels)

    monkeypatch.setattr(image_cache, "check_image", fails_once)
    assert len(load(tmp_path)) == 4
    assert len(load(tmp_path)) == 5


def test_pixels_and_names_of_two_writers_are_not_used(tmp_path, draw_images):
    draw_images(tmp_path, 5)
    expected = load(tmp_path)
    [index] = cache_dir(ProjectPath(tmp_path)).glob("*.json")
    names = json.loads(index.read_text())["names"]
    index.write_text(json.dumps({"names": names[1:], "skipped": []}))
    images = load(tmp_path)
    assert images.names == expected.names
    np.testing.assert_array_equal(images.pixels, expected.pixels)


def test_damaged_cache_is_rebuilt(tmp_path, draw_images, decodings):
    draw_images(tmp_path, 5)
    expected = load(tmp_path).pixels.copy()
    for damage in (lambda file: file.unlink(), lambda file: os.truncate(file, 10)):
        for suffix in ("", ".json"):
            [file] = [f for f in cache_dir(ProjectPath(tmp_path)).iterdir() if f.suffix == suffix]
            damage(file)
            np.testing.assert_array_equal(load(tmp_path).pixels, expected)
    assert len(decodings) == 25


def test_folder_that_cannot_have_a_cache_is_loaded_all_the_same(tmp_path, draw_images, capsys):
    images = tmp_path / "images"
    draw_images(images, 5)
    (tmp_path / ".decoded").touch()  # a file where the folder should be
    assert len(load(images)) == 5
    assert "decoded images are not kept for the next time" in capsys.readouterr().err


RESIDENT = """
import json, sys
from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.dataset.image_set import load_images
from cnnlib.dataset.verification import Rules
rules = Rules(CaptchaSpec(60, 100, 1, tuple("01")))
images = load_images(sys.argv[1], rules, cached=True)
anonymous = lambda: int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0]) / 1024
before = anonymous()
images = load_images(sys.argv[1], rules, cached=True)
total = int(images.pixels.sum(dtype="int64"))  # every page is read
print(json.dumps([len(images), anonymous() - before, images.pixels.nbytes / 2**20]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pixels_are_mapped_and_not_held_in_memory(tmp_path, draw_images):
    [image] = draw_images(tmp_path, texts=["0"], width=100, height=60, char_count=1)
    for i in range(5000):
        os.link(image, tmp_path / f"1_{i}.png")
    out = subprocess.run(
        [sys.executable, "-c", RESIDENT, str(tmp_path)],
        cwd=PROJECT_ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    count, grown, size = json.loads(out)
    assert count == 5001 and grown < 10 < 28 < size  # MB
