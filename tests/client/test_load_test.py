"""The load test, its summary and its table."""

from __future__ import annotations

import csv
import math

import pytest

from cnnlib.client import api_client
from cnnlib.client.api_client import Answer
from cnnlib.client.load_test import Trial, load_test, spread, summarize, write_csv
from cnnlib.errors import ServiceError
from tests.client.helpers import GOOD, REFUSED


def test_load_test_counts_answers_and_failures(server):
    url, _ = server(GOOD, GOOD, REFUSED, GOOD)
    trials = list(load_test(url, [b"image"], times=10, concurrency=3))
    assert sorted(trial.index for trial in trials) == list(range(1, 11))
    report = summarize(trials)
    assert (report.answered, report.failed) == (9, 1)
    assert report.requests_per_s > 0 and report.times["total_ms"].mean > 0


def test_load_test_of_a_duration_asks_about_each_image_in_turn(server):
    url, handler = server(GOOD)
    trials = load_test(url, [b"1", b"2"], None, 2, duration_s=0.3, raw=True)
    assert 0 < len(list(trials)) == handler.asked - 1


def test_load_test_that_is_left_early_ends(server):
    url, _ = server(GOOD)
    trials = load_test(url, [b"image"], None, 3)
    assert next(trials).answer
    trials.close()


def test_load_test_ends_at_once_where_the_server_is_not_there(monkeypatch):
    monkeypatch.setattr(api_client, "BACKOFF_S", 0.001)
    with pytest.raises(ServiceError, match="no answer from"):
        next(load_test("http://127.0.0.1:9/b", [b"image"], 10))


def test_spread():
    times = spread([4.0, 1.0, 3.0, 2.0, 5.0])
    assert (times.mean, times.p50) == (3.0, 3.0)
    assert times.p90 == pytest.approx(4.6) and times.p99 == pytest.approx(4.96)
    assert math.isnan(spread([]).p50)


def test_csv_has_the_columns_in_the_order_of_the_requests(tmp_path):
    trials = [
        Trial(2, 1.0, 2.0, "10:00:01", Answer("b", 0.5, 20.04, 5.0)),
        Trial(3, 1.0, 2.0, "10:00:02", None, ServiceError("x")),
        Trial(1, 0.0, 1.0, "10:00:00", Answer("验", 0.5, 10.0, 4.0)),
    ]
    write_csv(trials, tmp_path / "test.csv")
    with open(tmp_path / "test.csv", encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["index", "value", "time", "total_ms", "recognize_ms", "request_ms"],
            ["1", "验", "10:00:00", "10.0", "4.0", "6.0"],
            ["2", "b", "10:00:01", "20.0", "5.0", "15.0"],
        ]
