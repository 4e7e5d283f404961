"""What labellers do, and what becomes of the images."""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import closing

import pytest

from cnnlib.config import load_sample_config
from cnnlib.console import SilentReporter
from cnnlib.dataset import moving, splitting
from cnnlib.errors import SampleError
from cnnlib.labelling import desk as desk_module
from cnnlib.labelling import progress
from cnnlib.labelling.desk import LabelError, LabellingDesk
from cnnlib.labelling.store import WAITING
from tests.helpers import names_in


def fill_disk(monkeypatch):
    """Let moves fail after three files, until monkeypatch is undone."""
    move_all = moving.move_all

    def full(moves, reporter):
        move_all(moves[:3], reporter)
        raise SampleError("no space left")

    monkeypatch.setattr(moving, "move_all", full)


@pytest.fixture(autouse=True)
def no_second_readings(monkeypatch):
    monkeypatch.setattr(desk_module, "SECOND_RATE", 0.0)


def give(desk, labels, labeller="ann", count=1):
    """Label the next images rightly; return their ids."""
    ids = [item["id"] for item in desk.next_images(labeller, count, [])]
    for image in ids:
        desk.label(labeller, image, labels.of(desk, image), keys=1, accept_new=False)
    return ids


def unlabelled(project):
    return names_in(project.sample.unlabelled_image_dir.full)


def labelled(project):
    folder = project.sample.new_image_dir.full
    return names_in(folder) if folder.exists() else []


def test_labelled_images_move_under_their_labels(project, desk, labels):
    give(desk, labels, count=5)
    assert len(labelled(project)) == 5 and len(unlabelled(project)) == 35
    assert labels.are_right(project.sample.new_image_dir.full)
    assert desk.store.counts() == {
        "waiting": 35,
        "labelled": 5,
        "unreadable": 0,
        "unusable": 0,
        "duplicate": 0,
    }
    splitting.verify_and_split(project.sample)  # it takes their names
    assert len(names_in(project.sample.train_image_dir.full)) == 4


def test_two_labellers_never_get_the_same_image(desk):
    first = {item["id"] for item in desk.next_images("ann", 10, [])}
    second = {item["id"] for item in desk.next_images("bob", 40, [])}
    assert len(first) == 10 and len(second) == 30 and not first & second
    with pytest.raises(LabelError, match="somebody else has this image"):
        desk.label("bob", min(first), "00", keys=1, accept_new=False)
    kept = sorted(first)[:3]
    more = desk.next_images("ann", 10, kept)  # the seven that ann no longer holds
    assert {item["id"] for item in more} == first - set(kept)


def test_a_lease_that_nobody_answers_ends(desk, monkeypatch):
    monkeypatch.setattr(desk_module, "LEASE_S", -1.0)
    assert len(desk.next_images("ann", 40, [])) == 40
    assert len(desk.next_images("bob", 40, [])) == 40


@pytest.mark.parametrize(
    ("text", "code"), [("0", "length"), ("012", "length"), ("", "length"), ("0x", "new_characters")]
)
def test_labels_are_checked(project, desk, text, code):
    [item] = desk.next_images("ann", 1, [])
    with pytest.raises(LabelError) as refused:
        desk.label("ann", item["id"], text, keys=1, accept_new=False)
    assert refused.value.code == code
    assert not labelled(project)


@pytest.mark.parametrize("listed", [False, True])
def test_a_new_character_extends_the_configuration(project, desk, listed, open_desk):
    if listed:
        (project.root / "labels.json").write_text('["0", "1", "2", "3"]')
        project.change(use_labels_json_file=True, labels_json_file="labels.json")
        desk = open_desk()
    [item] = desk.next_images("ann", 1, [])
    desk.label("ann", item["id"], "é0", keys=3, accept_new=True)
    assert desk.spec.char_set == ("0", "1", "2", "3", "é")
    assert load_sample_config(project.config_path).char_set == desk.spec.char_set
    assert labelled(project)[0].startswith("é0_")


@pytest.mark.parametrize("label", ["..", "//", "\\.", "%2", "a b", "CON"])
def test_hostile_labels_stay_in_the_folder(project, desk, label):
    project.change(char_set="./\\%2ab CON", max_captcha=3, min_captcha=2)
    desk.config = project.sample
    [item] = desk.next_images("ann", 1, [])
    desk.label("ann", item["id"], label, keys=1, accept_new=False)
    [name] = labelled(project)
    assert desk.store.image(item["id"])["label"] == label
    assert splitting.FolderLabels().label(name) == label


