"""What a run saves, which weights are the best, and how the next run starts."""

import dataclasses
import itertools
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cnnlib.dataset.image_set import ImageSet
from cnnlib.errors import CaptchaError, ModelError
from cnnlib.evaluation import TestBatch
from cnnlib.evaluation.metrics import Scores
from cnnlib.networks.checkpoint import read_checkpoint
from cnnlib.networks.model_folder import ModelFolder
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.test_time_augmentation import SHIFTS
from cnnlib.training import loop, saving
from cnnlib.training.recipes import RECIPES
from cnnlib.training.saving import ModelSaver
from cnnlib.training.stepping import Stepper
from tests.crashes import Crash, changes_of, crash_at, fail_at
from tests.helpers import drawing, names_in
from tests.networks.test_model_folder import INFO
from tests.training.helpers import checkpoint_files, info, set_scores, stopped_after, train


def test_a_second_run_goes_on_with_the_weights_and_never_gets_worse(ready, capsys):
    first = train(ready)
    second = train(ready, cycle_stop=10)
    assert "a new run on the weights of " in capsys.readouterr().out
    assert not first.scores.clearly_above(second.scores, 20)
    known = info(ready)
    assert (known.total_step, known.run.step) == (30, 10)
    assert known.step in (10, 20, 30)


def test_fresh_that_is_stopped_at_once_leaves_the_old_model(saved, monkeypatch, capsys):
    before = names_in(saved.sample.model_save_dir.full)
    rates: list[float] = []
    step = Stepper.step
    monkeypatch.setattr(Stepper, "step", lambda self, *a: (rates.append(0.0), step(self, *a)))
    monkeypatch.setattr(loop, "stop_signals", stopped_after(3, rates))
    assert train(saved, fresh=True).interrupted
    assert names_in(saved.sample.model_save_dir.full) == before
    assert "before the first save: the model that was in" in capsys.readouterr().out
    monkeypatch.setattr(loop, "stop_signals", stopped_after(23, rates))
    assert train(saved, fresh=True, cycle_stop=30, cycle_save=30).interrupted
    assert info(saved).run.step == 20


def test_fresh_starts_over(saved):
    train(saved, fresh=True, cycle_stop=10)
    assert info(saved).total_step == 10 and len(checkpoint_files(saved)) == 2


def test_small_steps_down_do_not_add_up(ready, monkeypatch):
    set_scores(monkeypatch, *(Scores(0.9, 0.8 - 0.05 * i, 1 - 0.1 * i) for i in range(5)))
    result = train(ready, cycle_stop=50, train_batch_size=8)
    assert result.scores.image_accuracy == 0.75  # by the loss, and within chance of 0.8


@pytest.mark.parametrize(("last", "kept"), [(0.85, 0.85), (0.6, 0.9)])
def test_weights_of_the_end_are_kept_unless_clearly_worse(ready, monkeypatch, last, kept):
    set_scores(monkeypatch, Scores(0.9, 0.9, 0.1), Scores(0.9, last, 0.2))
    assert train(ready, cycle_stop=20).scores.image_accuracy == kept


@pytest.mark.parametrize(
    ("once", "several", "before", "wanted", "chosen"),
    [
        (140, 160, False, True, True),
        (140, 160, True, False, False),  # by the key
        (140, 141, False, True, False),  # half a percent does not pay for its time
        (140, 141, True, True, True),  # but is no reason to read worse than before
        (140, 143, False, True, False),  # 3 more may be chance
        (140, 130, True, True, False),
        (199, 200, False, True, False),
    ],
)
def test_training_chooses_it_where_clearly_more_is_right(once, several, before, wanted, chosen):
    count = np.arange(200)
    logits, char_ids = np.zeros((200, 2, 4)), np.zeros((200, 2), int)
    saver = ModelSaver(
        None,
        None,
        None,
        SimpleNamespace(
            averaged_logits=lambda *_: logits + 1,
            right_images=lambda logits, _: count < (several if logits.any() else once),
        ),
        SimpleNamespace(recipe=RECIPES["default"], test_time_augmentation=wanted, acc_stop=1.0),
        ImageSet([], np.zeros((200, 24, 40), np.uint8), char_ids),
    )
    saver.current = SimpleNamespace(augmented={"temperature": 1.0} if before else {})
    found = saver._augmented(logits)
    assert bool(found) is chosen
    assert not found or found["image_accuracy"] == several / 200


