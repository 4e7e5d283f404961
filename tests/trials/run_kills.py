"""Kill trainings, splits and servers at random moments, and fill the disk while a training saves.

    python3 tests/trials/run_kills.py [--kills N] [--splits N] [--reloads N] [--labels N]
                                      [--small-disk FOLDER]

Starts a small training N times (default: 10), and kills it with signal 9 after some seconds. After
each kill what model.json names must be readable, and no more than cycle_save steps be lost; the
next start must go on from there.

Kills a split N times (default: 20), every other time to another file system, and lets the next one
end: each image must then be there once, with its content. Kills the API N times (default: 10) while
it loads the weights of a running training, and four clients ask it: each upload must be whole, and
the next start must answer. Kills somebody who labels N times (default: 10): each image must be
there once, with its own label, and all can be undone.
FOLDER is on a small file system that nothing else uses, such as

    sudo mount -t tmpfs -o size=100m tmpfs FOLDER

There a training saves once, then finds the disk full: it must say so and leave that save, from
which it goes on when there is room again. Takes 5 to 10 seconds a kill. Exit code 1 if anything
fails.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cnnlib.client.api_client import Client
from cnnlib.errors import ModelError, ServiceError
from cnnlib.labelling.desk import LabellingDesk
from cnnlib.networks.model_folder import ModelFolder, ModelInfo
from cnnlib.paths import PROJECT_ROOT
from tests.helpers import Project, drawing, new_project

CYCLE_SAVE = 10
TRAINING_S = 8.0  # at most, after the first report
OTHER_DISK = "/dev/shm" if Path("/dev/shm").is_dir() else None  # another file system


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
    from cnnlib.networks.checkpoint import read_checkpoint  # TensorFlow takes seconds

    folder = ModelFolder(project.sample.model_save_dir)
    while info := folder.read():
        try:
            for name in (info.best, info.last):
                read_checkpoint(folder.full / name)
            break
        except ModelError:
            if folder.read() == info:  # else a training has saved in between
                raise
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


SLOW_MOVES = """
import os, sys, time
import verify_and_split_data
def slowed(change):
    def slow(*arguments, **options):
        print("moves", flush=True)
        time.sleep(0.001)
        return change(*arguments, **options)
    return slow
for name in ("link", "unlink", "fsync"):
    setattr(os, name, slowed(getattr(os, name)))
sys.exit(verify_and_split_data.main(["--config", sys.argv[1]]))
"""


def kill_splits(project: Project, kills: int, rng: random.Random, other_disk: Path) -> None:
    sample = project.root / "sample"
    shutil.rmtree(sample)
    drawing(project)(sample / "origin", 300)
    contents = {digest(path) for path in (sample / "origin").iterdir()}
    for i in range(kills):
        targets = (other_disk if i % 2 else sample) / f"split{i}"
        folders = [targets / name for name in ("train", "test")]
        project.change(
            train_image_dir=str(folders[0]), test_image_dir=str(folders[1]), cycle_stop=1
        )
        command = [sys.executable, "-c", SLOW_MOVES, str(project.config_path)]
        kill_after(command, "moves", 0.8 * rng.random())
        moved = sum(len(list(folder.iterdir())) for folder in folders if folder.exists())
        subprocess.run(command, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL, check=True)
        files = [path for folder in (sample / "origin", *folders) for path in folder.iterdir()]
        check(len(files) == len(contents), f"{len(files)} files of {len(contents)}")
        check({digest(path) for path in files} == contents, "an image is missing or damaged")
        print(
            f"split {i + 1:3}: killed after {moved} moves, all {len(files)} are there", flush=True
        )
        for path in files:
            shutil.move(path, sample / "origin" / path.name)


def kill_after(command: list[str], word: str, pause_s: float) -> None:
    """Start a program, and kill it some time after a line with this word."""
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout
        while word.encode() not in process.stdout.readline():
            check(process.poll() is None, f"it ended before it printed {word}")
        time.sleep(pause_s)
        process.kill()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kill_reloads(project: Project, kills: int, rng: random.Random) -> None:
    """Kill the API while a training saves, and clients ask."""
    project.change(cycle_save=CYCLE_SAVE, cycle_stop=10_000_000)
    image = next((project.root / "sample" / "test").iterdir()).read_bytes()
    with start(project) as training:
        threading.Thread(target=lambda: list(training.stdout or ()), daemon=True).start()
        try:
            while not readable(project):
                time.sleep(0.1)
            for i in range(kills):
                answered = kill_a_server(project, image, 3 + 4 * rng.random())
                check(answered > 0, "nothing was answered before the kill")
                check(readable(project) is not None, "the model is gone")
                for path in (project.root / "sample" / "api").glob("*.png"):
                    check(path.read_bytes() == image, f"{path} is not whole")
                print(f"reload {i + 1:3}: {answered} answers before the kill", flush=True)
        finally:
            training.kill()


def kill_a_server(project: Project, image: bytes, after_s: float) -> int:
    """Start the API, ask it from four threads, kill it; return how many answers there were."""
    answers: list[str] = []
    with subprocess.Popen(
        [
            sys.executable,
            "webserver_recognize_api.py",
            "--port",
            "0",
            "--config",
            str(project.config_path),
        ],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as server:
        assert server.stdout
        url = server.stdout.readline().split()[-1]

        def ask() -> None:
            with suppress(ServiceError), Client(url, retries=0) as client:
                while True:
                    answers.append(client.recognize(image).value)

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        time.sleep(after_s)
        server.kill()
        for client in clients:
            client.join()
    return len(answers)


LABEL_ALL = """
import sys
from cnnlib.config import load_sample_config
from cnnlib.labelling.desk import LabellingDesk
config = load_sample_config(sys.argv[1])
desk = LabellingDesk(config, sys.argv[1], [config.unlabelled_image_dir.full])
desk.reader.work()
while items := desk.next_images("ann", 3, []):
    print("labels", flush=True)
    labels = {item["id"]: desk.store.image(item["id"])["path"][-6:-4] for item in items}
    desk.accept("ann", labels, [])
    if sys.argv[2] == "undo":
        desk.undo("ann")
