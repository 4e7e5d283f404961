"""What the service makes of images, what it reports, and how it ends."""

from __future__ import annotations

import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.dataset.images import to_pixels
from cnnlib.errors import ModelError
from cnnlib.serving import service as service_module
from cnnlib.serving.app import create_recognize_app
from cnnlib.serving.service import RecognizeService, ServingOptions
from tests.serving.helpers import Failing, Named, Slow, png, upload, wait_for


def test_answer_has_the_keys_and_types_of_version_2(client):
    answer = client.post("/b", **upload(png()))
    assert answer.status_code == 200
    body = answer.get_json()
    assert list(body) == ["time", "value", "speed_time(ms)", "confidence", "char_confidences"]
    assert re.fullmatch(r"\d{10}\.\d+", body["time"])
    assert abs(float(body["time"]) - time.time()) < 60
    assert (body["value"], body["confidence"]) == ("验a", 0.987654)
    assert body["char_confidences"] == [0.991235, 0.5]
    assert isinstance(body["speed_time(ms)"], int)
    assert "验a" in answer.get_data(as_text=True)


def test_several_images_have_their_results_in_order_and_errors_in_their_places(client):
    answer = client.post("/b", **upload(png(), b"not an image", png(41), png()))
    assert answer.status_code == 200
    body = answer.get_json()
    assert list(body) == ["time", "speed_time(ms)", "results"]
    assert [found.get("value") for found in body["results"]] == ["验a", None, None, "验a"]
    assert [found.get("error_code") for found in body["results"]] == [None, "1002", "1003", None]


def test_size_chooses_the_model(make_app):
    client = make_app(Named("a"), Named("wide", 80)).test_client()
    images = upload(*map(png, (80, 40, 50)))
    results = client.post("/b?route=size", **images).get_json()["results"]
    assert [found.get("value") for found in results] == ["wide", "a", None]
    assert "image of 50x24; the models take a 40x24, wide 80x24" in results[2]["message"]
    assert client.post("/b?route=size", **upload(png(80))).get_json()["value"] == "wide"
    assert client.post("/b", **upload(png(80))).status_code == 422


def test_full_queue_refuses_at_once(make_app):
    slow = Slow()
    client = make_app(slow, max_queue_size=1).test_client()
    first = threading.Thread(target=lambda: client.post("/b", **upload(png())))
    first.start()
    assert slow.entered.acquire(timeout=20)
    answer = client.application.test_client().post("/b", **upload(png()))
    assert (answer.status_code, answer.get_json()["error_code"]) == (503, "1005")
    assert int(answer.headers["Retry-After"]) >= 1
    slow.allowed.set()
    first.join(20)
    assert client.post("/b", **upload(png())).status_code == 200


def test_few_threads_decode_large_images_whatever_number_asks(make_app):
    """The memory that a thread has used for one stays with it."""
    decoders = set()

    class Resizing(Named):
        def pixels_of(self, image):
            if image.width > 500:
                decoders.add(threading.get_ident())
            return to_pixels(image, CaptchaSpec(24, 40, resize="pad"))

    app = make_app(Resizing("a"), Resizing("b"))
    with ThreadPoolExecutor(12) as pool:
        addresses = ["/b", "/b/b", "/b?route=size"] * 8
        answers = pool.map(
            lambda to: app.test_client().post(to, **upload(png(700, 500))), addresses
        )
        assert {answer.status_code for answer in answers} == {200}
    assert len(decoders) <= service_module.LARGE_THREADS
    refused = app.test_client().post("/b", **upload(png(700, 500)[:-40]))
    assert (refused.status_code, refused.get_json()["error_code"]) == (415, "1002")
    app.extensions["service"].close()
    answer = app.test_client().post("/b", **upload(png(700, 500)))
    assert (answer.status_code, answer.get_json()["error_code"]) == (503, "1005")


# --- saved images ---


def test_images_are_saved_under_safe_names(make_app, tmp_path):
    folder = tmp_path / "api images"
    app = make_app(Named("shop"), api_image_dir=folder, image_suffix="jpg")
    fields = {"charset": "1a0b", "min_confidence": "0.99"}  # also a text that is a mere candidate
    data = png()
    answer = app.test_client().post("/b", **upload(data, name="../../evil.png", **fields))
    app.extensions["service"].close()
    [saved] = folder.iterdir()
    assert saved.name == f"1a0b_{answer.get_json()['time']}.jpg" and saved.read_bytes() == data


def test_folder_that_cannot_be_written_is_a_log_line_and_a_count(make_app, tmp_path, caplog):
    (tmp_path / "file").touch()
    app = make_app(Named("a"), api_image_dir=tmp_path / "file")
    assert app.test_client().post("/b", **upload(png())).status_code == 200
    app.extensions["service"].close()
    assert "images are not kept" in caplog.text
    metrics = app.test_client().get("/metrics").get_data(as_text=True)
    assert 'captcha_images_not_kept_total{reason="failed"} 1.0' in metrics


# --- reports ---


def test_models_describes_each(client):
    body = client.get("/models").get_json()
    assert body["pid"] == os.getpid()
    assert [model["name"] for model in body["models"]] == ["验a", "shop"]
    model = body["models"][0]
    assert abs(model.pop("since") - time.time()) < 60
    assert model == {
        "name": "验a",
        "width": 40,
        "height": 24,
        "characters": "ab01",
        "step": 7,
        "accuracy": 0.99,
    }


def test_health_is_ready_only_while_every_model_answers(make_app):
    client = make_app(Named("a")).test_client()
    assert client.get("/health/live").status_code == 200
    assert client.get("/health/ready").get_json() == {"status": "ready", "models": {"a": "ready"}}
    client = make_app(Named("a"), Failing("b")).test_client()
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.get_json()["models"] == {"a": "ready", "b": "fails"}
    assert client.get("/health/live").status_code == 200


# --- the end ---


def threads():
    return {thread.name for thread in threading.enumerate() if thread.name != "MainThread"}


def test_close_ends_the_threads_and_closes_the_models_once(tmp_path):
    before = threads()
    named = Named("a"), Named("b")
    options = ServingOptions(api_image_dir=tmp_path, hot_reload=True, num_batch_threads=2)
    service = RecognizeService({model.name: model for model in named}, options)
    assert {"batcher", "uploads", "model-reloader"} <= threads()
    service.close()
    assert threads() <= before
    service.close()
    assert [model.closed for model in named] == [1, 1]


def test_closed_service_refuses_images(client):
    client.application.extensions["service"].close()
    answer = client.post("/b", **upload(png()))
    assert (answer.status_code, answer.get_json()["error_code"]) == (503, "1005")
    assert "stopping" in answer.get_json()["message"]


def test_model_that_does_not_work_leaves_no_thread_of_those_before_it():
    before, working = threads(), Named("a")
    with pytest.raises(ModelError, match="the model b gives no probabilities"):
        create_recognize_app({"a": working, "b": Named("b", total=0.5)})
    assert threads() <= before and working.closed == 1


def test_newer_weights_are_served_without_a_restart(make_app, monkeypatch):
    monkeypatch.setattr(service_module, "POLL_S", 0.005)
    old = Named("old")
    client = make_app(old, hot_reload=True).test_client()
    old.newer = Named("new")
    wait_for(lambda: client.post("/b", **upload(png())).get_json()["value"] == "new")
