"""Kill trainings at random moments, and fill the disk while they save.

    python3 tests/trials/run_kills.py [--kills N] [--small-disk FOLDER]

Starts a small training N times (default: 10), and kills it with signal 9 after some seconds. After
each kill what model.json names must be readable, and no more than cycle_save steps be lost; the
next start must go on from there. FOLDER is on a small file system that nothing else uses, such as

    sudo mount -t tmpfs -o size=100m tmpfs FOLDER

There a training saves once, then finds the disk full: it must say so and leave that save, from
which it goes on when there is room again. Takes 10 seconds a kill. Exit code 1 if anything fails.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cnnlib.networks.checkpoint import read_checkpoint
from cnnlib.networks.model_folder import ModelFolder, ModelInfo
from cnnlib.paths import PROJECT_ROOT
from tests.helpers import Project, drawing, new_project

CYCLE_SAVE = 10
TRAINING_S = 8.0  # at most, after the first report


def make_project(root: Path) -> Project:
    project = new_project(root)
    project.change(network="cnn5", cycle_stop=10_000_000, cycle_save=CYCLE_SAVE)
    for folder in ("train", "test"):
        drawing(project)(root / "sample" / folder, 40)
    return project


def start(project: Project, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "train_model.py", "--config", str(project.config_path), *options],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


def readable(project: Project) -> ModelInfo | None:
    """Return what model.json says, after reading the checkpoints that it names."""
    folder = ModelFolder(project.sample.model_save_dir)
    info = folder.read()
    if info:
        for name in (info.best, info.last):
            read_checkpoint(folder.full / name)
    return info


def kill_repeatedly(project: Project, kills: int, rng: random.Random) -> None:
    saved = 0
    for i in range(kills):
        with start(project) as process:
            out = read_until_a_report(process)
            try:
                rest, err = process.communicate(timeout=TRAINING_S * rng.random())
                raise AssertionError(f"it ended by itself: {rest[-500:]} {err[-500:]}")
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                rest, _ = process.communicate()
        if saved:
            check(f"the run that was interrupted goes on after step {saved}" in out, out)
        info = readable(project)
        done = max(map(int, re.findall(r"第(\d+)次训练", out + rest)))
        now = info.run.step if info else 0
        check(done - CYCLE_SAVE <= now, f"{done} steps were done, {now} are saved")
        check(now >= saved, f"{saved} steps were saved, now {now}")
        print(f"kill {i + 1:3}: at least {done} steps done, {now} saved", flush=True)
        saved = now
    check(saved > 0, "nothing was saved between any two kills")


def read_until_a_report(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    out = ""
    for line in process.stdout:
        out += line
        if "次训练" in line:
            break
    return out


def fill_the_disk(project: Project, disk: Path) -> None:
    project.change(model_save_dir=str(disk / "model"), cycle_stop=20)
    with start(project, "--cycle-stop", "10") as process:
        out, err = process.communicate(timeout=120)
    check(process.returncode == 0, err)
    before = readable(project)
    filler = disk / "filler"
    try:
        with open(filler, "wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
    except OSError:
        pass
    with start(project) as process:
        out, err = process.communicate(timeout=120)
    filler.unlink()
    check(process.returncode == 2, err)
    check("No space left on device): the save before it is intact" in err, err)
    check(readable(project) == before, "another save")
    print("full disk: " + err.strip().splitlines()[-1])
    with start(project) as process:
        out, err = process.communicate(timeout=120)
    check(process.returncode == 0, err)
    print("with room again: " + out.strip().splitlines()[-2])


def check(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=10, metavar="N")
    parser.add_argument("--small-disk", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            kill_repeatedly(make_project(Path(folder) / "kills"), args.kills, random.Random(0))
            if args.small_disk:
                fill_the_disk(make_project(Path(folder) / "disk"), args.small_disk.absolute())
        except AssertionError as error:
            print(f"failed: {error}", file=sys.stderr)
            return 1
    print("passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