def test_case_is_folded_where_it_does_not_matter(project, desk):
    project.change(char_set="ab", ignore_case=True)
    desk.config = project.sample
    [item] = desk.next_images("ann", 1, [])
    desk.label("ann", item["id"], "aB", keys=1, accept_new=False)
    assert labelled(project)[0].startswith("ab_")


def test_undo_goes_back_step_by_step_also_after_a_restart(project, desk, labels, open_desk):
    before = unlabelled(project)
    ids = give(desk, labels, count=3)
    desk.mark_unreadable("ann", desk.next_images("ann", 1, [])[0]["id"])
    desk = open_desk()
    for image in [None, *reversed(ids)]:
        undone = desk.undo("ann")
        if image:
            assert undone["labels"] == {str(image): labels.of(desk, image)}
            assert [item["id"] for item in undone["items"]] == [image]
    assert unlabelled(project) == before and not labelled(project)
    with pytest.raises(LabelError, match="nothing to undo"):
        desk.undo("ann")
    assert desk.store.counts()["waiting"] == 40


def test_undo_finds_images_that_were_split_since(project, desk, labels):
    before = unlabelled(project)
    give(desk, labels, count=5)
    splitting.verify_and_split(project.sample)
    for _ in range(5):
        desk.undo("ann")
    assert unlabelled(project) == before


def test_another_labeller_does_not_undo_what_somebody_just_did(desk, labels, monkeypatch):
    give(desk, labels)
    with pytest.raises(LabelError, match="nothing to undo"):
        desk.undo("bob")
    monkeypatch.setattr("cnnlib.labelling.store.ABSENT_S", -1.0)
    assert desk.undo("bob")["items"]


def test_skipped_images_come_last_and_unreadable_ones_not_again(project, desk):
    first, second = desk.next_images("ann", 2, [])
    desk.skip("ann", first["id"])
    desk.mark_unreadable("ann", second["id"])
    rest = [item["id"] for item in desk.next_images("ann", 40, [])]
    assert first["id"] in rest and second["id"] not in rest and len(rest) == 39
    assert len(unlabelled(project)) == 40  # it stays where it is


def test_a_second_reading_says_how_often_a_labeller_errs(project, desk, labels, monkeypatch):
    give(desk, labels, count=30)
    monkeypatch.setattr(desk_module, "SECOND_RATE", 1.0)
    again = desk.next_images("ann", 2, [])
    assert {desk.store.image(item["id"])["state"] for item in again} == {"labelled"}
    right, wrong = (item["id"] for item in again)
    truth = labels.of(desk, wrong)
    other = "00" if truth != "00" else "11"
    same = desk.label("ann", right, labels.of(desk, right), keys=1, accept_new=False)
    assert same["second"] is None
    differs = desk.label("ann", wrong, other, keys=3, accept_new=False)
    assert differs["second"] == {"earlier": truth}
    assert labels.are_right(project.sample.new_image_dir.full)  # the first label stays
    readings = progress.second_readings(desk.store)
    assert (readings["different"], readings["of"]) == (1, 2)
    desk.relabel("ann", wrong, other)
    assert desk.store.image(wrong)["label"] == other
    assert not labels.are_right(project.sample.new_image_dir.full)
    desk.undo("ann")
    assert desk.store.image(wrong)["label"] == truth
    assert labels.are_right(project.sample.new_image_dir.full)


def test_many_are_accepted_and_undone_in_one_step(project, desk, labels):
    items = desk.next_images("ann", 12, [])
    texts = {item["id"]: labels.of(desk, item["id"]) for item in items[2:]}
    done = desk.accept("ann", {**texts, items[1]["id"]: "too long"}, [items[0]["id"]])
    assert done["accepted"] == 10 and done["refused"][0]["id"] == items[1]["id"]
    assert len(labelled(project)) == 10
    assert desk.next_images("bob", 1, [])[0]["id"] == items[0]["id"]  # marked as wrong: first
    assert len(desk.undo("ann")["items"]) == 10 and not labelled(project)


def test_characters_confirmed_one_by_one_make_a_label(project, desk, labels):
    rows = desk.store.rows("SELECT id FROM images WHERE NOT by_chance")
    for row in rows:
        desk.store.update(
            row["id"],
            text=labels.of(desk, row["id"]),
            confidence=0.99,
            char_confidences="[0.99, 0.99]",
            boxes="[[0, 0, 20, 24], [20, 0, 40, 24]]",
            weights="w",
        )
    wrong = rows[0]["id"]
    while (shown := desk.characters("ann", ""))[0]:
        classes, character, items = shown
        assert len(items) == classes[character]
        assert {item["text"][item["position"]] for item in items} == {character}
        places = [(item["id"], item["position"]) for item in items]
        desk.accept_characters(
            "ann",
            character,
            [p for p in places if p[0] != wrong],
            [p for p in places if p[0] == wrong],
        )
    assert len(labelled(project)) == len(rows) - 1
    assert labels.are_right(project.sample.new_image_dir.full)
    assert desk.store.image(wrong)["state"] == WAITING
    [item] = desk.shown(wrong)
    assert 0.0 in item["char_confidences"]  # the page starts at what was doubted
    assert desk.character(wrong, 1).size == (20, 24)


def test_a_character_that_is_read_otherwise_meanwhile_is_not_confirmed(desk):
    [row, *_] = desk.store.rows("SELECT id FROM images WHERE NOT by_chance")
    desk.store.update(row["id"], text="01", confidence=0.99, char_confidences="[1, 1]")
    done = desk.accept_characters("ann", "2", [(row["id"], 0), (row["id"], 1), (row["id"], 7)], [])
    assert done["confirmed"] == done["labelled"] == 0
    assert desk.accept_characters("ann", "0", [(row["id"], 0)], [])["confirmed"] == 1
    assert desk.accept_characters("ann", "1", [(row["id"], 1)], [])["labelled"] == 1
    assert desk.store.image(row["id"])["label"] == "01"


def test_a_folder_that_is_away_for_a_moment_loses_nothing(project, desk, labels, open_desk):
    folder = project.sample.unlabelled_image_dir.full
    folder.rename(folder.with_name("away"))
    assert desk.next_images("ann", 10, []) == []
    folder.with_name("away").rename(folder)
    assert len(desk.next_images("ann", 10, [])) == 10
    assert open_desk().store.counts()["waiting"] == 40


def test_an_image_that_becomes_another_is_not_labelled_as_before(project, desk, draw_images):
    [item] = desk.next_images("ann", 1, [])
    path = desk.places.path(desk.store.image(item["id"])["path"])
    [other] = draw_images(project.root / "other", 1, seed=99)
    path.write_bytes(other.read_bytes())
    with pytest.raises(LabelError, match="another one than before"):
        desk.label("ann", item["id"], "00", keys=1, accept_new=False)
    assert not labelled(project)


def test_what_could_not_be_used_is_looked_at_again(project, labels, open_desk):
    project.change(image_suffix="jpg")
    assert open_desk().store.counts()["unusable"] == 40
    project.change(image_suffix="png")
    assert open_desk().store.counts()["waiting"] == 40


def test_undo_gives_back_each_label_that_an_image_had(project, desk, labels):
    give(desk, labels, count=45)
    [image] = [row["id"] for row in desk.store.rows("SELECT max(id) AS id FROM images")]
    truth = labels.of(desk, image)
    other = "00" if truth != "00" else "11"
    splitting.verify_and_split(project.sample)
    desk.relabel("ann", image, other)
    assert desk.places.find(desk.store.image(image)["path"]).name.startswith(f"{other}_")
    desk.undo("ann")
    row = desk.store.image(image)
    assert (row["state"], row["label"]) == ("labelled", truth)
    assert desk.places.find(row["path"]).name.startswith(f"{truth}_")
    for _ in range(40):
        desk.undo("ann")
    assert desk.store.counts()["waiting"] == 40 and len(unlabelled(project)) == 40


def test_a_folder_that_is_away_does_not_keep_others(project, labels, draw_images):
    other = project.root / "other"
    draw_images(other, 10, seed=99)
    folders = [project.sample.unlabelled_image_dir.full, other]
    with closing(LabellingDesk(project.sample, project.config_path, folders)) as desk:
        desk.reader.work()
        folders[0].rename(folders[0].with_name("away"))
        assert len(desk.next_images("ann", 20, [])) == 10
        assert desk.store.counts()["waiting"] == 10


def test_images_of_folders_that_were_not_given_are_not_shown(project, desk, draw_images):
    other = project.root / "other"
    draw_images(other, 3, seed=99)
    with closing(LabellingDesk(project.sample, project.config_path, [other])) as again:
        again.reader.work()
        assert again.store.counts()["waiting"] == 3
        assert len(again.next_images("ann", 10, [])) == 3
        assert again.confident_images("ann", 10) == []


def test_a_copy_of_a_folder_that_was_shown_before_is_shown(project, desk, open_desk):
    folder = project.sample.unlabelled_image_dir.full
    other = project.root / "other"
    shutil.copytree(folder, other)
    with closing(LabellingDesk(project.sample, project.config_path, [other])) as again:
        again.reader.work()
        assert again.store.counts()["waiting"] == 40
        [item] = again.next_images("ann", 1, [])
        again.label("ann", item["id"], "00", keys=1, accept_new=False)
        again.undo("ann")
        assert len(names_in(other)) == 40 == again.store.counts()["waiting"]


def test_unusable_files_that_are_gone_count_no_more(project, desk, open_desk):
    bad = project.sample.unlabelled_image_dir.full / "bad.png"
    bad.write_bytes(b"no image")
    counts = open_desk().store.counts()
    assert counts["unusable"] == 1 and progress.unusable_reason(desk.store)
    bad.unlink()
    assert open_desk().store.counts()["unusable"] == 0


def test_files_that_have_another_name_now_still_wait(project, desk, open_desk):
    folder = project.sample.unlabelled_image_dir.full
    for i, path in enumerate(sorted(folder.iterdir())[:15]):
        path.rename(path.with_name(f"{i}.png"))
    counts = open_desk().store.counts()
    assert (counts["waiting"], counts["duplicate"]) == (40, 0)
    assert len(desk.next_images("ann", 40, [])) == 40


def test_undo_where_the_file_had_come_back_and_gone_again(project, desk, labels, open_desk):
    [image] = give(desk, labels)
    old = desk.places.path(desk.store.changes_of(1)[0].source)
    [new] = project.sample.new_image_dir.full.iterdir()
    shutil.copyfile(new, old)
    assert open_desk().store.counts()["duplicate"] == 1
    old.unlink()
    desk.undo("ann")
    assert desk.store.image(image)["state"] == WAITING and len(unlabelled(project)) == 40
    assert open_desk().store.counts()["waiting"] == 40


def test_what_of_many_could_not_be_moved_was_never_labelled(project, desk, labels, monkeypatch):
    items = [item["id"] for item in desk.next_images("ann", 5, [])]
    fill_disk(monkeypatch)
    with pytest.raises(LabelError, match="no space left"):
        desk.accept("ann", {image: labels.of(desk, image) for image in items}, [])
    monkeypatch.undo()
    assert len(labelled(project)) == 3
    [failed, _] = [i for i in items if desk.store.image(i)["state"] == WAITING]
    desk.next_images("ann", 5, [])
    desk.label("ann", failed, "00", keys=1, accept_new=False)
    desk.undo("ann")
    assert desk.store.image(failed)["state"] == WAITING
    assert len(desk.undo("ann")["items"]) == 3 and not labelled(project)
    with pytest.raises(LabelError, match="nothing to undo"):
        desk.undo("ann")


def test_what_of_an_undoing_could_not_be_moved_can_be_undone_again(
    project, desk, labels, monkeypatch
):
    items = [item["id"] for item in desk.next_images("ann", 5, [])]
    desk.accept("ann", {image: labels.of(desk, image) for image in items}, [])
    fill_disk(monkeypatch)
    with pytest.raises(LabelError, match="no space left"):
        desk.undo("ann")
    monkeypatch.undo()
    assert len(labelled(project)) == 2 and desk.store.counts()["labelled"] == 2
    assert len(desk.undo("ann")["items"]) == 2 and not labelled(project)
    assert desk.store.counts()["waiting"] == 40 == len(unlabelled(project))


def test_a_label_that_somebody_else_has_changed_is_theirs_to_undo(project, desk, labels):
    [image] = give(desk, labels)
    truth = labels.of(desk, image)
    other = "00" if truth != "00" else "11"
    desk.relabel("bob", image, other)
    with pytest.raises(LabelError, match="nothing to undo"):
        desk.undo("ann")
    desk.undo("bob")
    assert desk.store.image(image)["label"] == truth
    desk.undo("ann")
    assert not labelled(project) and len(unlabelled(project)) == 40


def test_a_label_in_the_other_case_gets_a_name_of_its_own(project, labels, open_desk):
    project.change(char_set="abAB01")
    desk = open_desk()
    [item] = desk.next_images("ann", 1, [])
    desk.label("ann", item["id"], "ab", keys=2, accept_new=False)
    desk.relabel("ann", item["id"], "aB")
    [name] = labelled(project)
    assert name.startswith("aB_2_")
    desk.undo("ann")
    [name] = labelled(project)
    assert name.startswith("ab_")


def test_one_bad_file_does_not_keep_a_screen_of_characters(project, desk, labels):
    rows = desk.store.rows("SELECT * FROM images WHERE NOT by_chance LIMIT 4")
    for row in rows:
        desk.store.update(row["id"], text="01", confidence=0.99, char_confidences="[1, 1]")
    desk.places.path(rows[0]["path"]).unlink()
    desk.accept_characters("ann", "0", [(row["id"], 0) for row in rows], [])
    done = desk.accept_characters("ann", "1", [(row["id"], 1) for row in rows], [])
    assert done["labelled"] == 3 and len(labelled(project)) == 3
    desk.undo("ann")  # the whole screen
    states = [desk.store.image(row["id"]) for row in rows[1:]]
    assert {(row["state"], row["confirmed"]) for row in states} == {(WAITING, "[0]")}


def test_an_image_that_is_read_twice_again_counts_once(desk, labels, monkeypatch):
    give(desk, labels, count=30)
    monkeypatch.setattr(desk_module, "SECOND_RATE", 1.0)
    [again] = desk.next_images("ann", 1, [])
    for _ in range(2):
        desk.store.update(again["id"], leased_by="ann")
        desk.label("ann", again["id"], labels.of(desk, again["id"]), keys=1, accept_new=False)
    assert progress.second_readings(desk.store)["of"] == 1


def test_undo_takes_a_free_name_where_the_old_one_is_taken(project, desk, labels, draw_images):
    [image] = give(desk, labels)
    old = desk.store.changes_of(1)[0].source
    [other] = draw_images(project.root / "other", 1, seed=99)
    shutil.copyfile(other, desk.places.path(old))
    desk.undo("ann")
    assert not labelled(project) and len(unlabelled(project)) == 41
    assert desk.places.path(desk.store.image(image)["path"]).exists()
    assert desk.places.path(old).read_bytes() == other.read_bytes()


def test_a_second_reading_and_confirmations_can_be_undone(desk, labels, monkeypatch):
    give(desk, labels, count=30)
    monkeypatch.setattr(desk_module, "SECOND_RATE", 1.0)
    [again] = desk.next_images("ann", 1, [])
    desk.label("ann", again["id"], "00", keys=1, accept_new=False)
    assert desk.undo("ann")["labels"] == {str(again["id"]): "00"}
    assert progress.second_readings(desk.store)["of"] == 0
    [row, *_] = desk.store.rows("SELECT id FROM images WHERE state = 'waiting' AND NOT by_chance")
    desk.store.update(row["id"], text="01", confidence=0.99, char_confidences="[1, 1]")
    desk.accept_characters("ann", "0", [(row["id"], 0)], [])
    assert desk.store.image(row["id"])["confirmed"] == "[0]"
    desk.undo("ann")
    assert desk.store.image(row["id"])["confirmed"] == "[]"
    assert desk.store.counts()["labelled"] == 30


