"""The demo: draw captchas, train on them, test, serve, recognise."""

from __future__ import annotations

import datetime
import json
import os
import re
import time
from pathlib import Path
from typing import Any

from bootstrap.machine import machine
from bootstrap.processes import ROOT, Failed, run_step, say, serving, shown
from bootstrap.state import read_json, write_json
from bootstrap.virtual_environment import venv_python

DEMO_CONFIG = "conf/demo_config.json"
DEMO_CAPTCHAS = "conf/demo_captcha_config.json"


class Demo:
    """The steps of the demo; those that an earlier run has done are skipped.

    The time of a step that was skipped, or started by an earlier run, is the one measured then.
    """

    def __init__(self, images: int | None, steps: int | None) -> None:
        self.config, captchas = (
            json.loads((ROOT / name).read_text("utf-8")) for name in (DEMO_CONFIG, DEMO_CAPTCHAS)
        )
        self.images: int = captchas["count"] if images is None else images
        self.cycle_stop: int = self.config["cycle_stop"] if steps is None else steps
        self.model_dir = ROOT / self.config["model_save_dir"]
        self.result_file = self.model_dir / "demo_result.json"
        self.seconds = dict(read_json(self.result_file).get("seconds", {}))

    def run(self) -> None:
        say(
            f"The demo draws {self.images} practice captchas, trains a network on them, tests it "
            "and recognises ten new ones through the API.\nOn two cores it takes 4 to 10 minutes."
        )
        began_s = time.monotonic()
        self._draw()
        self._split()
        self._train()
        tested = self._step(
            "test",
            "4/5 Test on images that the training did not learn from (some seconds)",
            ["test_batch.py", "--config", DEMO_CONFIG],
        )
        say("5/5 Start both servers and recognise ten captchas online (about ten seconds)")
        online_began_s = time.monotonic()
        online = recognize_online()
        self.seconds["online"] = round(time.monotonic() - online_began_s, 1)
        result = {
            **batch_scores(tested),
            **online_scores(online),
            "images": self.images,
            "step": read_json(self.model_dir / "model.json").get("step"),
            "seconds": self.seconds,
            "date": datetime.date.today().isoformat(),
            **machine(),
        }
        write_json(self.result_file, result)
        say(summary(result, time.monotonic() - began_s, self.config["model_save_dir"]))
        say(next_steps())

    def _draw(self) -> None:
        drawn = self._count_images("origin", "train", "test")
        if drawn >= self.images:
            say(f"1/5 {drawn} captchas are drawn already")
            return
        missing = self.images - drawn
        script = "gen_image/gen_sample_by_captcha.py"
        self._step(
            "draw",
            f"1/5 Draw {missing} captchas (about a minute for 20,000)",
            [script, "--config", DEMO_CAPTCHAS, "--count", str(missing)],
            whole=drawn == 0,
        )

    def _split(self) -> None:
        nothing_split = not self._count_images("train", "test")
        self._step(
            "split",
            "2/5 Verify and split (some seconds)",
            ["verify_and_split_data.py", "--config", DEMO_CONFIG],
            whole=nothing_split,
        )

    def _train(self) -> None:
        if is_trained(self.model_dir):
            say(f"3/5 The network in {self.config['model_save_dir']} is trained already")
            return
        fresh = not (self.model_dir / "model.json").exists()
        self._step(
            "train",
            f"3/5 Train {self.cycle_stop} steps (2 to 7 minutes for 1,200 on two cores)",
            ["train_model.py", "--config", DEMO_CONFIG, "--cycle-stop", str(self.cycle_stop)],
            whole=fresh,
        )

    def _step(self, name: str, text: str, command: list[str], whole: bool = True) -> str:
        """Run a script and return its output; `whole`: nothing of it was done before."""
        say(text)
        began_s = time.monotonic()
        output = run_step(name, script(*command))
        if whole:
            self.seconds[name] = round(time.monotonic() - began_s, 1)
        return output

    def _count_images(self, *names: str) -> int:
        folders = (ROOT / self.config[f"{name}_image_dir"] for name in names)
        suffix = self.config["image_suffix"]
        return sum(
            entry.name.endswith(suffix)
            for folder in folders
            if folder.is_dir()
            for entry in os.scandir(folder)
        )


def is_trained(model_dir: Path) -> bool:
    training = read_json(model_dir / "model.json").get("run")
    return isinstance(training, dict) and training.get("done") is True


def script(name: str, *arguments: str) -> list[str]:
    return [venv_python(), str(ROOT / name), *arguments]


def recognize_online() -> str:
    captchas = script(
        "webserver_captcha_image.py", "--config", DEMO_CAPTCHAS, "--show-answers", "--port", "0"
    )
    api = script("webserver_recognize_api.py", "--config", DEMO_CONFIG, "--no-save", "--port", "0")
    with serving(captchas) as remote_url, serving(api) as api_url:
        client = ["recognize_online.py", "--config", DEMO_CONFIG, "--times", "10"]
        urls = ["--remote-url", remote_url, "--api-url", api_url]
        return run_step("online", script(*client, *urls))


def batch_scores(output: str) -> dict[str, Any]:
    """Read the line that test_batch.py prints: number of samples, seconds, accuracy."""
    match = re.search(r"(\d+)个样本识别耗时[\d.]+秒，准确率([\d.]+)%", output)
    if not match:
        raise Failed("test_batch.py printed no accuracy: see its output above")
    return {"tested": int(match[1]), "accuracy_percent": round(float(match[2]), 2)}


def online_scores(output: str) -> dict[str, Any]:
    match = re.search(r"(\d+) of (\d+)\b.*\bright", output)
    if not match:
        raise Failed("recognize_online.py did not say how many were right: see its output above")
    return {"online_right": int(match[1]), "online_total": int(match[2])}


def summary(result: dict[str, Any], total_s: float, model_dir: str) -> str:
    seconds = ", ".join(f"{name} {value}" for name, value in result["seconds"].items())
    return (
        f"Right: {result['accuracy_percent']} % of {result['tested']} test images, "
        f"{result['online_right']} of {result['online_total']} online.\n"
        f"This run took {total_s:.0f} s; seconds per step: {seconds}.\n"
        f"Kept in {model_dir}demo_result.json."
    )


def next_steps() -> str:
    python = shown([os.path.relpath(venv_python(), ROOT)])
    return (
        "Next, your own captchas (more in README.md), with a folder of labelled images:\n"
        f"  {python} new_project.py FOLDER_OF_IMAGES --go\n"
        f"  {python} webserver_recognize_api.py --config conf/FOLDER_OF_IMAGES.json\n"
        "and in a second terminal\n"
        f"  {python} recognize_local.py --config conf/FOLDER_OF_IMAGES.json"
    )
