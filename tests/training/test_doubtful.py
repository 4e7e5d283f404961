"""Training images whose labels the network holds for wrong are left out."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from cnnlib.dataset.image_set import ImageSet
from cnnlib.training.batches import TrainingBatches
from cnnlib.training.discovery import Discovery
from cnnlib.training.doubtful import find_doubtful
from cnnlib.training.recipes import RECIPES
from tests.helpers import SPEC
from tests.training.helpers import train


class Reader:
    """A scorer that reads the first pixel as the only character, and is sure of it."""

    def outputs(self, pixels, char_ids):
        logits = np.where(np.arange(4) == pixels[:, 0, :1], 9.0, 0.0)[:, np.newaxis]  # [n, 1, 4]
        return logits, char_ids, np.zeros(len(pixels))


def images(labels, shown):
    pixels = np.array(shown, np.uint8).reshape(-1, 1, 1)
    return ImageSet([f"{i}.png" for i in range(len(labels))], pixels, np.array(labels)[:, None])


@pytest.fixture
def stop():
    return threading.Event()


def test_image_that_is_read_otherwise_is_doubtful(stop):
    labels = [0, 1, 2, 3] * 600
    shown = list(labels)
    shown[5] = 2
    shown[1205] = 0
    found = find_doubtful(Reader(), images(labels, shown), False, stop)
    assert np.flatnonzero(found).tolist() == [5, 1205]


def test_network_that_doubts_too_many_is_not_believed(stop):
    assert not find_doubtful(Reader(), images([0] * 10, [0] * 7 + [1] * 3), False, stop).any()


def test_signal_ends_the_search(stop):
    stop.set()
    assert not find_doubtful(Reader(), images([0] * 9, [0] * 8 + [1]), False, stop).any()


def test_batches_have_others_in_their_place():
    labels = list(range(40))
    source = TrainingBatches(images(labels, labels), 16, 100, 0, None, np.random.default_rng(0))
    source.leave_out(np.arange(40) < 8)
    batches = source.batches()
    seen = np.concatenate([next(batches).chosen for _ in range(20)])
    assert len(seen) == 320 and set(seen) == set(range(8, 40))


@pytest.mark.parametrize(("steps", "asked"), [(30, True), (29, False)])
def test_run_that_sees_each_image_twice_has_no_time_for_it(stop, steps, asked):
    labels, left_out = images([0, 1] * 20, [0, 1] * 20), []
    options = SimpleNamespace(cycle_stop=steps, own_batch_size=4, recipe=RECIPES["default"])
    discovery = Discovery(SPEC, options, labels, labels, None, Reader(), None)
    source = SimpleNamespace(
        should_locate=lambda step: False,
        is_due=lambda step, shares: True,
        leave_out=left_out.append,
    )
    discovery.act_if_due(10, source, True, stop)
    assert len(left_out) == asked


def test_wrong_labels_are_left_out_and_named(project, draw_images, monkeypatch, capsys):
    project.resize(32, 24)
    project.change(
        char_set="01", network="cnn5", cycle_stop=120, cycle_save=1000, train_batch_size=32
    )
    for folder, count in (("train", 1200), ("test", 40)):
        draw_images(project.root / "sample" / folder, count, characters=("0", "1"), seed=count)
    turned = sorted((project.root / "sample" / "train").glob("00_*"))[:12]
    for file in turned:
        file.rename(file.with_name(file.name.replace("00_", "11_")))
    names = {file.name.replace("00_", "11_") for file in turned}
    left_out: list[set[str]] = []
    find = Discovery._leave_out_doubtful

    def watched(self, source, stop):
        find(self, source, stop)
        left_out.append({self._train.names[i] for i in np.flatnonzero(source._left_out)})

    monkeypatch.setattr(Discovery, "_leave_out_doubtful", watched)
    train(project)
    assert len(left_out) == 2
    assert len(left_out[1] & names) > len(left_out[1] - names)
    assert "training images are left out, such as 11_" in capsys.readouterr().out
