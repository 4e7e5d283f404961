"""The whole way on real files and real sockets: draw, split, train, test, serve, ask."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests
from PIL import Image

import recognize_local
import recognize_online
import recognize_time_test
import test_batch
import train_model
import verify_and_split_data
import webserver_recognize_api
from cnnlib.client import api_client
from cnnlib.dataset.images import read_pixels
from cnnlib.paths import PROJECT_ROOT
from cnnlib.recognizer import Recognizer
from cnnlib.serving.app import create_recognize_app
from gen_image import gen_sample_by_captcha
from tests.helpers import CAPTCHA, SAMPLE, Project, is_png, new_project
from tests.serving.helpers import wait_for

LABELS = "014"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose folder has a space, drawn, split and trained by the scripts."""
    project = new_project(tmp_path_factory.mktemp("end to end") / "my project")
    project.config_path.write_text(
        json.dumps(
            SAMPLE
            | {
                "char_set": LABELS,
                "max_captcha": 1,
                "network": "cnn5",
                "cycle_stop": 80,
                "acc_stop": 0.97,
                "cycle_save": 40,
                "train_batch_size": 32,
                "image_width": 32,
                "test_batch_size": 100,
            }
        ),
        encoding="utf-8",
    )
    project.captcha_config_path.write_text(
        json.dumps(CAPTCHA | {"characters": LABELS, "char_count": 1, "count": 1000, "width": 32}),
        encoding="utf-8",
    )
    captchas, samples = (
        ["--config", str(path)] for path in (project.captcha_config_path, project.config_path)
    )
    assert gen_sample_by_captcha.main([*captchas, "--seed", "3"]) == 0
    (project.root / "sample/origin/.DS_Store").touch()
    assert verify_and_split_data.main(samples) == 0
    assert train_model.main(samples) == 0
    return project


@contextmanager
def server(script: str, *arguments: str) -> Iterator[str]:
    """Run a server script on a free port, give its address, and stop it as systemd would."""
    command = [sys.executable, str(PROJECT_ROOT / script), "--port", "0", *arguments]
    # A pipe that nobody reads would hold the server when some hundred requests are logged.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, encoding="utf-8"
        ) as process:
            assert process.stdout
            try:
                yield process.stdout.readline().split()[-1]
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=30)
        assert process.returncode == 0 or sys.platform == "win32"
        log.seek(0)
        assert "Traceback" not in log.read()


@pytest.fixture(scope="module")
def api(pipeline: Project) -> Iterator[str]:
    with server("webserver_recognize_api.py", "--config", str(pipeline.config_path)) as url:
        yield url


def images(project: Project, name: str = "test") -> list[Path]:
    return sorted((project.root / "sample" / name).glob("*.png"))


def test_bad_file_stayed_and_the_others_were_split(pipeline: Project) -> None:
    assert [path.name for path in (pipeline.root / "sample/origin").iterdir()] == [".DS_Store"]
    assert (len(images(pipeline, "train")), len(images(pipeline))) == (950, 50)


def test_training_reached_a_high_accuracy(pipeline, capsys) -> None:
    assert test_batch.main(["--config", str(pipeline.config_path)]) == 0
    printed = capsys.readouterr().out
    match = re.match(r"50个样本识别耗时[\d.]+秒，准确率([\d.]+)%\n", printed)
    assert match and float(match[1]) >= 80, printed  # by chance: 33


def test_same_file_same_answer_everywhere(pipeline: Project, api: str) -> None:
    """Batch test, rec_image and HTTP, also for files of other modes than training saw."""
    c = pipeline.sample
    recognizer = Recognizer(
        c.image_height, c.image_width, c.max_captcha, c.char_set, c.model_save_dir
    )
    other_modes = pipeline.root / "other modes"
    other_modes.mkdir()
    files = images(pipeline)[:10]
    for mode, path in zip(("L", "RGBA", "P", "1", "LA"), files[:5], strict=True):
        Image.open(path).convert(mode).save(other_modes / path.name)
    Image.open(files[5]).convert("CMYK").save(other_modes / f"{files[5].stem}.jpg")
    for path in [*files, *sorted(other_modes.iterdir())]:
        alone = recognizer.rec_image(Image.open(path))
        pixels = read_pixels(path, c.spec)
        with path.open("rb") as file:
            answer = requests.post(api, files={"image_file": file}, timeout=10).json()
        assert alone == recognizer.predict_pixels(pixels[None])[0].text == answer["value"]
        assert set(answer) == {"time", "value", "speed_time(ms)", "confidence", "char_confidences"}


def test_api_keeps_what_it_received(pipeline: Project, api: str) -> None:
    data = images(pipeline)[0].read_bytes()
    answer = requests.post(api, files={"image_file": data}, timeout=10).json()
    kept = pipeline.root / "sample/api" / f"{answer['value']}_{answer['time']}.png"
    wait_for(kept.exists)  # it is written after the answer
    assert kept.read_bytes() == data


