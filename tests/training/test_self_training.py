"""A training learns from images without labels, too: from what it reads in them itself."""

import shutil
import threading

import numpy as np
import pytest

from cnnlib.dataset.image_set import ImageSet
from cnnlib.dataset.labels import PAD_ID, UNKNOWN_ID
from cnnlib.training.batches import TrainingBatches
from cnnlib.training.recipes import SelfTraining
from cnnlib.training.scoring import Scorer
from cnnlib.training.self_training import SelfReader, known_positions
from cnnlib.training.stepping import Stepper
from tests.training.helpers import info, train

USED = "images without labels are read well enough to learn from"


class Reader(Scorer):
    """Reads the first pixel as the first of two characters, and doubts above 9."""

    def __init__(self):
        super().__init__(None, None, has_end_class=False)
        self.wrong = 0

    def outputs(self, pixels, char_ids):
        shown = pixels[:, 0, :1]  # [n, 1]
        classes = np.arange(4)
        sure = np.where(classes == shown % 10, 30.0, 0.0)[:, np.newaxis]  # [n, 1, 4]
        doubted = np.where((shown > 9)[..., np.newaxis], 0.0, sure)
        logits = np.concatenate([sure, doubted], axis=1)  # [n, 2, 4]
        logits[: self.wrong] = np.roll(logits[: self.wrong], 1, axis=-1)
        return logits, char_ids, np.zeros(len(pixels))


def images(shown, char_ids=None):
    pixels = np.array(shown, np.uint8).reshape(-1, 1, 1)
    ids = np.full((len(shown), 2), UNKNOWN_ID) if char_ids is None else np.array(char_ids)
    return ImageSet([f"{i}.png" for i in range(len(shown))], pixels, ids)


@pytest.fixture
def scorer():
    return Reader()


def reader(scorer, shown, **settings):
    test = images([0, 1, 2, 3] * 10, [[k, k] for k in (0, 1, 2, 3) * 10])
    return SelfReader(images(shown), test, scorer, SelfTraining(**settings), False)


def test_what_is_read_with_confidence_is_known_and_the_rest_left_open(scorer):
    shown = [2, 11, 3] * 500
    found, chosen = reader(scorer, shown).read(threading.Event())
    assert chosen.tolist() == list(range(1500))
    assert found.char_ids[:3].tolist() == [[2, 2], [1, UNKNOWN_ID], [3, 3]]
    found, chosen = reader(scorer, shown, least_known=0.6).read(threading.Event())
    assert chosen.tolist() == [i for i in range(1500) if i % 3 != 1]


def test_nothing_is_learned_where_the_test_set_gets_worse_or_the_run_is_stopped(scorer):
    stop = threading.Event()
    looking = reader(scorer, [2, 3])
    assert len(looking.read(stop)[1]) == 2
    scorer.wrong = 5  # of 40, which may be chance
    assert len(looking.read(stop)[1]) == 2
    scorer.wrong = 6
    assert looking.read(stop) is None
    scorer.wrong = 0
    assert len(looking.read(stop)[1]) == 2
    stop.set()
    assert not len(looking.read(stop)[1])


def test_the_test_set_is_compared_with_its_best_reading(scorer):
    scorer.wrong = 30  # early in a run
    looking = reader(scorer, [2, 3])
    for wrong, learns in ((30, True), (0, True), (8, False)):
        scorer.wrong = wrong
        assert (looking.read(threading.Event()) is not None) == learns


def test_the_end_of_a_text_is_known_where_all_its_characters_are():
    char_ids = np.array([[1, 2, PAD_ID], [1, 2, PAD_ID], [1, 2, 0]])
    confidences = np.array([[0.9, 0.9, 1.0], [0.9, 0.2, 1.0], [0.2, 0.9, 0.9]])
    known = known_positions(char_ids, confidences, 0.8)
    assert known.tolist() == [[True] * 3, [True, False, False], [False, True, True]]


def test_a_share_of_each_batch_is_taken_from_them():
    labelled = images(range(40), [[0, 0]] * 40)
    source = TrainingBatches(labelled, 16, 100, 0, None, np.random.default_rng(0))
    batches = source.batches()
    assert next(batches).char_ids.max() == 0
    read = images(range(100, 140), [[1, 1]] * 40)
    source.learn_also(read, np.arange(5, 9), 0.25)
    for _ in range(5):
        batch = next(batches)
        also = batch.char_ids[:, 0] == 1
        assert also.sum() == 4 and set(batch.pixels[also, 0, 0]) <= set(range(105, 109))
        assert (batch.pixels[~also, 0, 0] == batch.chosen[~also]).all()
    source.learn_also(read, np.arange(0), 0.25)
    assert next(batches).char_ids.max() == 0


@pytest.fixture
def with_unlabelled(ready, draw_images):
    """A project with 40 labelled images for training and 60 whose names say nothing."""
    folder = ready.root / "sample" / "unlabelled"
    draw_images(folder, 60, seed=7)
    for i, file in enumerate(sorted(folder.glob("*_*"))):
        file.rename(folder / f"_{i}{file.suffix}")
    return ready


def test_a_training_uses_them_by_itself_unless_they_are_few(with_unlabelled, monkeypatch, capsys):
    mixed = []
    step = Stepper.step

    def watched(self, batch, rate):
        mixed.append(batch.pixels.shape)
        step(self, batch, rate)

    monkeypatch.setattr(Stepper, "step", watched)
    train(with_unlabelled)
    printed = capsys.readouterr().out
    assert printed.count(f"of 60 {USED}") == 8 and len(set(mixed)) == 1
    assert info(with_unlabelled).run.done
    train(with_unlabelled, self_training=False)
    assert USED not in capsys.readouterr().out
    for file in sorted((with_unlabelled.root / "sample" / "unlabelled").glob("_*"))[:21]:
        file.unlink()
    train(with_unlabelled)
    printed = capsys.readouterr().out
    assert USED not in printed
    assert "unlabelled 39 images in sample/unlabelled/ are not learned from: fewer than" in printed


def test_images_of_the_training_and_the_test_set_are_not_learned_from(with_unlabelled, capsys):
    sample = with_unlabelled.root / "sample"
    for name in ("train", "test"):
        for file in (sample / name).glob("*_*"):
            shutil.copyfile(file, sample / "unlabelled" / f"_{name}_{file.name}")
    train(with_unlabelled)
    assert f"of 60 {USED}" in capsys.readouterr().out
    for file in sorted((sample / "unlabelled").glob("_[0-9]*"))[:30]:
        file.unlink()
    train(with_unlabelled)
    printed = capsys.readouterr().out
    assert USED not in printed and "30 can be used and are new, fewer than the 40" in printed


def test_a_test_set_that_is_too_small_to_object_leaves_them_out(with_unlabelled, capsys):
    for file in sorted((with_unlabelled.root / "sample" / "test").glob("*_*"))[:11]:
        file.unlink()
    train(with_unlabelled)
    printed = capsys.readouterr().out
    assert USED not in printed and "9 test images cannot show whether they help" in printed


def test_a_folder_of_them_that_cannot_be_used_ends_no_training(with_unlabelled, capsys):
    folder = with_unlabelled.root / "sample" / "unlabelled"
    for file in folder.glob("_*"):
        file.write_bytes(b"no image")
    train(with_unlabelled)
    printed = capsys.readouterr()
    assert USED not in printed.out and "skipped" in printed.err and info(with_unlabelled).run.done
