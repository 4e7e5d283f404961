"""What wrk prints, as figures."""

from __future__ import annotations

import pytest

from bench.lib.load import Load, parse_wrk
from cnnlib.errors import CaptchaError

PRINTED = """Running 5s test @ http://127.0.0.1:6400/b
  Latency Distribution
     50%   28.11ms
     99%   {slowest}
  2660 requests in 5.00s, 0.91MB read
{refused}Requests/sec:    531.99
"""


@pytest.mark.parametrize(
    ("slowest", "p99_ms"), [("55.34ms", 55.34), ("1.58s", 1580.0), ("250.00us", 0.25)]
)
def test_the_slowest_hundredth_is_in_milliseconds(slowest: str, p99_ms: float) -> None:
    assert parse_wrk(PRINTED.format(slowest=slowest, refused=""), 5).p99_ms == pytest.approx(p99_ms)


def test_refused_requests_are_no_answers() -> None:
    refused = "  Non-2xx or 3xx responses: 160\n"
    assert parse_wrk(PRINTED.format(slowest="9.00ms", refused=refused), 5) == Load(500.0, 9.0, 160)


def test_a_wrk_that_fails_is_reported() -> None:
    with pytest.raises(CaptchaError, match="unable to connect"):
        parse_wrk("unable to connect to 127.0.0.1:6400", 5)