def test_api_loads_a_newer_model_while_it_serves(pipeline: Project, api: str) -> None:
    models = api.removesuffix("b") + "models"
    [before] = requests.get(models, timeout=10).json()["models"]
    assert train_model.main(["--config", str(pipeline.config_path), "--fresh"]) == 0

    def is_loaded() -> bool:
        data = images(pipeline)[0].read_bytes()
        assert requests.post(api, files={"image_file": data}, timeout=10).status_code == 200
        [now] = requests.get(models, timeout=10).json()["models"]
        return bool(now["since"] > before["since"])

    wait_for(is_loaded)


def test_recognize_local(pipeline: Project, api: str, capsys) -> None:
    options = ["--config", str(pipeline.config_path), "--api-url", api]
    chosen = images(pipeline)[:4]
    assert recognize_local.main([*map(str, chosen), *options]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 5
    assert printed[-1] == f"{sum('right' in line for line in printed[:-1])} of 4 right"
    assert len(images(pipeline, "local")) == 4
    assert recognize_local.main(options) == 0  # a random test image
    folder = pipeline.root / "sample" / "test"
    capsys.readouterr()
    assert recognize_local.main([str(folder), *options]) == 0
    *lines, counted = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == list(map(str, images(pipeline)))
    assert counted == f"{sum('right' in line for line in lines)} of {len(lines)} right"
    wrong_size = pipeline.root / "0_wrong.png"
    Image.new("L", (9, 9)).save(wrong_size)
    assert recognize_local.main([str(wrong_size), *options]) == 1
    assert "error 1003" in capsys.readouterr().err
    assert recognize_local.main(["nowhere.png", *options]) == 2


def test_recognize_online(pipeline: Project, api: str, capsys) -> None:
    captchas = ("webserver_captcha_image.py", "--config", str(pipeline.captcha_config_path))
    with server(*captchas, "--show-answers") as url:
        arguments = [
            "--times",
            "5",
            "--config",
            str(pipeline.config_path),
            "--remote-url",
            url,
            "--api-url",
            api,
        ]
        assert recognize_online.main(arguments) == 0
    assert re.search(r"^[2345] of 5 right$", capsys.readouterr().out, re.M)
    assert len(images(pipeline, "online")) == 5


def test_recognize_time_test(pipeline: Project, api: str, capsys) -> None:
    assert (
        recognize_time_test.main(
            [
                "--times",
                "20",
                "--concurrency",
                "3",
                "--config",
                str(pipeline.config_path),
                "--api-url",
                api,
            ]
        )
        == 0
    )
    printed = capsys.readouterr().out
    lines = re.findall(
        r"^\d+,\w,\d\d:\d\d:\d\d,总耗时：(\d+)ms,识别：(\d+)ms,请求：(\d+)ms$", printed, re.M
    )
    assert len(lines) == 20
    assert all(
        int(total) == int(recognition) + int(request) for total, recognition, request in lines
    )
    assert "20 answered, 0 failed" in printed and "99 %" in printed
    with open(pipeline.root / "test.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 20
    for name in ("test.png", "test_over_time.png"):
        assert is_png(pipeline.root / name)
    assert (
        recognize_time_test.main(
            [
                str(pipeline.root / "sample" / "test"),
                "--duration",
                "1",
                "--raw",
                "--config",
                str(pipeline.config_path),
                "--api-url",
                api,
            ]
        )
        == 0
    )
    assert re.search(r"^[1-9]\d* answered, 0 failed", capsys.readouterr().out, re.M)


@pytest.mark.parametrize("client", [recognize_local, recognize_online, recognize_time_test])
def test_client_without_a_server_names_the_command(pipeline, client, capsys, monkeypatch) -> None:
    monkeypatch.setattr(api_client, "BACKOFF_S", 0.001)
    arguments = ["--config", str(pipeline.config_path), "--api-url", "http://127.0.0.1:9/b"]
    if client is recognize_online:
        arguments += ["--remote-url", "http://127.0.0.1:9/captcha/"]
    assert client.main(arguments) == 2
    assert re.search(
        r"^error: no answer from .*`python3 webserver_\w+\.py`", capsys.readouterr().err
    )


def test_second_model_is_one_more_line(pipeline: Project) -> None:
    config = pipeline.sample
    recognizers = webserver_recognize_api.load_recognizers(config) | {
        "shop": Recognizer.from_config(config)
    }
    app = create_recognize_app(recognizers)
    with closing(app.extensions["service"]):
        client = app.test_client()
        for address in ("/b", "/b/default", "/b/shop"):
            with images(pipeline)[0].open("rb") as file:
                answer = client.post(address, data={"image_file": (file, "x.png")})
            assert answer.status_code == 200 and answer.get_json()["value"] in LABELS
        assert client.post("/b/none").status_code == 404


def test_scripts_work_from_any_folder_and_explain_themselves(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, PROJECT_ROOT / "train_model.py", "--help"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert "python3 train_model.py --recognize" in done.stdout


@pytest.mark.parametrize("script", [train_model, test_batch, webserver_recognize_api])
def test_missing_config_is_one_line_and_exit_2(script, capsys) -> None:
    assert script.main(["--config", "conf/nowhere.json"]) == 2
    assert re.fullmatch(r"error: .*nowhere\.json does not exist.*\n", capsys.readouterr().err)
