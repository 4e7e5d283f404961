"""Recognition with a trained model: answers, confidence, threads, memory."""

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

from cnnlib.dataset.images import read_pixels
from cnnlib.dataset.labels import label_of
from cnnlib.errors import CharsetError, ImageSizeError
from cnnlib.networks.model_folder import ModelFolder
from cnnlib.recognizer import Recognizer
from cnnlib.text_reader import IMAGES_PER_RUN
from tests.helpers import SPEC, Project


@pytest.fixture(scope="module")
def recognizer(trained: Project) -> Recognizer:
    return Recognizer.from_config(trained.sample)


@pytest.fixture(scope="module")
def images(trained: Project) -> list[Path]:
    return sorted((trained.root / "sample" / "test").iterdir())


def test_it_recognises(recognizer, images):
    right = [recognizer.rec_image(Image.open(path)) == label_of(path.name) for path in images]
    assert np.mean(right) > 0.4  # by chance: 0.25


def test_confidence_of_the_text_is_the_product_of_its_characters(recognizer, images):
    opened = [Image.open(path) for path in images]
    predictions = recognizer.predict(opened)
    assert [p.text for p in predictions] == [recognizer.rec_image(image) for image in opened]
    for prediction in predictions:
        assert prediction.confidence == pytest.approx(np.prod(prediction.char_confidences))
        assert all(0.5 <= c <= 1 for c in prediction.char_confidences)  # of two classes
    assert recognizer.predict([]) == []


def test_many_images_and_single_ones_agree(recognizer, images):
    """Also beyond what one run of the network takes."""
    many = (images * 4)[:150]
    assert len(many) > IMAGES_PER_RUN
    pixels = np.stack([read_pixels(path, SPEC) for path in many])
    for alone, together in zip(
        recognizer.predict([Image.open(path) for path in images]),
        recognizer.predict_pixels(pixels),
        strict=False,
    ):
        assert alone.text == together.text
        assert alone.confidence == pytest.approx(together.confidence, abs=1e-4)


def test_every_image_mode_is_taken(recognizer, images):
    image = Image.open(images[0]).convert("L")
    expected = recognizer.rec_image(image)
    for mode in ("RGB", "RGBA", "LA", "P", "CMYK"):
        assert recognizer.rec_image(image.convert(mode)) == expected


def test_answer_among_some_characters_alone(recognizer, images):
    probabilities = recognizer.probabilities(
        np.stack([read_pixels(path, SPEC) for path in images[:8]])
    )
    for each in probabilities:
        free, last = recognizer.read(each), recognizer.read(each, [recognizer.char_set[-1]])
        assert last.text == recognizer.char_set[-1] * 2 and last.confidence == pytest.approx(1)
        reversed_set = recognizer.read(each, recognizer.char_set[::-1])
        assert reversed_set.text == free.text
        assert reversed_set.confidence == pytest.approx(free.confidence)
    with pytest.raises(CharsetError, match="'x'"):
        recognizer.read(probabilities[0], ["x"])


def test_another_size_is_refused(recognizer):
    with pytest.raises(ImageSizeError, match="41x24, expected 40x24"):
        recognizer.rec_image(Image.new("L", (41, 24)))


def test_no_operation_is_added_and_batch_norm_is_gone(recognizer, images):
    graph = recognizer.graph
    before = len(graph.get_operations())
    assert graph.finalized
    assert not [
        op
        for op in graph.get_operations()
        if op.type.startswith(("VarHandle", "FusedBatchNorm", "If", "Switch", "Random"))
    ]
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
    """What leaks grows in each part; other threads of this process may grow it in one."""
    image = Image.open(images[0])
    memory = []
    for _ in range(5):
        for _ in range(500):
            recognizer.rec_image(image)
        memory.append(anonymous_memory_kb())
    assert min(np.diff(memory)) < 500


def test_two_models_of_other_char_sets_live_in_one_process(trained, recognizer, images, tmp_path):
    renamed = tmp_path / "model"
    shutil.copytree(trained.sample.model_save_dir, renamed)
    folder = ModelFolder(renamed)
    info = folder.read_required()
    spec = dataclasses.replace(info.spec, char_set=("验", "证"))
    folder.commit(dataclasses.replace(info, spec=spec))
    other = Recognizer(24, 40, 2, "验证", renamed)
    image = Image.open(images[0])
    text = recognizer.rec_image(image)
    assert other.rec_image(image) == text.translate({ord("0"): "验", ord("1"): "证"})
    assert recognizer.rec_image(image) == text


def test_characters_may_be_named_in_any_case_where_the_model_ignores_it(trained, tmp_path, images):
    shutil.copytree(trained.sample.model_save_dir.full, tmp_path / "model")
    folder = ModelFolder(tmp_path / "model")
    info = folder.read_required()
    pixels = read_pixels(images[0], SPEC)[np.newaxis]
    for ignores in (False, True):
        spec = dataclasses.replace(info.spec, char_set=("a", "b"), ignore_case=ignores)
        folder.commit(dataclasses.replace(info, spec=spec))
        recognizer = Recognizer(24, 40, 2, "ab", tmp_path / "model")
        [probabilities] = recognizer.probabilities(pixels)
        if ignores:
            assert recognizer.read(probabilities, "BB").text == "bb"
        else:
            with pytest.raises(CharsetError, match="'B'"):
                recognizer.read(probabilities, "BB")
