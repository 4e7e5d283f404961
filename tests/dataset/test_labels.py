"""Labels: in file names, in labels.csv, as class ids."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cnnlib.dataset.labels import (
    LABELS_FILE,
    PAD_ID,
    FolderLabels,
    file_name,
    has_suffix,
    ids_to_label,
    label_of,
    label_to_ids,
    read_label_list,
    unknown_characters,
)
from cnnlib.errors import SampleError
from cnnlib.paths import ProjectPath

# --- file names ---


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("2e8j_17322d3d4226f0b5c5a71d797d2ba7f7.jpg", "2e8j"),
        ("验证码_1.png", "验证码"),
        ("ab_1_2.png", "ab"),
        ("AB c_1.tar.png", "AB c"),
    ],
)
def test_label_is_before_the_first_separator(name, label):
    assert label_of(name) == label


@pytest.mark.parametrize(
    "name",
    [
        "2e8j.png",
        "_1.png",
        "2e8j_.png",
        "2e8j_",
        "",
        "2e8j-1.png",
        "\udcff_1.png",
    ],
)
def test_name_without_label_or_serial_is_refused(name):
    with pytest.raises(SampleError, match="label and serial"):
        label_of(name)


LABELS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
SPECIAL = st.text('%.419AFa/\\:*?"<>|_-# \n\0验é', min_size=1, max_size=8)
SEPARATORS = st.text("_-#@=+~,;!$&'()[]{}^` ", min_size=1, max_size=3)  # as a config may have them


@given(LABELS | SPECIAL, SEPARATORS, st.sampled_from(["1", "my photo", "a.b", "_", "%41", "-"]))
@example("%", "_", "1")
@example("%41", "_", "1")
@example(".", "_", "1")
@example("..a.%2E", "_", "1")
@example("%2E.", "-", "1")
@example("100%", "=", "1")
def test_any_label_comes_back_from_its_file_name(label, separator, serial):
    name = file_name(label, "png", serial, separator)
    assert label_of(name, separator) == label
    assert has_suffix(name, ["png"]) and not set(name) & set('\\/:*?"<>|\0\n')
    assert file_name(label_of(name, separator), "png", serial, separator) == name


@pytest.mark.parametrize(
    ("stem", "separator", "label"),
    [
        ("%41_1", "_", "%41"),  # file_name writes A as it is
        ("100%_1", "_", "100%"),
        ("a%2Eb_1", "_", "a%2Eb"),  # a dot only at the beginning
        ("%E9_1", "_", "%E9"),
        ("%2f_1", "_", "%2f"),  # it writes capitals
        ("%5F-1", "-", "%5F"),  # another separator
        ("%25_1", "_", "%"),
        ("%2F%3F_1", "_", "/?"),
        ("%5F_1", "_", "_"),
        ("%0A%00_1", "_", "\n\0"),
        ("%2Ea%2Eb_1", "_", ".a.b"),
    ],
)
def test_only_what_a_file_name_cannot_have_is_decoded(stem, separator, label):
    assert label_of(f"{stem}.png", separator) == label


@pytest.mark.parametrize("label", ["2e8j", "验证码", "aB", "é ü"])
def test_label_comes_back_from_its_file_name(label):
    name = file_name(label, "png")
    assert label_of(name) == label and name.endswith(".png")
    assert name != file_name(label, "png")


def test_file_name_is_safe_on_every_file_system(tmp_path):
    name = file_name('/\\:*?"<>|%\n', "png", "7")
    assert name == "%2F%5C%3A%2A%3F%22%3C%3E%7C%25%0A_7.png"
    (tmp_path / name).touch()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a_1.png", True),
        ("a_1.PNG", True),
        ("a_1.jpg", False),
        (".png", False),
        (".a_1.png", False),
        ("png", False),
        ("a_1.png.partial", False),
    ],
)
def test_suffix_is_compared_without_case(name, expected):
    assert has_suffix(name, ("png",)) is expected


@pytest.mark.parametrize("separator", ["-", "#", "__", "@a"])
def test_another_separator(separator):
    name = file_name(f"x_{separator}y", "png", "1", separator)
    assert label_of(name, separator) == f"x_{separator}y"
    with pytest.raises(SampleError, match=f"label and serial with '{separator}'"):
        label_of("ab.png", separator)


# --- class ids ---


def test_labels_and_classes():
    char_set = "0验a证"
    ids = label_to_ids("证0a", char_set)
    assert ids == [3, 0, 2]
    assert ids_to_label(np.array(ids), char_set) == "证0a"
    assert label_to_ids("b", ["a", "b"]) == [1]


def test_unknown_characters_are_named():
    with pytest.raises(SampleError, match="label 'aXbX' has 'X' 'b', not in char_set"):
        label_to_ids("aXbX", "a")


def test_unknown_characters_are_listed_once_in_their_order():
    assert unknown_characters("cXaXb", "abc") == ["X"]
    assert unknown_characters("ZaY", ("a",)) == ["Z", "Y"]


def test_label_of_another_length_says_both():
    with pytest.raises(SampleError, match="label 'abc' has 3 characters, expected 4"):
        label_to_ids("abc", "abc", 4)


def test_padding_after_the_end_of_a_label_is_no_character():
    assert ids_to_label(np.array([1, 0, PAD_ID, PAD_ID]), "ab") == "ba"


def test_classes_of_thousands_of_characters_are_found_once():
    """Each label must not cost what the char_set does: 20,000 times 7,000 is too much."""
    counted = CountedTuple(chr(0x4E00 + i) for i in range(7000))
    for _ in range(100):
        assert label_to_ids("一丁", counted) == [0, 1]
    assert counted.searched < 3


class CountedTuple(tuple):
    """Counts how often all of it is looked at."""

    searched = 0

    def __iter__(self):
        self.searched += 1
        return super().__iter__()

    def __hash__(self):
        self.searched += 1
        return super().__hash__()


def test_char_sets_that_differ_in_the_middle_are_told_apart():
    assert label_to_ids("b", ("a", "b", "c", "d")) == [1]
    assert label_to_ids("b", ("a", "c", "b", "d")) == [2]
    assert label_to_ids("b", "acbd") == [2]
    assert unknown_characters("b", ["a", "c", "x", "d"]) == ["b"]


# --- the labels of a folder ---


def test_label_is_that_of_the_list_else_of_the_name():
    labels = FolderLabels({"photo.png": "A/b", "xy-1.png": "listed"}, "-")
    assert labels.label("photo.png") == "A/b" and labels.label("xy-1.png") == "listed"
    assert labels.label("xy-2.png") == "xy"
    with pytest.raises(SampleError, match="label and serial with '-'"):
        labels.label("other.png")


def test_case_is_ignored_in_lists_and_names_alike():
    labels = FolderLabels({"photo.png": "Ab"}, ignore_case=True)
    assert (labels.label("photo.png"), labels.label("cD_1.png")) == ("ab", "cd")


def test_listed_image_gets_a_name_that_has_its_label():
    labels = FolderLabels({"my photo.JPG": "A/b"}, "-")
    assert labels.name_with_label("my photo.JPG") == "A%2Fb-my photo.JPG"
    assert labels.label(labels.name_with_label("my photo.JPG")) == "A/b"
    assert labels.name_with_label("xy-1.png") == "xy-1.png"


def test_list_of_labels_is_csv_with_quotes_blank_lines_and_spaces(tmp_path):
    (tmp_path / LABELS_FILE).write_text(
        '\ufeffFile , LABEL\n\n1.png , "a,b"\n2.png,"say ""a"""\n1.png,"a,b"\n', "utf-8"
    )
    assert read_label_list(ProjectPath(tmp_path)) == {"1.png": "a,b", "2.png": 'say "a"'}


def test_folder_without_a_list_has_none(tmp_path):
    assert read_label_list(ProjectPath(tmp_path)) == {}


@pytest.mark.parametrize(
    ("written", "label"),
    [
        ("cafe\u0301", "caf\u00e9"),
        ("\u1100\u1161", "\uac00"),  # Hangul, as macOS decomposes it
        ("12 ", "12"),
        ("\u300012", "12"),
        ("1 2", "1 2"),
        ("\uf900", "\uf900"),  # a single character, which a char_set may have
    ],
)
def test_labels_of_a_folder_are_spelled_in_one_way(written, label):
    assert FolderLabels().label(f"{written}_1.png") == label
    assert FolderLabels({"1.png": written}).label("1.png") == label


def test_label_of_blanks_is_none():
    with pytest.raises(SampleError, match="blanks alone"):
        FolderLabels().label(" _1.png")
