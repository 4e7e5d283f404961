"""Newer weights are served while requests go on; broken ones are refused."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cnnlib.errors import ModelError, OverloadError
from cnnlib.serving import batching, models
from cnnlib.serving.models import ModelReloader, ServedModel
from tests.serving.helpers import Named, Slow, wait_for

PIXELS = np.zeros((24, 40), np.uint8)


@pytest.fixture
def serve_model():
    """Return serve(recognizer) -> ServedModel, which is closed after the test."""
    served = []

    def serve(recognizer):
        served.append(ServedModel("a", recognizer))
        return served[-1]

    yield serve
    for model in served:
        model.close()


def text(model):
    return model.predict([PIXELS])[0].prediction.text


def test_newer_weights_are_served_once_they_are_tested(serve_model):
    old, new = Named("old"), Named("new")
    model = serve_model(old)
    since = model.describe()["since"]
    assert not model.reload() and text(model) == "old"
    time.sleep(0.002)
    old.newer = new
    assert model.reload() and text(model) == "new"
    assert model.describe()["since"] > since


def test_replaced_recogniser_is_left_to_its_runs_and_the_last_one_is_closed():
    old, new = Named("old"), Named("new")
    model = ServedModel("a", old)
    old.newer = new
    assert model.reload()
    model.close()
    assert (old.closed, new.closed) == (0, 1)
    with pytest.raises(OverloadError, match="stopping"):
        text(model)


@pytest.mark.parametrize("total", [float("nan"), 0.5])
def test_weights_that_give_no_probabilities_are_refused(serve_model, total):
    old, broken = Named("old"), Named("broken", total=total)
    model = serve_model(old)
    old.newer = broken
    with pytest.raises(ModelError, match="gives no probabilities"):
        model.reload()
    assert text(model) == "old" and (old.closed, broken.closed) == (0, 1)
    with pytest.raises(ModelError):
        ServedModel("a", broken)


def test_reloader_goes_on_after_errors_and_logs_each_once(serve_model, caplog):
    caplog.set_level(logging.INFO, "cnnlib")
    old, new = Named("old"), Named("new")
    old.newer = ModelError("cut off")
    model = serve_model(old)
    reloader = ModelReloader([model], interval_s=0.005)
    try:
        wait_for(lambda: "cut off" in caplog.text)
        old.newer = new
        wait_for(lambda: model.recognizer is new)
        new.newer = RuntimeError("unforeseen")
        wait_for(lambda: "unforeseen" in caplog.text)
        new.newer = Named("third")
        wait_for(lambda: model.recognizer.name == "third")
    finally:
        reloader.close()
        reloader.close()  # harmless


def test_refusal_is_logged_once_for_each_reason(serve_model, caplog):
    old = Named("old")
    reloader = ModelReloader([serve_model(old)], interval_s=3600)
    for reason in ("cut off", "cut off", "too large", "cut off"):
        old.newer = ModelError(reason)
        reloader.poll()
    reloader.close()
    assert (caplog.text.count("cut off"), caplog.text.count("too large")) == (2, 1)
    assert "model a goes on with what it has loaded: cut off" in caplog.text


def test_refusal_for_good_is_logged_once_though_it_is_tried_again(serve_model, caplog):
    old = Named("old")
    reloader = ModelReloader([serve_model(old)], interval_s=3600)
    outcomes = [ModelError("cut off"), None, None] * 5 + [MemoryError("small")] * 5
    old.load_newer = lambda: raised_or_returned(outcomes.pop(0))
    while outcomes:
        reloader.poll()
    reloader.close()
    assert (caplog.text.count("ERROR"), caplog.text.count("cut off")) == (2, 1)
    assert caplog.text.count("checking for new weights failed") == 1


def test_refusal_is_logged_again_after_a_time_without(serve_model, caplog, monkeypatch):
    old, now_s = Named("old"), [1000.0]
    reloader = ModelReloader([serve_model(old)], interval_s=3600)
    monkeypatch.setattr(models.time, "monotonic", lambda: now_s[0])
    for pause_s in (0, 60, 60, 3600):
        now_s[0] += pause_s
        old.newer = ModelError("no disk")
        reloader.poll()
    monkeypatch.undo()
    reloader.close()
    assert caplog.text.count("no disk") == 2


def test_weights_that_can_be_used_at_last_are_served(serve_model, caplog):
    """The recogniser tries again after each failure; whatever it was."""
    old = Named("old")
    model = serve_model(old)
    failures = [ModelError("half copied"), OSError("disk"), MemoryError(), Named("b", total=0.5)]
    outcomes = [None, *failures, None, Named("new")]
    old.load_newer = lambda: raised_or_returned(outcomes.pop(0))
    reloader = ModelReloader([model], interval_s=0.001)
    wait_for(lambda: model.recognizer.name == "new")
    reloader.close()
    assert text(model) == "new" and failures[3].closed == 1


def raised_or_returned(outcome):
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def test_model_that_never_stops_running_is_not_closed(monkeypatch):
    monkeypatch.setattr(batching, "CLOSE_S", 0.2)
    slow = Slow()
    model = ServedModel("a", slow)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(model.predict, [PIXELS])
        assert slow.entered.acquire(timeout=20)
        model.close()
        assert slow.closed == 0  # that would pull the ground from under the run
        slow.allowed.set()
        assert isinstance(asked.exception(20), OverloadError)


def test_reloader_does_not_wait_for_a_folder_that_never_answers(serve_model, monkeypatch, caplog):
    monkeypatch.setattr(models, "CLOSE_S", 0.2)
    hung = threading.Event()
    old = Named("old")
    old.load_newer = lambda: hung.wait(20) and None
    reloader = ModelReloader([serve_model(old)], interval_s=0.001)
    time.sleep(0.05)
    closing = threading.Thread(target=reloader.close, daemon=True)
    closing.start()
    closing.join(10)
    assert not closing.is_alive() and "loading newer weights does not end" in caplog.text
    hung.set()


def test_no_request_fails_or_waits_while_weights_are_reloaded(serve_model):
    model = serve_model(Named("0"))
    stop, failed = threading.Event(), []

    def ask():
        while not stop.is_set():
            try:
                int(text(model))
            except Exception as error:
                failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 200):
        model.recognizer.newer = Named(str(number))
        assert model.reload()
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed
