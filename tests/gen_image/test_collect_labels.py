"""The list of characters in labels: for ever in the same order, new ones at its end."""

import json

import pytest

from gen_image import collect_labels
from tests.helpers import names_in


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def collect(project, *options):
    return collect_labels.main([*map(str, options), "--config", str(project.config_path)])


def test_labels_keep_their_place_and_new_ones_follow(project, capsys):
    origin, labels = project.root / "sample" / "origin", project.root / "gen_image" / "labels.json"
    project.change(use_labels_json_file=True, char_set="")  # as it is before the first list
    touch(origin, "验b_1.png", "码a_2.JPG", ".DS_Store", "notes.txt", "x.png")
    assert collect(project) == 0
    first = list(project.sample.char_set)
    assert first == sorted("验码ab")
    assert "验" in labels.read_text(encoding="utf-8")
    assert capsys.readouterr().out.startswith(
        f"4 characters in {labels}, 4 of them new ab码验\n3 files were not labelled images\n"
    )
    touch(project.root / "sample" / "train", "0b_3.png")
    (origin / "验b_1.png").unlink()
    assert collect(project) == 0
    assert list(project.sample.char_set) == [*first, "0"]


def test_labels_of_named_folders_go_to_the_named_file(project, tmp_path):
    touch(project.root / "sample" / "origin", "zz_1.png")
    touch(tmp_path / "a b", "ba_1.png")
    assert collect(project, tmp_path / "a b", "--output", tmp_path / "out.json") == 0
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == ["a", "b"]
    assert names_in(tmp_path) == ["a b", "out.json", "project"]


@pytest.mark.parametrize("listed", ["[", '["ab"]', "{}"])
def test_damaged_list_is_refused_and_kept(project, capsys, listed):
    labels = project.root / "gen_image" / "labels.json"
    touch(project.root / "sample" / "origin", "zz_1.png")
    labels.parent.mkdir()
    labels.write_text(listed, encoding="utf-8")
    assert collect(project) == 2
    assert "labels.json" in capsys.readouterr().err
    assert labels.read_text(encoding="utf-8") == listed


def test_nothing_to_collect_is_an_error(project, capsys):
    assert collect(project) == 2
    origin = project.root / "sample" / "origin"
    assert f"folder {origin} ({origin}) does not exist" in capsys.readouterr().err
    touch(origin, "README.md")
    assert collect(project) == 2
    assert "no labelled image in" in capsys.readouterr().err
    assert not (project.root / "gen_image").exists()


def test_labels_of_a_list_count_and_case_is_ignored_where_the_config_says_so(project):
    origin = project.root / "sample" / "origin"
    project.change(ignore_case=True, label_separator="-")
    touch(origin, "photo.png", "aB-1.png")
    (origin / "labels.csv").write_text("photo.png,X验\n", encoding="utf-8")
    assert collect(project) == 0
    labels = project.root / "gen_image" / "labels.json"
    assert json.loads(labels.read_text(encoding="utf-8")) == ["a", "b", "x", "验"]
