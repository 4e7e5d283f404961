"""The script of the recognition API and its factory: their options, without a trained model."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack

import pytest

import webserver_recognize_api as script
from cnnlib.errors import ConfigError
from cnnlib.serving import batching
from cnnlib.serving import service as service_module
from tests.helpers import SAMPLE, names_in
from tests.serving.helpers import Named, png, upload, wait_for


class FromConfig(Named):
    """A recogniser that reads the file name of its config."""

    loaded: list[FromConfig]

    def __init__(self, config):
        super().__init__(config.api_url.rpartition("/")[2])
        self.loaded.append(self)


@pytest.fixture
def configs(tmp_path):
    """Configs a.json and b.json of a project, each with its name as the end of api_url."""
    conf = tmp_path / "project" / "conf"
    conf.mkdir(parents=True)
    for name in "ab":
        values = SAMPLE | {"api_url": f"http://127.0.0.1/{name}", "image_suffix": "jpg"}
        (conf / f"{name}.json").write_text(json.dumps(values), encoding="utf-8")
    return conf


@pytest.fixture
def fakes(monkeypatch):
    """The recognisers that are loaded, none of which needs TensorFlow."""
    monkeypatch.setattr(FromConfig, "loaded", [], raising=False)
    monkeypatch.setattr(script, "load_recognizer", FromConfig)
    return FromConfig.loaded


@pytest.fixture
def create(configs, fakes):
    """Return create_app, for a.json; each application is closed after the test."""
    with ExitStack() as opened:

        def make(*arguments, **options):
            app = script.create_app(configs / "a.json", *arguments, **options)
            opened.callback(app.extensions["service"].close)
            return app

        yield make


def answer(app, address="/b", **arguments):
    return app.test_client().post(address, **upload(png()), **arguments)


# --- several models ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shop=conf/shop.json", ("shop", "conf/shop.json")),
        ("shop=/a b/c=d.json", ("shop", "/a b/c=d.json")),
        ("验证=x", ("验证", "x")),
    ],
)
def test_model_option(text, expected):
    assert script.named_config(text) == expected


@pytest.mark.parametrize("text", ["shop", "shop=", "=conf/shop.json", "=", ""])
def test_model_option_of_a_wrong_form_is_refused(text, fakes, capsys):
    with pytest.raises(SystemExit) as exit:
        script.main(["--model", text])
    assert exit.value.code == 2 and not fakes
    shown = capsys.readouterr().err
    assert f"{text!r} is not NAME=CONFIG, such as shop=conf/shop.json" in shown


def test_models_answer_at_their_own_addresses(create, configs):
    app = create(models=[("shop", str(configs / "b.json"))])
    addresses = ("/b", "/b/default", "/b/shop")
    assert [answer(app, path).get_json()["value"] for path in addresses] == ["a", "a", "b"]
    assert answer(app, "/b/other").status_code == 404
    described = app.test_client().get("/models").get_json()["models"]
    assert [model["name"] for model in described] == ["default", "shop"]


@pytest.mark.parametrize("line_in_code", [False, True])
def test_further_model_may_be_a_line_in_load_recognizers(
    create, configs, monkeypatch, line_in_code
):
    if line_in_code:
        load = script.load_recognizers

        def more(config):
            return load(config) | {"code": Named("code")}

        monkeypatch.setattr(script, "load_recognizers", more)
    app = create(models=[("option", str(configs / "b.json"))])
    assert answer(app, "/b/option").get_json()["value"] == "b"
    assert answer(app, "/b/code").status_code == (200 if line_in_code else 404)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--model", "default={b}"], "two models are named default"),
        (["--model", "x={b}", "--model", "x={b}"], "two models are named x"),
        (["--model", "a b={b}"], "model name 'a b' cannot be part of an address"),
        (["--model", "x={none}"], "none.json does not exist"),
        (["--api-key-file", "{none}"], "none.json cannot be read"),
        (["--port", "99999"], "cannot listen on port 99999"),
    ],
)
def test_options_that_cannot_be_used_are_one_line_and_exit_2(
    configs, fakes, capsys, options, expected
):
    paths = {name: str(configs / f"{name}.json") for name in ("b", "none")}
    options = [option.format(**paths) for option in options]
    assert script.main(["--config", str(configs / "a.json"), "--no-save", *options]) == 2
    assert re.fullmatch(rf"error: .*{expected}.*\n", capsys.readouterr().err)
    assert all(fake.closed for fake in fakes)  # nothing that was loaded is left


def test_main_hands_its_options_on(configs, fakes, monkeypatch, capsys):
    made = []

    class FakeServer:
        url = "http://127.0.0.1:7000"

        def __init__(self, app, host, port):
            made.append((app, host, port))

        def run_until_signal(self):
            [(app, *_)] = made
            assert answer(app, "/b/shop", headers={"X-API-Key": "key"}).status_code == 200
            assert answer(app).status_code == 401

    monkeypatch.setattr(script, "Server", FakeServer)
    (configs / "keys.txt").write_text("key\n")
    arguments = ["--config", str(configs / "a.json"), "--model", f"shop={configs / 'b.json'}"]
    arguments += ["--api-key-file", str(configs / "keys.txt"), "--cors-origin", "https://x.example"]
    assert script.main([*arguments, "--no-save", "--host", "0.0.0.0", "--port", "7000"]) == 0
    [(app, host, port)] = made
    assert (host, port) == ("0.0.0.0", 7000)
    assert answer(app).headers["Access-Control-Allow-Origin"] == "https://x.example"
    said = "listening on http://127.0.0.1:7000/b\na page to try it: http://127.0.0.1:7000/\n"
    assert capsys.readouterr().out == said
    assert [fake.closed for fake in fakes] == [1, 1]


# --- the factory ---


def test_images_are_saved_to_the_folder_of_the_config(create, configs):
    app = create()
    assert answer(app).status_code == 200
    app.extensions["service"].close()
    [name] = names_in(configs.parent / "sample" / "api")
    assert re.fullmatch(r"a_[\d.]+\.jpg", name)


def test_nothing_is_saved_where_that_is_not_wanted(create, configs):
    for app in (create(save=False), create(False)):
        assert answer(app).status_code == 200
        app.extensions["service"].close()
    assert names_in(configs.parent) == ["conf"]


def test_api_key_file(create, tmp_path):
    (tmp_path / "keys.txt").write_text("one\ntwo\n")
    app = create(save=False, api_key_file=tmp_path / "keys.txt")
    assert answer(app).status_code == 401
    assert answer(app, headers={"X-API-Key": "two"}).status_code == 200
    with pytest.raises(ConfigError, match="none.txt cannot be read"):
        create(save=False, api_key_file=tmp_path / "none.txt")


@pytest.mark.parametrize("origin", ["*", "https://shop.example", ""])
def test_cors_origin(create, origin):
    headers = answer(create(save=False, cors_origin=origin)).headers
    assert headers.get("Access-Control-Allow-Origin", "") == origin


@pytest.mark.parametrize("size", [1, 3])
def test_max_batch_size(create, monkeypatch, size):
    made = []
    batcher = batching.Batcher.__init__

    def noted(self, predict, **options):
        made.append(options)
        batcher(self, predict, **options)

    monkeypatch.setattr(batching.Batcher, "__init__", noted)
    create(save=False, max_batch_size=size)
    assert [options["max_batch_size"] for options in made] == [size]


@pytest.mark.parametrize(("variable", "threads"), [(None, 7), ("", 7), ("1", 1), ("3", 3)])
def test_runs_at_a_time_are_those_of_the_cores_or_of_the_environment(
    create, monkeypatch, variable, threads
):
    monkeypatch.setattr(batching, "usable_cores", lambda: 7)
    monkeypatch.delenv("TF_NUM_INTEROP_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("TF_NUM_INTEROP_THREADS", variable)
    service = create(save=False).extensions["service"]
    assert len(service.models["default"].batcher._threads) == threads


def test_newer_weights_are_looked_for(create, fakes, monkeypatch):
    monkeypatch.setattr(service_module, "POLL_S", 0.005)
    app = create(save=False)
    fakes[0].newer = Named("new")
    wait_for(lambda: answer(app).get_json()["value"] == "new")
