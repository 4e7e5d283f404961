"""What a kind of captcha is, and when two are the same."""

import dataclasses

import pytest

from cnnlib.captcha_spec import CaptchaSpec, fold_case, parse_char_set
from cnnlib.errors import ConfigError
from tests.helpers import CountedCharacter, counted_characters

SPEC = CaptchaSpec(24, 40, 4, ("a", "b", "c"), 2, 3, "pad")


@pytest.mark.parametrize("char_set", ["0验a", ["0", "验", "a"], ("0", "验", "a"), iter("0验a")])
def test_characters_keep_their_order(char_set):
    assert parse_char_set(char_set) == ("0", "验", "a")


@pytest.mark.parametrize(
    ("char_set", "expected"),
    [
        ("", "is empty: list the characters"),
        ((), "is empty: list the characters"),
        (["a", "bc"], "has the entry 'bc': every entry must be one character"),
        (["a", ""], "has the entry '': every entry must be one character"),
        ([1, 2], "has the entry 1: every entry must be one character"),
        ("abcab", "lists 'a', 'b' more than once: list every character once"),
    ],
)
def test_characters_that_cannot_be_classes_are_named(char_set, expected):
    with pytest.raises(ConfigError, match=f"^char_set {expected}"):
        parse_char_set(char_set)
    with pytest.raises(ConfigError, match=f"^labels.json {expected}"):
        parse_char_set(char_set, "labels.json")


def test_spec_refuses_characters_that_cannot_be_classes():
    with pytest.raises(ConfigError, match="'a' more than once"):
        CaptchaSpec(char_set=tuple("aa"))


def test_thousands_of_characters_are_checked_in_one_pass():
    characters = counted_characters()
    assert parse_char_set(characters) == tuple(characters)
    assert CaptchaSpec(char_set=tuple(characters)).char_set == tuple(characters)
    with pytest.raises(ConfigError, match="lists '一', '丁' more than once"):
        parse_char_set([*characters, characters[1], characters[0]])
    assert CountedCharacter.compared < 10 * len(characters)


@pytest.mark.parametrize(
    ("text", "folded"), [("aB验Z", "ab验z"), ("İx", "İx"), ("ẞ", "ß"), ("", "")]
)
def test_case_is_folded_without_a_change_of_length(text, folded):
    assert fold_case(text) == folded and len(fold_case(text)) == len(text)


def test_labels_are_learned_in_lower_case_where_case_is_ignored():
    assert SPEC.normalize("aB") == "aB"
    assert dataclasses.replace(SPEC, ignore_case=True).normalize("aB") == "ab"


def test_labels_have_one_length_where_no_other_is_named():
    spec = CaptchaSpec(max_captcha=4, char_set=("a", "b"))
    assert (spec.min_captcha, spec.has_end_class, spec.classes) == (4, False, 2)
    assert CaptchaSpec().min_captcha == 0


def test_a_class_more_says_that_a_shorter_text_has_ended():
    assert (SPEC.min_captcha, SPEC.has_end_class, SPEC.classes) == (2, True, 4)


@pytest.mark.parametrize(("channels", "shape"), [(1, (24, 40)), (3, (24, 40, 3))])
def test_shape_is_that_of_an_images_pixels(channels, shape):
    assert CaptchaSpec(24, 40, image_channels=channels).shape == shape


@pytest.mark.parametrize(
    ("spec", "lengths"),
    [
        (CaptchaSpec(), (5, 5)),
        (CaptchaSpec(min_captcha=2), (2, 5)),
        (CaptchaSpec(max_captcha=4), (5, 5)),  # of one length before and after
        (CaptchaSpec(min_captcha=3, max_captcha=8), (3, 5)),
        (CaptchaSpec(min_captcha=6, max_captcha=8), (5, 5)),
    ],
)
def test_lengths_of_a_constructor_win(spec, lengths):
    fixed = spec.with_fixed(24, 40, 5, "ab")
    assert (fixed.min_captcha, fixed.max_captcha) == lengths


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, []),
        ({"ignore_case": True}, []),
        ({"image_width": 100}, ["image_width 40, not 100"]),
        ({"char_set": tuple("ac")}, ["char_set abc, not ac"]),
        ({"resize": ""}, ["resize pad, not false"]),
        (
            {"min_captcha": 1, "image_channels": 1},
            ["min_captcha 2, not 1", "image_channels 3, not 1"],
        ),
    ],
)
def test_differences_show_both_values(changed, expected):
    assert list(SPEC.differences(dataclasses.replace(SPEC, **changed))) == expected


def test_case_is_a_difference_where_it_is_asked_for():
    other = dataclasses.replace(SPEC, ignore_case=not SPEC.ignore_case)
    assert [*SPEC.differences(other, with_case=True)] == ["ignore_case false, not true"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_captcha": 5, "max_captcha": 4}, "min_captcha is 5: .* at most max_captcha, 4"),
        ({"image_channels": 2}, "image_channels is 2: .* 1 .gray. or 3"),
        ({"resize": "crop"}, "resize is 'crop': .* 'pad', 'stretch'"),
    ],
)
def test_values_that_cannot_be_used_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        CaptchaSpec(**values)