"""


def kill_labelling(project: Project, kills: int, rng: random.Random) -> None:
    """Kill somebody who labels images, or labels and undoes."""
    folder = project.root / "sample" / "unlabelled"
    for i, path in enumerate(drawing(project)(folder, 1500)):
        path.rename(folder / f"{i}-{path.name[:2]}.png")  # the label, to be typed, is at the end
    contents = {digest(path): path.stem[-2:] for path in folder.iterdir()}
    new = project.sample.new_image_dir.full
    for i in range(kills):
        command = [sys.executable, "-c", LABEL_ALL, str(project.config_path)]
        command.append("undo" if i % 2 else "label")
        kill_after(command, "labels", 0.3 * rng.random())
        with closing(LabellingDesk(project.sample, project.config_path, [folder])) as desk:
            labelled = list(new.iterdir()) if new.exists() else []
            files = [*folder.iterdir(), *labelled]
            check(len(files) == len(contents), f"{len(files)} files of {len(contents)}")
            check({digest(path) for path in files} == contents.keys(), "an image is damaged")
            wrong = [path for path in labelled if contents[digest(path)] != path.name[:2]]
            check(not wrong, f"{wrong} have another label")
            states = desk.store.counts()
            check(states["labelled"] == len(labelled), f"{states}, and {len(labelled)} files")
            if i == kills - 1:
                for _ in range(states["labelled"]):
                    desk.undo("ann")
                    if not desk.store.counts()["labelled"]:
                        break
                check(len(list(folder.iterdir())) == len(contents), "not all could be undone")
        print(f"labels {i + 1:3}: {len(labelled)} labelled, all {len(files)} are there", flush=True)


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
    parser.add_argument("--splits", type=int, default=20, metavar="N")
    parser.add_argument("--reloads", type=int, default=10, metavar="N")
    parser.add_argument("--labels", type=int, default=10, metavar="N")
    parser.add_argument("--small-disk", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            rng = random.Random(0)
            if args.kills:
                kill_repeatedly(make_project(Path(folder) / "kills"), args.kills, rng)
            with tempfile.TemporaryDirectory(dir=OTHER_DISK) as other_disk:
                project = make_project(Path(folder) / "splits")
                kill_splits(project, args.splits, rng, Path(other_disk))
            kill_labelling(make_project(Path(folder) / "labels"), args.labels, rng)
            kill_reloads(make_project(Path(folder) / "reloads"), args.reloads, rng)
            if args.small_disk:
                fill_the_disk(make_project(Path(folder) / "disk"), args.small_disk.absolute())
        except AssertionError as error:
            print(f"failed: {error}", file=sys.stderr)
            return 1
    print("passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
