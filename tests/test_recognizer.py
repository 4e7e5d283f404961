"""Recognition with a trained model: answers, confidence, threads, memory, and what is refused."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnlib import dataset, encoding
from cnnlib import recognizer as recognizer_module
from cnnlib.encoding import InputFormat
from cnnlib.errors import CharsetError, ImageSizeError, ModelError
from cnnlib.model_folder import ModelFolder
from cnnlib.recognizer import Recognizer
from tests.conftest import Project


@pytest.fixture(scope="module")
def recognizer(trained: Project) -> Recognizer:
    return recognizer_of(trained)


def recognizer_of(project: Project, **changed: object) -> Recognizer:
    c = project.sample
    arguments = {"image_height": c.image_height, "image_width": c.image_width,
                 "max_captcha": c.max_captcha, "char_set": c.char_set,
                 "model_save_dir": c.model_save_dir} | changed
    return Recognizer(**arguments)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def images(trained: Project) -> list[Path]:
    return sorted((trained.root / "sample" / "test").iterdir())


def test_it_recognises(recognizer, images):
    right = [recognizer.rec_image(Image.open(path)) == encoding.label_of(path.name)
             for path in images]
    assert np.mean(right) > 0.4  # by chance: 0.25


def test_confidence_of_the_text_is_the_product_of_its_characters(recognizer, images):
    opened = [Image.open(path) for path in images]
    predictions = recognizer.predict(opened)
    assert [p.text for p in predictions] == [recognizer.rec_image(image) for image in opened]
    for prediction in predictions:
        assert prediction.confidence == pytest.approx(np.prod(prediction.char_confidences))
        assert all(0.5 <= c <= 1 for c in prediction.char_confidences)  # of two classes
    assert recognizer.predict([]) == []


def test_batch_test_mode_and_single_images_agree(recognizer, images):
    """Also beyond the size of a batch, where it is cut into several."""
    many = (images * 4)[:150]
    pixels = np.stack([InputFormat(40, 24).read(path) for path in many])
    for alone, together in zip(recognizer.predict([Image.open(path) for path in images]),
                               recognizer.predict_pixels(pixels), strict=False):
        assert alone.text == together.text
        assert alone.confidence == pytest.approx(together.confidence, abs=1e-4)


def test_every_image_mode_is_taken(recognizer, images):
    image = Image.open(images[0]).convert("L")
    expected = recognizer.rec_image(image)
    for mode in ("RGB", "RGBA", "LA", "P", "CMYK"):
        assert recognizer.rec_image(image.convert(mode)) == expected


def test_answer_among_some_characters_alone(recognizer, images):
    probabilities = recognizer.probabilities(
        np.stack([InputFormat(40, 24).read(path) for path in images[:8]]))
    for each in probabilities:
        free, last = recognizer.read(each), recognizer.read(each, [recognizer.char_set[-1]])
        assert last.text == recognizer.char_set[-1] * 2 and last.confidence == pytest.approx(1)
        reversed_set = recognizer.read(each, recognizer.char_set[::-1])
        assert reversed_set.text == free.text
        assert reversed_set.confidence == pytest.approx(free.confidence)
    with pytest.raises(CharsetError, match="'x'"):
        recognizer.read(probabilities[0], ["x"])


def test_other_weights_of_the_folder_are_loaded_once(trained, tmp_path):
    shutil.copytree(trained.sample.model_save_dir.full, tmp_path / "model")
    folder = ModelFolder(tmp_path / "model")
    recognizer = recognizer_of(trained, model_save_dir=tmp_path / "model")
    assert recognizer.renewed() is None
    info = folder.required()
    new = folder.new_checkpoint("best", 7)
    for file in list(folder.full.glob(f"{info.best}.*")):
        shutil.copy(file, folder.full / file.name.replace(info.best, new))
    folder.commit(dataclasses.replace(info, best=new, step=7))
    renewed = recognizer.renewed()
    assert renewed is not None and renewed.describe()["step"] == 7
    assert renewed.renewed() is None and recognizer.renewed() is None
    folder.commit(dataclasses.replace(info, best=folder.new_checkpoint("best", 8)))
    with pytest.raises(ModelError, match="missing or damaged"):
        renewed.renewed()
    assert renewed.renewed() is None  # it is not tried again and again


def test_another_size_is_refused(recognizer):
    with pytest.raises(ImageSizeError, match="41x24, expected 40x24"):
        recognizer.rec_image(Image.new("L", (41, 24)))


def test_no_operation_is_added_and_batch_norm_is_gone(recognizer, images):
    graph = recognizer.graph
    before = len(graph.get_operations())
    assert graph.finalized
    assert not [op for op in graph.get_operations()
                if op.type.startswith(("VarHandle", "FusedBatchNorm", "If", "Switch", "Random"))]
    recognizer.rec_image(Image.open(images[0]))
    assert len(graph.get_operations()) == before


def test_answers_do_not_mix_between_threads(recognizer, images):
    opened = [Image.open(path) for path in images]
    for image in opened:
        image.load()
    expected = [recognizer.rec_image(image) for image in opened]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(recognizer.rec_image, opened * 10)) == expected * 10


def anonymous_memory_kb() -> int:
    found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found
    return int(found[1])


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read on Linux")
def test_memory_stays_flat_over_2000_recognitions(recognizer, images):
    image = Image.open(images[0])
    for _ in range(500):
        recognizer.rec_image(image)
    before = anonymous_memory_kb()
    for _ in range(2000):
        recognizer.rec_image(image)
    assert anonymous_memory_kb() - before < 2_000


def test_two_models_of_other_char_sets_live_in_one_process(trained, recognizer, images, tmp_path):
    renamed = tmp_path / "model"
    shutil.copytree(trained.sample.model_save_dir, renamed)
    folder = ModelFolder(renamed)
    folder.commit(dataclasses.replace(folder.required(), char_set=("验", "证")))
    other = recognizer_of(trained, char_set="验证", model_save_dir=renamed)
    image = Image.open(images[0])
    text = recognizer.rec_image(image)
    assert other.rec_image(image) == text.translate({ord("0"): "验", ord("1"): "证"})
    assert recognizer.rec_image(image) == text


@pytest.mark.parametrize(("changed", "expected"), [
    ({"char_set": "012"}, "char_set 01, not 012"),
    ({"char_set": "10"}, "char_set 01, not 10"),
    ({"image_width": 100}, "image_width 40, not 100"),
    ({"max_captcha": 3}, "max_captcha 2, not 3"),
])
def test_a_model_that_does_not_fit_is_refused_with_both_values(trained, changed, expected):
    with pytest.raises(ModelError, match=expected):
        recognizer_of(trained, **changed)


def test_missing_model_names_the_remedy(trained, tmp_path):
    with pytest.raises(ModelError, match="no model in .*train_model.py"):
        recognizer_of(trained, model_save_dir=tmp_path)


def test_missing_checkpoint_is_said(trained, tmp_path):
    shutil.copytree(trained.sample.model_save_dir, tmp_path / "model")
    for file in (tmp_path / "model").glob("best-*"):
        file.unlink()
    with pytest.raises(ModelError, match="best-.* is missing or damaged"):
        recognizer_of(trained, model_save_dir=tmp_path / "model")


def test_working_directory_does_not_matter(trained, recognizer, images, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    text = recognizer_of(trained).rec_image(Image.open(images[0]))
    assert text == recognizer.rec_image(Image.open(images[0]))
    assert dataset.random_image(trained.sample.test_image_dir) in images


def test_a_training_that_saves_meanwhile_is_no_failure(trained, tmp_path, monkeypatch):
    folder = ModelFolder(shutil.copytree(trained.sample.model_save_dir, tmp_path / "model"))
    info, read, seen = folder.required(), recognizer_module.read_checkpoint, []

    def overtaken(prefix):
        seen.append(prefix)
        if len(seen) == 1:
            newer = folder.new_checkpoint("best", 99)
            for file in folder.full.glob(f"{info.best}.*"):
                file.rename(file.with_name(file.name.replace(info.best, newer)))
            folder.commit(dataclasses.replace(info, best=newer))
        return read(prefix)

    monkeypatch.setattr(recognizer_module, "read_checkpoint", overtaken)
    recognizer_of(trained, model_save_dir=tmp_path / "model")
    assert len(seen) == 2


def test_weights_of_another_version_of_the_network_are_said(trained, tmp_path):
    folder = ModelFolder(shutil.copytree(trained.sample.model_save_dir, tmp_path / "model"))
    folder.commit(dataclasses.replace(folder.required(), network="resnet_attention"))
    with pytest.raises(ModelError, match="do not fit this version of the network"):
        recognizer_of(trained, model_save_dir=tmp_path / "model")


def test_characters_may_be_named_in_any_case_where_the_model_ignores_it(trained, tmp_path, images):
    shutil.copytree(trained.sample.model_save_dir.full, tmp_path / "model")
    folder = ModelFolder(tmp_path / "model")
    info = dataclasses.replace(folder.required(), char_set=("a", "b"))
    pixels = InputFormat(40, 24).read(images[0])[np.newaxis]
    for ignores in (False, True):
        folder.commit(dataclasses.replace(info, ignore_case=ignores))
        recognizer = recognizer_of(trained, model_save_dir=tmp_path / "model", char_set="ab")
        [probabilities] = recognizer.probabilities(pixels)
        if ignores:
            assert recognizer.read(probabilities, "BB").text == "bb"
        else:
            with pytest.raises(CharsetError, match="'B'"):
                recognizer.read(probabilities, "BB")
