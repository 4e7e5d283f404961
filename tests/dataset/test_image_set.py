"""Labelled images as arrays: nothing wrong is learned from."""

import numpy as np
import pytest

from cnnlib.console import SilentReporter
from cnnlib.dataset.image_set import ImageSet, load_images
from cnnlib.dataset.images import read_pixels
from cnnlib.dataset.labels import PAD_ID, ids_to_label, label_of
from cnnlib.errors import SampleError
from tests.dataset.helpers import rules
from tests.helpers import SPEC


def test_loaded_images_are_those_of_the_files(tmp_path, draw_images):
    folder = tmp_path / "with space 验证"
    paths = sorted(draw_images(folder, 10) + draw_images(folder, 5, image_suffix="jpg"))
    (folder / ".DS_Store").touch()
    (folder / "notes.txt").touch()
    images = load_images(folder, rules())
    assert images.names == [path.name for path in paths]
    assert (images.pixels.dtype, images.pixels.shape) == (np.uint8, (15, 24, 40))
    assert (images.char_ids.dtype, images.char_ids.shape) == (np.int32, (15, 2))
    for name, pixels, ids in zip(images.names, images.pixels, images.char_ids, strict=True):
        np.testing.assert_array_equal(pixels, read_pixels(folder / name, SPEC))
        assert ids_to_label(ids, "0123") == label_of(name)
    assert len(load_images(folder, rules(suffixes=("JPG",)))) == 5


def test_unusable_files_are_reported_and_skipped(tmp_path, draw_images, capsys):
    [good] = draw_images(tmp_path, texts=["01"])
    for i in range(8):
        (tmp_path / f"02_{i}.png").write_text("no image")
    images = load_images(tmp_path, rules())
    assert images.names == [good.name] and len(images.pixels) == len(images.char_ids) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith(f"skipped {tmp_path / '02_0.png'}: ")
    assert lines[5] == f"skipped 3 more in {tmp_path}"


def test_folder_without_usable_images_names_the_remedy(tmp_path, draw_images):
    with pytest.raises(
        SampleError, match="does not exist: correct its name, or run verify_and_split_data.py"
    ):
        load_images(tmp_path / "none", rules())
    draw_images(tmp_path, texts=["01"])
    for changed in (
        {"image_width": 41},
        {"char_set": ("0",)},
        {"min_captcha": 3, "max_captcha": 3},
        {"suffixes": ("jpg",)},
    ):
        with pytest.raises(SampleError, match="no usable image .*verify_and_split_data.py"):
            load_images(tmp_path, rules(**changed))


def test_limit_takes_that_many_different_images_by_the_generator(tmp_path, draw_images):
    draw_images(tmp_path, 30)

    def names(seed, limit=10):
        rng = np.random.default_rng(seed)
        return load_images(tmp_path, rules(), limit=limit, rng=rng).names

    assert len(set(names(0))) == 10
    assert names(0) == names(0) != names(1)
    assert len(names(0, limit=99)) == 30


def numbered(count):
    """Images whose pixels and class are their number."""
    numbers = np.arange(count)
    return ImageSet(
        [f"{i}_x.png" for i in numbers],
        np.repeat(numbers.astype(np.uint8), 6).reshape(count, 2, 3),
        numbers.astype(np.int32)[:, None],
    )


def test_batches_show_every_image_once_an_epoch_in_new_order():
    batches = numbered(10).batches(4, np.random.default_rng(0))
    seen = []
    for _ in range(15):  # six epochs
        chosen = next(batches)
        assert len(chosen) == 4
        seen += chosen.tolist()
    epochs = [tuple(seen[start : start + 10]) for start in range(0, 60, 10)]
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


def test_some_images_are_taken_as_a_set_of_their_own():
    images = numbered(10)
    some = images.take(np.array([7, 2]))
    assert some.names == ["7_x.png", "2_x.png"] and len(some) == 2
    some.pixels[:] = 99
    assert images.pixels.max() == 9
    assert some.char_ids[:, 0].tolist() == [7, 2]


def test_shorter_labels_are_padded_and_come_back(tmp_path, draw_images):
    draw_images(tmp_path, texts=["0", "13"])
    images = load_images(tmp_path, rules(min_captcha=1, max_captcha=3))
    assert sorted(images.char_ids.tolist()) == [[0, PAD_ID, PAD_ID], [1, 3, PAD_ID]]
    assert sorted(images.labels(SPEC.char_set)) == ["0", "13"]


def test_list_of_labels_is_not_read_and_that_is_reported(tmp_path, draw_images, capsys):
    draw_images(tmp_path, texts=["01"])
    (tmp_path / "labels.csv").write_text("a.png,02\n")
    assert load_images(tmp_path, rules()).labels(SPEC.char_set) == ["01"]
    expected = f"{tmp_path / 'labels.csv'} is not read: verify_and_split_data.py reads it"
    assert capsys.readouterr().err.startswith(expected)


def test_silent_reporter_hears_of_what_is_skipped(tmp_path, draw_images, capfd):
    draw_images(tmp_path, texts=["01"])
    (tmp_path / "02_broken.png").touch()
    assert len(load_images(tmp_path, rules(), reporter=SilentReporter())) == 1
    assert capfd.readouterr() == ("", "")
