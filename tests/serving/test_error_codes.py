"""Each error has a status and an error_code, also one that is derived from it."""

import pytest

from cnnlib.errors import (
    CaptchaError,
    CharsetError,
    ImageFormatError,
    ImageSizeError,
    ImageTooLargeError,
    OverloadError,
    SampleError,
)
from cnnlib.serving import error_codes


@pytest.mark.parametrize(
    ("listed", "status"),
    [
        (ImageFormatError, 415),
        (ImageSizeError, 422),
        (CharsetError, 422),
        (error_codes.OptionError, 422),
        (ImageTooLargeError, 413),
        (OverloadError, 503),
    ],
)
def test_kind_of_a_listed_error_has_its_status(listed, status):
    child = type("Child", (listed,), {})
    grandchild = type("Grandchild", (child,), {})
    mixed = type("Mixed", (KeyError, listed), {})
    for kind in (listed, child, grandchild, mixed):
        assert error_codes.status_of(kind("x")) == status
        assert error_codes.error_body(kind("x"))["error_code"] == error_codes.ERROR_CODES[status]


def test_nearest_base_decides_the_status():
    both = type("Both", (ImageTooLargeError, ImageSizeError), {})
    assert error_codes.status_of(both("x")) == 413


@pytest.mark.parametrize("kind", [SampleError, CaptchaError, ValueError, Exception])
def test_error_that_is_not_listed_is_a_fault(kind):
    assert error_codes.status_of(kind("x")) == 500
