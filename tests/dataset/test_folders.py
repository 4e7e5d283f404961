"""Folders of images: which files count, and work on many of them in threads."""

import threading

import pytest

from cnnlib.console import CONSOLE
from cnnlib.dataset import folders as folders_module
from cnnlib.dataset.folders import (
    FILES_PER_TASK,
    candidate_names,
    file_names,
    image_files,
    image_names,
    make_folder,
    map_in_threads,
    random_image,
)
from cnnlib.errors import SampleError
from cnnlib.paths import ProjectPath


@pytest.fixture
def folder(tmp_path):
    """A folder of two images, other files and a sub-folder with a name of an image."""
    made = tmp_path / "with space 验证"
    made.mkdir()
    for name in ("b_1.PNG", "a_1.jpg", ".a_2.png", "labels.csv", "notes.txt"):
        (made / name).touch()
    (made / "sub_1.png").mkdir()
    return ProjectPath(made)


def test_sub_folders_are_no_files_and_lists_of_labels_no_candidates(folder):
    assert file_names(folder) == [".a_2.png", "a_1.jpg", "b_1.PNG", "labels.csv", "notes.txt"]
    assert candidate_names(folder) == [".a_2.png", "a_1.jpg", "b_1.PNG", "notes.txt"]
    assert image_names(folder) == ["a_1.jpg", "b_1.PNG"]


def test_missing_folder_names_the_remedy(tmp_path):
    with pytest.raises(SampleError, match=r"none \(.*none\) does not exist: correct its name"):
        file_names(ProjectPath("none", tmp_path))


def test_folder_is_made_with_those_above_it(tmp_path):
    make_folder(ProjectPath("a/b", tmp_path))
    make_folder(ProjectPath("a/b", tmp_path))
    assert (tmp_path / "a" / "b").is_dir()


def test_folders_among_the_paths_give_their_images(folder, tmp_path):
    single = tmp_path / "single.txt"  # what it is, decoding will say
    single.touch()
    assert image_files([single, folder.full]) == [
        single,
        folder.full / "a_1.jpg",
        folder.full / "b_1.PNG",
    ]
    with pytest.raises(SampleError, match="no image in .*empty: name a folder with images"):
        (tmp_path / "empty").mkdir()
        image_files([tmp_path / "empty"])
    with pytest.raises(SampleError, match="nowhere.png does not exist: name an image file or a"):
        image_files([tmp_path / "nowhere.png"])


def test_image_by_chance_is_any_of_them(folder, tmp_path):
    assert {random_image(folder).name for _ in range(50)} == {"a_1.jpg", "b_1.PNG"}
    with pytest.raises(SampleError, match="no image in .*: run verify_and_split_data.py, or name"):
        random_image(tmp_path)


@pytest.mark.parametrize("count", [0, 1, FILES_PER_TASK, 20 * FILES_PER_TASK + 1])
def test_parts_come_in_order_and_hold_every_name_once(count):
    names = [str(i) for i in range(count)]
    parts = list(map_in_threads(list, names, "title", CONSOLE))
    assert [name for part in parts for name in part] == names
    assert all(len(part) == FILES_PER_TASK for part in parts[:-1])


def test_error_of_a_part_is_raised_and_the_rest_is_not_begun():
    begun = []
    failed = threading.Event()

    def fail(part):
        begun.append(part)
        if len(begun) == 1:
            failed.set()
            raise SampleError("too many open files")
        assert failed.wait(20)

    with pytest.raises(SampleError, match="too many open files"):
        list(map_in_threads(fail, ["x"] * 100 * FILES_PER_TASK, "title", CONSOLE))
    assert len(begun) < 100


def test_results_that_nobody_takes_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(folders_module, "usable_cores", lambda: 1)
    done = []
    results = map_in_threads(done.append, ["x"] * 100 * FILES_PER_TASK, "title", CONSOLE)
    next(results)
    results.close()
    assert len(done) <= 2 * folders_module.MAX_THREADS + 1
