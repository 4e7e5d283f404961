#!/usr/bin/env python3
"""Two commands for a fresh machine, with nothing but Python 3.10 to 3.13:

    python3 quickstart.py demo     draw captchas, train on them, test, serve, recognise
    python3 quickstart.py test     ruff, mypy and pytest; more arguments go to pytest

Both first make a virtual environment in .venv (where there is none) and install requirements.txt
into it, test also requirements-dev.txt: 2 to 10 minutes once, about 2 GB. Later runs start at once.

The demo reads conf/demo_captcha_config.json and conf/demo_config.json and writes only to
sample/demo, model/demo and logs/demo. Started again, it draws and trains nothing twice; an
interrupted training goes on.
"""

# This file runs before anything is installed, and it must still compile on a Python that is too
# old, to say so: standard library only, annotations of newer kinds in quotes.

import argparse
import contextlib
import datetime
import hashlib
import importlib.util
import json
import os
import platform
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent
OLDEST, NEWEST = (3, 10), (3, 13)
VENV = ROOT / ".venv"
STATE = VENV / "quickstart.json"  # requirements file -> SHA-256 of what was installed
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")
DEMO = "conf/demo_config.json"
DEMO_CAPTCHAS = "conf/demo_captcha_config.json"
VECTORS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")  # what decides the speed, best first
SERVER_START_S = 180
STOP_S = 15


class Failed(Exception):
    """A step did not succeed; the message says which one and what to do."""


class Terminated(KeyboardInterrupt):
    """This process alone was told to stop; Ctrl-C on a terminal reaches its children too."""


def main(argv: "list[str] | None" = None) -> int:
    wrong = wrong_python(sys.version_info[:2])
    if wrong:
        print(wrong, file=sys.stderr)
        return 2
    options, pytest_arguments = parse(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if options.command == "test":
            prepare(REQUIREMENTS)
            return test(pytest_arguments)
        prepare(REQUIREMENTS[:1])
        demo(options.images, options.steps)
        return 0
    except Failed as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: run the same command again to go on", file=sys.stderr)
        return 130


def _interrupt(*_: object) -> None:
    raise Terminated


def parse(argv: "list[str]") -> "tuple[argparse.Namespace, list[str]]":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="{demo,test}")
    demo_parser = commands.add_parser("demo", help="the whole pipeline on practice captchas")
    demo_parser.add_argument("--images", type=int, metavar="N",
                             help=f"practice captchas to draw (default: count in {DEMO_CAPTCHAS})")
    demo_parser.add_argument("--steps", type=int, metavar="N",
                             help=f"training steps (default: cycle_stop in {DEMO})")
    commands.add_parser("test", help="ruff, mypy and pytest", add_help=False)
    if argv[:1] == ["test"]:
        return parser.parse_args(["test"]), argv[1:]
    return parser.parse_args(argv), []