def test_training_says_what_is_read_from_now_on(ready, monkeypatch, capsys):
    monkeypatch.setattr(saving, "AUGMENTED_BY_CHANCE", 2.0)
    recipe = dataclasses.replace(RECIPES["default"], least_augmented_gain=-1.0)
    monkeypatch.setitem(RECIPES, "default", recipe)
    train(ready, cycle_stop=20)
    said, accuracy = capsys.readouterr().out, info(ready).augmented["image_accuracy"]
    assert f"shifts    {accuracy:.2%} right where {SHIFTS} shifts of each image are read" in said
    assert TestBatch.from_config(ready.sample).test_batch().right == round(20 * accuracy)
    train(ready, fresh=True, cycle_stop=10, test_time_augmentation=False)
    assert not info(ready).augmented and "shifts    " not in capsys.readouterr().out


def test_weights_that_reach_acc_stop_are_kept(ready, monkeypatch):
    set_scores(monkeypatch, Scores(0.9, 0.75, 0.1), Scores(0.9, 0.8, 0.2))
    result = train(ready, cycle_stop=20, acc_stop=0.8)
    assert result.scores.image_accuracy == 0.8


def test_grown_char_set_goes_on_from_what_was_learned(saved, capsys):
    learned = read_checkpoint(saved.sample.model_save_dir.full / info(saved).best)
    drawing(saved)(saved.root / "sample" / "train", texts=["8x", "x8"], characters=tuple("8x"))
    saved.change(char_set="0x1238")
    train(saved, cycle_stop=1)
    assert "a new run on the weights of " in capsys.readouterr().out
    assert info(saved).spec.char_set == tuple("0x1238")
    values = read_checkpoint(saved.sample.model_save_dir.full / info(saved).best)
    for name, value in learned.items():  # one step of Adam away
        if name.startswith("classifier"):
            values[name] = values[name].reshape(*value.shape[:-1], 2, 6)[..., [0, 2, 3, 4]]
        np.testing.assert_allclose(values[name].reshape(value.shape), value, atol=0.01)


@pytest.mark.parametrize("fresh", [False, True])
def test_full_disk_leaves_the_save_before_it(saved, monkeypatch, fresh):
    before, names = info(saved), checkpoint_files(saved)

    def full(self, session, prefix, **_):
        Path(f"{prefix}.data-00000-of-00001.tempstate1").write_bytes(b"0")
        message = (
            "Graph execution error:\n\nNode: 'save/SaveV2'\n"
            f"{prefix}; No space left on device\n\t [[{{{{node save/SaveV2}}}}]]\nOriginal stack"
        )
        raise tf.errors.ResourceExhaustedError(None, None, message)

    with monkeypatch.context() as patched:
        patched.setattr(tf.train.Saver, "save", full)
        with pytest.raises(
            ModelError,
            match=r"No space left on device\): the save before it is "
            "intact",
        ):
            train(saved, fresh=fresh)
    assert info(saved) == before and checkpoint_files(saved) == names
    assert not list(saved.sample.model_save_dir.full.glob("*tempstate*"))
    assert train(saved).steps == 20


def test_failed_commit_keeps_the_best_weights_of_before(saved, monkeypatch):
    before, names = info(saved), checkpoint_files(saved)

    def fails(self, new):
        assert new.best == before.best  # nothing better was found
        raise ModelError("cannot write model.json")

    with monkeypatch.context() as patched:
        patched.setattr(ModelSaver, "_is_best", lambda *_: False)
        patched.setattr(ModelFolder, "commit", fails)
        with pytest.raises(ModelError):
            train(saved)
    assert info(saved) == before and checkpoint_files(saved) == names


def test_resuming_scores_the_best_weights_on_the_test_set_of_today(ready, draw_images, monkeypatch):
    monkeypatch.setattr(loop, "stop_signals", stopped_after(10, range(10)))
    train(ready)
    folder = ModelFolder(ready.sample.model_save_dir)
    flattered = {"char_accuracy": 1.0, "image_accuracy": 1.0, "loss": 0.0}
    folder.commit(dataclasses.replace(info(ready), scores=flattered))
    monkeypatch.undo()
    assert train(ready).scores.image_accuracy < 1.0


def test_weights_that_are_missing_are_reported(saved):
    folder, best = saved.sample.model_save_dir.full, info(saved).best
    for file in folder.glob(f"{best}.*"):
        file.unlink()
    with pytest.raises(ModelError, match=f"{best} is missing or damaged: train again with --fresh"):
        train(saved)


def test_state_of_an_interrupted_run_that_is_damaged_is_reported(ready, monkeypatch):
    monkeypatch.setattr(loop, "stop_signals", stopped_after(10, range(10)))
    train(ready)
    last = info(ready).last
    for file in ready.sample.model_save_dir.full.glob(f"{last}.*"):
        file.unlink()
    with pytest.raises(ModelError, match=f"{last} is missing or damaged: start over with --fresh"):
        train(ready)


