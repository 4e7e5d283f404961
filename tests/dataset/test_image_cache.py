"""Decoded images on the disk: nothing is decoded twice, nothing outdated is used."""

import errno
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from cnnlib.dataset import image_cache
from cnnlib.dataset.image_cache import cache_dir
from cnnlib.dataset.image_set import ImageSet, load_images
from cnnlib.errors import SampleError
from cnnlib.paths import PROJECT_ROOT, ProjectPath
from tests.dataset.helpers import rules
from tests.helpers import names_in


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


def index_of(folder):
    [index] = cache_dir(ProjectPath(folder)).glob("*.json")
    return index


def pixels_of(folder):
    return index_of(folder).with_name(json.loads(index_of(folder).read_text())["pixels"])


def test_pixels_of_another_size_than_the_names_are_not_used(tmp_path, draw_images):
    draw_images(tmp_path, 5)
    expected = load(tmp_path)
    known = json.loads(index_of(tmp_path).read_text())
    index_of(tmp_path).write_text(json.dumps(known | {"names": known["names"][1:]}))
    images = load(tmp_path)
    assert images.names == expected.names
    np.testing.assert_array_equal(images.pixels, expected.pixels)


def assert_each_name_has_its_pixels(folder, images):
    plain = load_images(folder, rules())
    by_name = dict(zip(plain.names, plain.pixels, strict=True))
    for name, pixels in zip(images.names, images.pixels, strict=True):
        np.testing.assert_array_equal(pixels, by_name[name])


@pytest.mark.parametrize("at", ["pixels", "index"])
def test_two_that_build_a_cache_at_a_time_give_each_name_its_own_pixels(
    tmp_path, draw_images, monkeypatch, at
):
    """The second builds it where the first has its pixels, or is about to write its index.

    Each cannot read another one of the images, so that sizes are the same and rows are not.
    """
    draw_images(tmp_path, 6)
    names = sorted(os.listdir(tmp_path))
    check_image, write = image_cache.check_image, image_cache.replacing
    unreadable, calls = [names[0]], []

    def fails(folder, name, rules, labels):
        if name == unreadable[-1]:
            raise SampleError("too many open files")
        return check_image(folder, name, rules, labels)

    @contextmanager
    def interleaved(path):
        calls.append(path)
        if len(calls) == {"pixels": 1, "index": 2}[at]:
            unreadable.append(names[3])
            others.append(load(tmp_path))
            unreadable.pop()
        with write(path) as temporary:
            yield temporary

    others: list[ImageSet] = []
    with monkeypatch.context() as patch:
        patch.setattr(image_cache, "check_image", fails)
        patch.setattr(image_cache, "replacing", interleaved)
        first = load(tmp_path)
        again = load(tmp_path)
    [second] = others
    assert len(first) == len(second) == len(again) == 5
    for images in (first, second, again):
        assert_each_name_has_its_pixels(tmp_path, images)


BUILDING = """
import sys, time
from pathlib import Path
from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.dataset import image_cache
from cnnlib.dataset.image_set import load_images
from cnnlib.dataset.verification import Rules
from cnnlib.errors import SampleError
import numpy as np
folder, start, unreadable = sys.argv[1:]
check_image = image_cache.check_image
def fails(folder, name, rules, labels):
    if name == unreadable:
        raise SampleError("too many open files")
    return check_image(folder, name, rules, labels)
rules = Rules(CaptchaSpec(24, 40, 2, tuple("0123")))
plain = load_images(folder, rules)
by_name = dict(zip(plain.names, plain.pixels))
image_cache.check_image = fails
while not Path(start).exists():
    time.sleep(0.001)
for _ in range(20):
    images = load_images(folder, rules, cached=True)
    assert len(images) in (11, 12), len(images)
    for name, pixels in zip(images.names, images.pixels):
        np.testing.assert_array_equal(pixels, by_name[name])
"""


def test_processes_that_build_a_cache_at_a_time(tmp_path, draw_images):
    folder, start = tmp_path / "images", tmp_path / "start"
    names = sorted(path.name for path in draw_images(folder, 12))
    running = [
        subprocess.Popen(
            [sys.executable, "-c", BUILDING, folder, start, name],
            cwd=PROJECT_ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in (names[0], names[5], names[11])
    ]
    start.touch()
    for process in running:
        err = process.communicate()[1]
        assert process.returncode == 0, err
    assert len(load(folder)) == 12


def test_damaged_cache_is_rebuilt_and_its_files_go_later(tmp_path, draw_images, decodings):
    draw_images(tmp_path, 5)
    expected = load(tmp_path).pixels.copy()
    for damage in (lambda file: file.unlink(), lambda file: os.truncate(file, 10)):
        for file in (pixels_of(tmp_path), index_of(tmp_path)):
            damage(file)
            np.testing.assert_array_equal(load(tmp_path).pixels, expected)
    assert len(decodings) == 25
    folder = cache_dir(ProjectPath(tmp_path))
    assert len(names_in(folder)) > 2, "another training may be using them"
    for file in folder.iterdir():
        os.utime(file, (0, 0))
    load(tmp_path)
    assert set(names_in(folder)) == {index_of(tmp_path).name, pixels_of(tmp_path).name}


def test_cache_of_another_configuration_stays_while_the_images_do(tmp_path, draw_images, decodings):
    draw_images(tmp_path, 3)
    load(tmp_path)
    load(tmp_path, "01234")
    for file in cache_dir(ProjectPath(tmp_path)).iterdir():
        os.utime(file, (0, 0))
    decodings.clear()
    load(tmp_path)
    load(tmp_path, "01234")
    assert decodings == []


def test_full_disk_leaves_no_part_of_a_cache(tmp_path, draw_images, monkeypatch, capsys):
    draw_images(tmp_path, 3)
    dumps = json.dumps

    def full(values):
        if "pixels" in values:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return dumps(values)

    monkeypatch.setattr(json, "dumps", full)
    assert len(load(tmp_path)) == 3
    err = capsys.readouterr().err
    assert "decoded images are not kept for the next time" in err and "free some space" in err
    assert str(cache_dir(ProjectPath(tmp_path))) in err
    assert names_in(cache_dir(ProjectPath(tmp_path))) == []


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