def wrong_python(version: "tuple[int, ...]") -> str:
    """Return what to say where this Python cannot be used, else nothing."""
    if OLDEST <= version[:2] <= NEWEST:
        return ""
    known = [f"python3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    found = [name for name in known if shutil.which(name)]
    remedy = (f"run this file with {found[0]}" if found else
              "install Python 3.12 and run this file with python3.12 (Windows: py -3.12)")
    return (f"Python 3.{OLDEST[1]} to 3.{NEWEST[1]} is needed (TensorFlow has no packages for "
            f"others), but this is {version[0]}.{version[1]}: {remedy}")


# The virtual environment


def prepare(files: "tuple[str, ...]") -> None:
    """Make .venv and install the requirements files, as far as that is still to be done."""
    if not venv_works():
        make_venv()
    wanted = {name: sha256(ROOT / name) for name in files}
    installed = read_json(STATE)
    if all(installed.get(name) == wanted[name] for name in wanted):
        return
    say(f"Installing {' and '.join(files)} into .venv (the first time 2 to 10 minutes)")
    arguments = [part for name in files for part in ("-r", str(ROOT / name))]
    command = [venv_python(), "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    if run(command):
        raise Failed("pip could not install the requirements; its own message stands above.\n"
                     f"To repeat only this step: {shown(command)}")
    write_json(STATE, {**installed, **wanted})


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def venv_python(venv: Path = VENV) -> str:
    return str(venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def venv_works() -> bool:
    """Tell whether .venv is whole and of a supported version."""
    if read_json(STATE).get("making"):
        return False
    try:
        answer = subprocess.run(
            [venv_python(), "-c", "import sys, pip; print(*sys.version_info[:2])"],
            cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    version = tuple(map(int, answer.stdout.split()))
    if wrong_python(version):
        raise Failed(f"{VENV} holds Python {version[0]}.{version[1]}, but "
                     f"3.{OLDEST[1]} to 3.{NEWEST[1]} is needed: remove that folder, start again")
    return True


def make_venv() -> None:
    if VENV.exists():
        if any(VENV.iterdir()) and not (VENV / "pyvenv.cfg").exists() and not STATE.exists():
            raise Failed(f"{VENV} is there, but is no virtual environment: "
                         "rename or remove it, start again")
        say("The virtual environment in .venv is incomplete and is made anew")
        shutil.rmtree(VENV)
    say("Making a virtual environment in .venv (a few seconds)")
    VENV.mkdir()
    write_json(STATE, {"making": True})  # until it is whole; and it tells whose folder this is
    command = [sys.executable, "-m", "venv", str(VENV)]
    if importlib.util.find_spec("ensurepip") is None or run(command):
        shutil.rmtree(VENV, ignore_errors=True)
        minor = sys.version_info[1]
        raise Failed("The virtual environment could not be made. On Debian and Ubuntu the part of "
                     f"Python that makes it is a package: sudo apt install python3.{minor}-venv\n"
                     f"Elsewhere, this command shows what is wrong: {shown(command)}")
    write_json(STATE, {})


def environment() -> "dict[str, str]":
    """Return the user's environment without what would lead Python or pip out of .venv."""
    outside = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX")
    kept = {name: value for name, value in os.environ.items() if name not in outside}
    return {**kept, "PIP_USER": "0", "PYTHONUNBUFFERED": "1"}


# test


def test(pytest_arguments: "list[str]") -> int:
    """Run every check, whatever the one before it said."""
    failed = []
    for tool, arguments in (("ruff", ["check", "."]), ("mypy", []),
                            ("pytest", ["-n", "auto", "--dist", "loadfile", *pytest_arguments])):
        say(f"{tool} {' '.join(arguments)}".rstrip())
        if run([venv_python(), "-m", tool, *arguments]):
            failed.append(tool)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


# demo


def demo(images: "int | None", steps: "int | None") -> None:
    config, captchas = (json.loads((ROOT / name).read_text("utf-8")) for name in (
        DEMO, DEMO_CAPTCHAS))
    images = captchas["count"] if images is None else images
    model_dir = ROOT / config["model_save_dir"]
    say(f"The demo draws {images} practice captchas, trains a network on them, tests it and "
        "recognises ten new ones through the API.\nOn two cores it takes 4 to 10 minutes.")
    # Of a step that was skipped, or begun by an earlier run, the time measured then stands.
    seconds = dict(read_json(model_dir / "demo_result.json").get("seconds", {}))
    began = time.monotonic()

    def step(name: str, text: str, command: "list[str]", whole: bool = True) -> str:
        say(text)
        step_began = time.monotonic()
        output = run_step(name, script(*command))
        if whole:
            seconds[name] = round(time.monotonic() - step_began, 1)
        return output

    drawn = count_images(config, "origin", "train", "test")
    nothing_split = not count_images(config, "train", "test")
    if drawn < images:
        step("draw", f"1/5 Draw {images - drawn} captchas (about a minute for 20,000)",
             ["gen_image/gen_sample_by_captcha.py", "--config", DEMO_CAPTCHAS,
              "--count", str(images - drawn)], whole=drawn == 0)
    else:
        say(f"1/5 {drawn} captchas are drawn already")
    step("split", "2/5 Verify and split (some seconds)",
         ["verify_and_split_data.py", "--config", DEMO], whole=nothing_split)
    if is_trained(model_dir):
        say(f"3/5 The network in {config['model_save_dir']} is trained already")
    else:
        fresh = not (model_dir / "model.json").exists()
        cycle_stop = config["cycle_stop"] if steps is None else steps
        step("train", f"3/5 Train {cycle_stop} steps (2 to 7 minutes for 1,200 on two cores)",
             ["train_model.py", "--config", DEMO, "--cycle-stop", str(cycle_stop)], whole=fresh)
    tested = step("test", "4/5 Test on images that the training did not learn from (some seconds)",
                  ["test_batch.py", "--config", DEMO])
    say("5/5 Start both servers and recognise ten captchas online (about ten seconds)")
    online_began = time.monotonic()
    online = recognize_online()
    seconds["online"] = round(time.monotonic() - online_began, 1)

    result = {**batch_scores(tested), **online_scores(online), "images": images,
              "step": read_json(model_dir / "model.json").get("step"), "seconds": seconds,
              "date": datetime.date.today().isoformat(), **machine()}
    write_json(model_dir / "demo_result.json", result)
    finish(result, time.monotonic() - began, config)


def count_images(config: "dict[str, str]", *names: str) -> int:
    folders = (ROOT / config[f"{name}_image_dir"] for name in names)
    return sum(1 for folder in folders if folder.is_dir()
               for entry in os.scandir(folder) if entry.name.endswith(config["image_suffix"]))


def is_trained(model_dir: Path) -> bool:
    training = read_json(model_dir / "model.json").get("run")
    return isinstance(training, dict) and training.get("done") is True


def recognize_online() -> str:
    captcha_server = script("webserver_captcha_image.py", "--config", DEMO_CAPTCHAS,
                            "--show-answers", "--port", "0")
    api_server = script("webserver_recognize_api.py", "--config", DEMO, "--no-save", "--port", "0")
    with serving(captcha_server) as remote_url, serving(api_server) as api_url:
        return run_step("online", script(
            "recognize_online.py", "--config", DEMO, "--times", "10",
            "--remote-url", remote_url, "--api-url", api_url))


def batch_scores(output: str) -> "dict[str, Any]":
    """Read the line that test_batch.py prints: so many samples, seconds, accuracy."""
    match = re.search(r"(\d+)个样本识别耗时[\d.]+秒，准确率([\d.]+)%", output)
    if not match:
        raise Failed("test_batch.py printed no accuracy: see its output above")
    return {"tested": int(match[1]), "accuracy_percent": round(float(match[2]), 2)}


def online_scores(output: str) -> "dict[str, Any]":
    match = re.search(r"(\d+) of (\d+)\b.*\bright", output)
    if not match:
        raise Failed("recognize_online.py did not say how many were right: see its output above")
    return {"online_right": int(match[1]), "online_total": int(match[2])}


def machine() -> "dict[str, Any]":
    names = ("tensorflow", "numpy", "pillow", "captcha")
    code = ("import importlib.metadata as m, json, platform; print(json.dumps({'python': "
            f"platform.python_version(), 'libraries': {{n: m.version(n) for n in {names!r}}}}}))")
    answer = subprocess.run([venv_python(), "-c", code], cwd=ROOT, env=environment(),
                            stdout=subprocess.PIPE, check=True)
    usable = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    return {"processor": processor(), "cores": len(usable(0)), "system": platform.system(),
            **json.loads(answer.stdout)}


def processor() -> str:
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        if platform.system() == "Linux":
            known = Path("/proc/cpuinfo").read_text("utf-8")
            match = re.search(r"model name\s*:\s*(.+)", known)
            vectors = [name for name in VECTORS if re.search(rf"\b{name}\b", known)]
            return " ".join([match[1].strip() if match else platform.machine(), *vectors[:1]])
        if platform.system() == "Darwin":
            brand = subprocess.check_output(["sysctl", "-n", "machdep.cpu.brand_string"])
            return brand.decode().strip()
    return platform.processor() or platform.machine()


def finish(result: "dict[str, Any]", total_s: float, config: "dict[str, str]") -> None:
    say(f"Right: {result['accuracy_percent']} % of {result['tested']} test images, "
        f"{result['online_right']} of {result['online_total']} online.\n"
        f"This run took {total_s:.0f} s; seconds per step: "
        + ", ".join(f"{name} {value}" for name, value in result["seconds"].items())
        + f".\nKept in {config['model_save_dir']}demo_result.json.")
    python = shown([os.path.relpath(venv_python(), ROOT)])
    say("Next, your own captchas, five steps (README.md tells more):\n"
        "  1. Put images named label_serial.png, such as 2e8j_001.png, into a folder, and\n"
        f"     {python} new_project.py THAT_FOLDER\n"
        "  2. Look at conf/THAT_FOLDER.json, and give it to the others as --config:\n"
        f"  3. {python} verify_and_split_data.py\n"
        f"  4. {python} train_model.py, then {python} test_batch.py\n"
        f"  5. {python} webserver_recognize_api.py, and in a second terminal\n"
        f"     {python} recognize_local.py")


# Processes


def script(name: str, *arguments: str) -> "list[str]":
    return [venv_python(), str(ROOT / name), *arguments]


def run_step(name: str, command: "list[str]") -> str:
    """Run a step of the demo, show its output as it comes, and return it."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE)
    assert process.stdout
    lines = []
    try:
        for line in process.stdout:
            show_bytes(line)
            lines.append(line)
        code = process.wait()
    except KeyboardInterrupt as reason:
        end(process, reason)
        raise
    if code:
        raise Failed(f"the step '{name}' failed (exit code {code}). To go on, run "
                     f"quickstart.py demo again; to repeat only this step:\n  {shown(command)}")
    return b"".join(lines).decode("utf-8", "replace")


def run(command: "list[str]") -> int:
    """Run with the terminal passed through and return the exit code."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment())
    try:
        return process.wait()
    except KeyboardInterrupt as reason:
        end(process, reason)
        raise


@contextlib.contextmanager
def serving(command: "list[str]", stop_s: float = STOP_S) -> "Iterator[str]":
    """Run a server and give the address that it prints; stop it on leaving."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    addresses: Any = queue.Queue()
    reader = threading.Thread(target=_find_address, args=(process.stdout, addresses), daemon=True)
    reader.start()
    try:
        try:
            address = addresses.get(timeout=SERVER_START_S)
        except queue.Empty:
            address = ""
        if not address:
            raise Failed(f"the server did not start; to repeat only this step:\n  {shown(command)}")
        yield address
    finally:
        end(process, Terminated(), stop_s)
        reader.join(stop_s)


def _find_address(stream: "IO[bytes]", addresses: "queue.Queue[str]") -> None:
    """Show a server's output; put the address it listens on, or "" where it ended without one."""
    with stream:
        for line in stream:
            show_bytes(line)
            match = re.search(rb"listening on (http://\S+)", line)
            if match:
                addresses.put(match[1].decode("ascii"))
    addresses.put("")


def end(process: "subprocess.Popen[bytes]", reason: KeyboardInterrupt,
        patience_s: float = STOP_S) -> None:
    """Ask a process to stop, where it was not told already; end it if it does not."""
    asked = not isinstance(reason, Terminated)
    for action in (lambda: None, process.terminate, process.kill)[0 if asked else 1:]:
        action()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
            return


# Words and files


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def show_bytes(line: bytes) -> None:
    """Pass a line through untouched: the scripts print UTF-8, whatever this terminal is set to."""
    sys.stdout.flush()
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def shown(command: "list[str]") -> str:
    """Return the command as one would type it."""
    return subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)


def read_json(path: Path) -> "dict[str, Any]":
    """Return what a file of ours holds; nothing where it is missing or damaged."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def write_json(path: Path, values: "dict[str, Any]") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")
    os.replace(partial, path)


if __name__ == "__main__":
    sys.exit(main())