def test_two_answers_at_once_give_one_label(project, desk, labels):
    [item] = desk.next_images("ann", 1, [])
    outcomes = []

    def answer(text):
        try:
            desk.label("ann", item["id"], text, keys=1, accept_new=False)
            outcomes.append(text)
        except LabelError:
            outcomes.append("")

    threads = [threading.Thread(target=answer, args=[text]) for text in ("00", "11")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [text] = filter(None, outcomes)
    assert labelled(project)[0].startswith(f"{text}_")
    assert desk.store.image(item["id"])["label"] == text
    desk.undo("ann")
    assert len(unlabelled(project)) == 40


def test_a_move_that_can_never_be_made_does_not_keep_the_page_away(
    project, desk, labels, open_desk, monkeypatch
):
    [item] = desk.next_images("ann", 1, [])
    with monkeypatch.context() as stopped:
        stopped.setattr(desk_module, "carry_out", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            desk.label("ann", item["id"], "00", keys=1, accept_new=False)
    folder = project.sample.new_image_dir.full
    folder.write_text("a file where the folder should be")
    again = open_desk()
    assert "sample/new_train" in again.problem
    folder.unlink()
    assert open_desk().store.image(item["id"])["state"] == "labelled"
    assert labelled(project)[0].startswith("00_")


def test_files_are_checked_when_they_are_found(project, labels, open_desk):
    folder = project.sample.unlabelled_image_dir.full
    first = folder / unlabelled(project)[0]
    (folder / "broken.png").write_bytes(b"no image")
    shutil.copyfile(first, folder / "copy.png")
    os.symlink("/etc/passwd", folder / "link.png")
    outside = project.root / "outside.png"
    shutil.copyfile(first, outside)
    os.symlink(outside, folder / "link2.png")
    (folder / "notes.txt").write_text("not an image")
    desk = open_desk()
    counts = desk.store.counts()
    assert (counts["waiting"], counts["unusable"], counts["duplicate"]) == (40, 1, 1)
    assert not desk.store.rows("SELECT * FROM images WHERE path LIKE '%link%'")


def test_a_file_that_became_a_link_is_not_read(project, desk):
    [item] = desk.next_images("ann", 1, [])
    path = desk.places.path(desk.store.image(item["id"])["path"])
    secret = project.root / "secret.png"
    path.rename(secret)
    path.symlink_to(secret)
    with pytest.raises(LabelError):
        desk.picture(item["id"])


def test_an_image_that_is_labelled_already_is_not_shown(project, desk, labels, open_desk):
    give(desk, labels)
    name = labelled(project)[0]
    folder = project.sample.unlabelled_image_dir.full
    shutil.copyfile(project.sample.new_image_dir.full / name, folder / "again.png")
    desk.store.close()
    (project.sample.labelling_dir.full / "labelling.sqlite").unlink()
    desk = open_desk()
    assert desk.store.counts()["duplicate"] == 1
    assert desk.store.counts()["waiting"] == 39


def test_images_that_vanish_are_left_out(project, desk, labels):
    for name in unlabelled(project)[:39]:
        (project.sample.unlabelled_image_dir.full / name).unlink()
    assert len(desk.next_images("ann", 10, [])) == 1


def test_an_image_that_vanishes_before_its_label_is_said(project, desk):
    [item] = desk.next_images("ann", 1, [])
    desk.places.path(desk.store.image(item["id"])["path"]).unlink()
    with pytest.raises(LabelError, match="the file of the image is gone"):
        desk.label("ann", item["id"], "00", keys=1, accept_new=False)


def test_a_move_that_is_stopped_is_carried_out_at_the_next_start(
    project, desk, labels, open_desk, monkeypatch
):
    [item] = desk.next_images("ann", 1, [])
    text = labels.of(desk, item["id"])
    with monkeypatch.context() as stopped:
        stopped.setattr(desk_module, "carry_out", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            desk.label("ann", item["id"], text, keys=1, accept_new=False)
    assert not labelled(project)
    desk = open_desk()
    assert labelled(project)[0].startswith(f"{text}_")
    assert desk.store.image(item["id"])["state"] == "labelled"
    desk.undo("ann")
    assert not labelled(project) and len(unlabelled(project)) == 40


def test_agreement_counts_images_chosen_by_chance_alone(desk, labels, project):
    by_chance = [r["id"] for r in desk.store.rows("SELECT id FROM images WHERE by_chance")]
    others = [r["id"] for r in desk.store.rows("SELECT id FROM images WHERE NOT by_chance")][:5]
    assert by_chance
    for image in (*by_chance, *others):
        truth = labels.of(desk, image)
        right = image != by_chance[0]
        desk.store.update(image, text=truth if right else truth[::-1] + "0", weights="")
        desk.label("ann", image, truth, keys=1, accept_new=False)
    agreement = progress.agreement(desk.store, "")
    assert (agreement["same"], agreement["of"]) == (len(by_chance) - 1, len(by_chance))
    assert 0 <= agreement["low"] < agreement["high"] <= 1


def test_the_desk_works_while_another_program_moves_files(project, desk, labels, monkeypatch):
    monkeypatch.setattr("cnnlib.labelling.acceptance.WAIT_S", 0.0)
    give(desk, labels)
    [item] = desk.next_images("ann", 1, [])
    text = labels.of(desk, item["id"])
    folder = project.sample.new_image_dir.full
    with (
        moving.locked([folder], SilentReporter()),
        pytest.raises(LabelError, match="another run moves files"),
    ):
        desk.label("ann", item["id"], text, keys=1, accept_new=False)
    assert desk.store.image(item["id"])["state"] == WAITING
    assert not desk.store.pending()  # the next start does not carry it out
    desk.label("ann", item["id"], text, keys=1, accept_new=False)
    assert len(labelled(project)) == 2
    assert desk.undo("ann")["items"][0]["id"] == item["id"]