def test_interrupted_run_of_another_recipe_is_not_resumed(ready, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        patched.setattr(loop, "stop_signals", stopped_after(10, range(10)))
        assert train(ready, cycle_stop=30).interrupted
    result = train(ready, recipe="specification", cycle_stop=10)
    assert "a new run on the weights of " in capsys.readouterr().out
    assert result.steps == 10 and info(ready).recipe == "specification"


# --- power cuts, kills, disks that fail ---


class FakeSaver:
    """Writes the two files of a checkpoint as TensorFlow does."""

    def save(self, session, prefix, **_):
        for ending in (".data-00000-of-00001", ".index"):
            Path(prefix + ending).write_text(prefix)


@pytest.fixture
def commit(tmp_path):
    """Return commit(folder, step): save a run's state and better weights as a training does."""

    def made(folder, step):
        saver = ModelSaver.__new__(ModelSaver)
        graph = SimpleNamespace(graph=tf.Graph(), last_saver=FakeSaver(), best_saver=FakeSaver())
        saver._cnn, saver._graph = SimpleNamespace(folder=folder), graph
        saver._session, saver.current = None, folder.read()
        names = [folder.new_checkpoint(kind, step) for kind in ("best", "last")]
        saver._commit(dataclasses.replace(INFO, best=names[0], last=names[1], step=step))

    return made


def assert_whole(folder, *steps):
    """Check that model.json is of one of the steps, and that all files that it names are there."""
    known = folder.read_required()
    assert known.step in steps
    for name in (known.best, known.last):
        for ending in (".data-00000-of-00001", ".index"):
            assert (folder.full / f"{name}{ending}").exists(), f"{name} of step {known.step}"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_checkpoints_are_on_the_disk_before_model_json_names_them(tmp_path, monkeypatch, commit):
    folder = ModelFolder(tmp_path / "model")
    folder.full.mkdir()
    commit(folder, 1)
    old = checkpoint_names(folder)
    changes = changes_of(monkeypatch)
    commit(folder, 2)
    new = checkpoint_names(folder)
    replaced = changes.index(("replace", "model.json"))
    for name in new:
        written = changes.index(("fsync", name))
        assert ("fsync", "model") in changes[written:replaced]
    assert changes[replaced + 1] == ("fsync", "model")
    assert {name for change, name in changes[replaced + 2 :] if change == "unlink"} == old


def checkpoint_names(folder):
    return {path.name for path in folder.full.iterdir() if path.name != "model.json"}


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_killed_at_any_change_of_a_save(tmp_path, monkeypatch, commit, done):
    for number in itertools.count(1):
        folder = ModelFolder(tmp_path / f"{number}")
        folder.full.mkdir()
        commit(folder, 1)
        try:
            with monkeypatch.context() as patch:
                crash_at(patch, number, done=done)
                commit(folder, 2)
        except Crash:
            assert_whole(folder, 1, 2)
        else:
            break
        commit(folder, 3)
        assert_whole(folder, 3)
    assert number > 10


def test_disk_that_fails_at_any_change_of_a_save(tmp_path, monkeypatch, commit):
    for number in itertools.count(1):
        folder = ModelFolder(tmp_path / f"{number}")
        folder.full.mkdir()
        commit(folder, 1)
        with monkeypatch.context() as patch:
            fail_at(patch, number)
            try:
                commit(folder, 2)
            except CaptchaError as error:
                assert "Input/output error" in str(error) and str(folder.full) in str(error)
        assert_whole(folder, 1, 2)
        if folder.read_required().step == 2 and number > 8:
            break
        assert len(checkpoint_names(folder)) == 4, "what failed is removed"
        commit(folder, 3)
        assert_whole(folder, 3)
    assert number > 8


def test_which_images_are_right_decides_between_two_saves(ready, monkeypatch):
    """2 of 20 images more are clear where no other is wrong now, and chance where 2 are."""
    images = np.arange(20)
    first = Scores(0.9, 0.8, 0.1, images < 16)
    worse = Scores(0.1, 0.1, 0.9, images < 2)
    for right, kept in ((images < 18, 0.9), (images >= 2, 0.8)):
        second = Scores(0.9, 0.9, 0.3, right)
        set_scores(monkeypatch, first, second, worse)
        assert train(ready, fresh=True, cycle_stop=30).scores.image_accuracy == kept
        expected = second if kept == 0.9 else first
        assert info(ready).scores == expected.to_json()


def test_best_weights_of_an_earlier_run_are_compared_image_by_image(saved):
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        clearly_above = Scores.clearly_above
        patch.setattr(
            Scores,
            "clearly_above",
            lambda self, other, count: (
                seen.append((self.right, other.right)) or clearly_above(self, other, count)
            ),
        )
        train(saved, cycle_stop=10)
    assert seen and all(len(one) == len(other) == 20 for one, other in seen)
