"""Which model a recogniser loads, what it refuses, and how long it lives."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cnnlib import reloads
from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.dataset.folders import random_image
from cnnlib.errors import ModelError
from cnnlib.networks import checkpoint
from cnnlib.networks.model_folder import ModelFolder
from cnnlib.recognizer import Recognizer
from tests.helpers import Project


@pytest.fixture(scope="module")
def recognizer(trained: Project) -> Recognizer:
    return recognizer_of(trained)


def recognizer_of(project: Project, **changed: object) -> Recognizer:
    c = project.sample
    arguments = {
        "image_height": c.image_height,
        "image_width": c.image_width,
        "max_captcha": c.max_captcha,
        "char_set": c.char_set,
        "model_save_dir": c.model_save_dir,
    } | changed
    return Recognizer(**arguments)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def images(trained: Project) -> list[Path]:
    return sorted((trained.root / "sample" / "test").iterdir())


def copy_best(folder: ModelFolder, step: int) -> None:
    """Make the folder hold a copy of its best weights, as if they were new."""
    info = folder.read_required()
    new = folder.new_checkpoint("best", step)
    for file in list(folder.full.glob(f"{info.best}.*")):
        shutil.copy(file, folder.full / file.name.replace(info.best, new))
    folder.commit(dataclasses.replace(info, best=new, step=step))


def test_other_weights_of_the_folder_are_loaded_once(trained, tmp_path):
    shutil.copytree(trained.sample.model_save_dir.full, tmp_path / "model")
    folder = ModelFolder(tmp_path / "model")
    recognizer = recognizer_of(trained, model_save_dir=tmp_path / "model")
    assert recognizer.load_newer() is None
    info = folder.read_required()
    copy_best(folder, 7)
    newer = recognizer.load_newer()
    assert newer is not None and newer.describe()["step"] == 7
    assert newer.load_newer() is None and recognizer.load_newer() is None
    folder.commit(dataclasses.replace(info, best=folder.new_checkpoint("best", 8)))
    with pytest.raises(ModelError, match="missing or damaged"):
        newer.load_newer()
    assert newer.load_newer() is None  # it is not tried again and again, but after a pause


@pytest.fixture
def clock(monkeypatch):
    """The time of the recogniser, which the test sets."""
    now_s = [1000.0]
    monkeypatch.setattr(reloads, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    return now_s


def test_weights_that_are_half_copied_are_loaded_once_they_are_whole(trained, tmp_path, clock):
    folder = ModelFolder(shutil.copytree(trained.sample.model_save_dir.full, tmp_path / "model"))
    recognizer = recognizer_of(trained, model_save_dir=folder.path)
    copy_best(folder, 7)
    [data] = folder.full.glob(f"{folder.read_required().best}.data*")
    whole = data.read_bytes()
    for copied in (whole[: len(whole) // 2], None):  # half of it, or not begun
        data.unlink()
        if copied is not None:
            data.write_bytes(copied)
        with pytest.raises(ModelError, match="missing or damaged"):
            recognizer.load_newer()
        assert recognizer.load_newer() is None
        clock[0] += 100
    data.write_bytes(whole)
    newer = recognizer.load_newer()
    assert newer is not None and newer.describe()["step"] == 7
    assert newer.load_newer() is None


def test_pauses_between_attempts_grow_to_a_minute_and_begin_anew_with_new_weights(
    trained, tmp_path, clock, monkeypatch
):
    folder = ModelFolder(shutil.copytree(trained.sample.model_save_dir.full, tmp_path / "model"))
    recognizer = recognizer_of(trained, model_save_dir=folder.path)
    attempts = []

    def fail(prefix):
        attempts.append(clock[0])
        raise MemoryError

    monkeypatch.setattr(checkpoint, "read_checkpoint", fail)

    def poll(seconds):
        """Every two seconds, as the server does."""
        del attempts[:]
        for _ in range(seconds // 2):
            with suppress(MemoryError):
                assert recognizer.load_newer() is None
            clock[0] += 2
        return [int(after - before) for before, after in itertools.pairwise(attempts)]

    copy_best(folder, 7)
    pauses = poll(600)
    assert pauses[:6] == [2, 4, 8, 16, 32, 60] and set(pauses[6:]) == {60}
    copy_best(folder, 8)
    assert poll(20) == [2, 4, 8]  # at once, then again after a while


def test_memory_that_comes_back_is_enough(trained, tmp_path, clock, monkeypatch):
    folder = ModelFolder(shutil.copytree(trained.sample.model_save_dir.full, tmp_path / "model"))
    recognizer = recognizer_of(trained, model_save_dir=folder.path)
    copy_best(folder, 7)

    def no_memory(prefix):
        raise MemoryError

    with monkeypatch.context() as patched, pytest.raises(MemoryError):
        patched.setattr(checkpoint, "read_checkpoint", no_memory)
        recognizer.load_newer()
    assert recognizer.load_newer() is None
    clock[0] += 2
    newer = recognizer.load_newer()
    assert newer is not None and newer.describe()["step"] == 7


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"char_set": "012"}, "char_set 01, not 012"),
        ({"char_set": "10"}, "char_set 01, not 10"),
        ({"image_width": 100}, "image_width 40, not 100"),
        ({"max_captcha": 3}, "max_captcha 2, not 3"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_both_values(trained, changed, expected):
    with pytest.raises(ModelError, match=expected):
        recognizer_of(trained, **changed)


def test_missing_model_names_the_remedy(trained, tmp_path):
    with pytest.raises(ModelError, match="no model in .*train_model.py"):
        recognizer_of(trained, model_save_dir=tmp_path)


def test_missing_checkpoint_is_reported(trained, tmp_path):
    shutil.copytree(trained.sample.model_save_dir, tmp_path / "model")
    for file in (tmp_path / "model").glob("best-*"):
        file.unlink()
    with pytest.raises(ModelError, match="best-.* is missing or damaged"):
        recognizer_of(trained, model_save_dir=tmp_path / "model")


def test_working_directory_does_not_matter(trained, recognizer, images, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    text = recognizer_of(trained).rec_image(Image.open(images[0]))
    assert text == recognizer.rec_image(Image.open(images[0]))
    assert random_image(trained.sample.test_image_dir) in images


def test_training_that_saves_meanwhile_does_no_harm(trained, tmp_path, monkeypatch):
    folder = ModelFolder(shutil.copytree(trained.sample.model_save_dir, tmp_path / "model"))
    info, read, seen = folder.read_required(), checkpoint.read_checkpoint, []

    def overtaken(prefix):
        seen.append(prefix)
        if len(seen) == 1:
            newer = folder.new_checkpoint("best", 99)
            for file in folder.full.glob(f"{info.best}.*"):
                file.rename(file.with_name(file.name.replace(info.best, newer)))
            folder.commit(dataclasses.replace(info, best=newer))
        return read(prefix)

    monkeypatch.setattr(checkpoint, "read_checkpoint", overtaken)
    recognizer_of(trained, model_save_dir=tmp_path / "model")
    assert len(seen) == 2


def test_weights_of_another_version_of_the_network_are_refused(trained, tmp_path):
    folder = ModelFolder(shutil.copytree(trained.sample.model_save_dir, tmp_path / "model"))
    folder.commit(dataclasses.replace(folder.read_required(), network="resnet_attention"))
    with pytest.raises(ModelError, match="do not fit this version of the network"):
        recognizer_of(trained, model_save_dir=tmp_path / "model")


def test_without_a_spec_it_is_that_of_the_model(trained, recognizer):
    assert recognizer.spec == CaptchaSpec(24, 40, 2, ("0", "1")) == trained.sample.spec
    assert Recognizer.from_config(trained.sample).spec == recognizer.spec


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"min_captcha": 1}, "min_captcha 2, not 1"),
        ({"image_channels": 3}, "image_channels 1, not 3"),
        ({"resize": "pad"}, "resize false, not pad"),
    ],
)
def test_spec_of_another_captcha_is_refused(trained, changed, expected):
    spec = dataclasses.replace(trained.sample.spec, **changed)
    with pytest.raises(ModelError, match=f"{expected}. Where char_set has grown, run train_model"):
        Recognizer.from_spec(spec, trained.sample.model_save_dir)


def test_how_labels_are_read_does_not_decide_whether_a_model_fits(trained):
    spec = dataclasses.replace(trained.sample.spec, ignore_case=True)
    with Recognizer.from_spec(spec, trained.sample.model_save_dir) as recognizer:
        assert recognizer.spec.ignore_case is False  # as it was trained


def test_recogniser_is_closed_at_the_end_of_a_with_block(trained, images):
    image = Image.open(images[0])
    with recognizer_of(trained) as recognizer:
        text = recognizer.rec_image(image)
    with pytest.raises(RuntimeError, match="[Cc]losed"):
        recognizer.rec_image(image)
    again = recognizer_of(trained)
    assert again.rec_image(image) == text
    again.close()
    with pytest.raises(RuntimeError, match="[Cc]losed"):
        again.predict_pixels(np.zeros((1, 24, 40), np.uint8))
    again.close()  # a second time does nothing


def test_closing_one_recogniser_leaves_others_open(trained, recognizer, images):
    recognizer_of(trained).close()
    assert len(recognizer.rec_image(Image.open(images[0]))) == 2


def test_newer_weights_stay_open_when_the_old_ones_are_closed(trained, tmp_path, images):
    folder = ModelFolder(shutil.copytree(trained.sample.model_save_dir, tmp_path / "model"))
    old = recognizer_of(trained, model_save_dir=folder.path)
    copy_best(folder, 7)
    newer = old.load_newer()
    assert newer is not None and newer is not old
    image = Image.open(images[0])
    text = old.rec_image(image)
    old.close()
    assert newer.rec_image(image) == text and newer.spec == old.spec
    newer.close()
