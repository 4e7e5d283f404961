"""Sums that captchas ask: their result, and none where a text is no sum."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlib.arithmetic import result_of


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("10x4=", 40),
        ("3+5=?", 8),
        ("3+5", 8),
        ("7-9=", -2),
        ("12÷4=?", 3),
        ("6 × 7 = ？", 42),
        ("６＋７＝", 13),
        ("8X2=", 16),
        ("2+3*4=", 14),
        ("(2+3)*4=", 20),
        ("9-2-3=", 4),
        ("-3+5=", 2),
        ("20/2:5", 2),
        ("三加五等于?", 8),
        ("九乘以八等于多少", 72),
        ("十二减三", 9),
        ("二十除以四=", 5),
        ("壹拾贰减去柒等于几?", 5),
        ("5乘3=?", 15),
        ("一百零五加两", 107),
        ("參加陸", 9),
        ("5—2=", 3),
    ],
)
def test_sums(text, result):
    assert result_of(text) == result


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1234",
        "-3",
        "--5",
        "ab3d",
        "x",
        "=",
        "3+",
        "+",
        "3++",
        "(3+5",
        "3)+5",
        "7/2=",
        "4/0=",
        "3=5",
        "2**3",
    ]
    + ["3+?=8", "__import__('os')", "9" * 50 + "+1", "1+1;", "加", "3加"],
)
def test_texts_that_are_no_sums(text):
    assert result_of(text) is None


@given(st.text("0123456789+-x=?()加减十 /:", max_size=12))
def test_any_text_is_answered(text):
    result_of(text)
