"""Train on four machines, and kill each of them: the training must go on, or say what is missing.

    sudo .venv/bin/python tests/trials/run_cluster.py

Makes five machines of this one, each a network namespace with a link of 1 Gbit/s (and 0.5 ms there
and back, where the system has netem): two parameter servers, the chief and two workers. In turn

    a worker is killed with signal 9, and comes back; the cable of one is pulled and put back;
    the chief is killed, and goes on from its last save; each parameter server is killed: the chief
    says so, and both, started again, go on from the last save with the workers that waited;
    a worker is killed, and meanwhile SIGTERM to the chief saves and ends all;
    a worker with another config, a worker and a server that never start are named

Prints what happened and how long it took. Needs Linux, root and the programs ip and tc. Takes six
minutes; removes the machines at the end, also on Ctrl-C. Exit code 1 if anything fails.
"""

from __future__ import annotations

import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.lib.clusters import Training, cluster_of
from bench.lib.namespaces import Namespace, move_into_namespace
from cnnlib import console
from cnnlib.errors import CaptchaError
from cnnlib.networks.model_folder import ModelFolder
from tests.helpers import Project, drawing, new_project
from tests.trials.lib.outcome import exit_code

CHIEF, SERVERS, WORKERS = "chief:0", ("ps:0", "ps:1"), ("worker:0", "worker:1")
HOSTS = {task: f"192.0.2.{i}" for i, task in enumerate((*SERVERS, CHIEF, *WORKERS), 21)}
STEPS, CYCLE_SAVE = 100_000, 20
UNPLUGGED_S = 25.0
SIGN_S = 2.0  # between two signs of life
LIMIT_S = 120.0
PATIENCE_S = 20


class Trial:
    def __init__(self, folder: Path, machines: dict[str, Namespace]) -> None:
        self._machines = machines
        project = new_project(folder / "project")
        project.change(cycle_stop=STEPS, cycle_save=CYCLE_SAVE, train_batch_size=32, start="random")
        for name, count in (("train", 300), ("test", 40)):
            drawing(project)(project.root / "sample" / name, count)
        self._model = ModelFolder(project.sample.model_save_dir)
        other = project.copy(folder / "other")
        other.change(cycle_stop=STEPS + 1)
        self._training = self._laid_out(folder, project, "--patience", str(PATIENCE_S * 20))
        self._impatient = self._laid_out(folder, project, "--patience", str(PATIENCE_S), "--fresh")
        self._other = self._laid_out(folder, other)

    def _laid_out(self, folder: Path, project: Project, *options: str) -> Training:
        return Training(
            folder,
            cluster_of(len(WORKERS), HOSTS, len(SERVERS)),
            ["--config", str(project.config_path), *options],
            {task: machine.inside for task, machine in self._machines.items()},
        )

    def run(self) -> None:
        with self._training.running():
            console.say(f"the first steps after {self._goes_on(0):.0f} s")
            self._lose_worker()
            self._pull_cable()
            self._lose_chief()
            for server in SERVERS:
                self._lose_server(server)
            self._mix_configs()
            self._end()
        self._never_start(WORKERS[1], "did not take part", (CHIEF,))
        self._never_start(SERVERS[1], "does not answer", (CHIEF, *WORKERS))

    def _lose_worker(self) -> None:
        lost, training = WORKERS[0], self._training
        training.kill(lost)
        named_s = self._says(CHIEF, f"{lost} at {HOSTS[lost]}", "is missing")
        step, began_s = self._step(), time.monotonic()
        training.start(lost)
        self._goes_on(step)
        console.say(
            f"{lost} killed at step {step}: named after {named_s:.0f} s, started again, 20 steps "
            f"on {time.monotonic() - began_s:.0f} s later"
        )

    def _pull_cable(self) -> None:
        machine, step = self._machines[WORKERS[1]], self._step()
        machine.set_cable(False)
        time.sleep(UNPLUGGED_S)
        meanwhile = self._step() - step
        machine.set_cable(True)
        console.say(
            f"cable of {WORKERS[1]} pulled for {UNPLUGGED_S:.0f} s, {meanwhile} steps meanwhile: "
            f"20 steps on {self._goes_on(step + meanwhile):.0f} s after it was put back"
        )

    def _lose_chief(self) -> None:
        self._training.kill(CHIEF)
        self._restart(CHIEF, "killed")

    def _lose_server(self, server: str) -> None:
        self._training.kill(server)
        code = self._training.ended(CHIEF, LIMIT_S)
        if code != 2 or "was lost" not in self._training.said(CHIEF):
            raise CaptchaError(f"exit code {code}: {self._training.said(CHIEF)[-800:]}")
        self._training.start(server)
        self._restart(CHIEF, f"without {server}")

    def _restart(self, task: str, what: str) -> None:
        """Start the chief again; it must go on from its last save."""
        info, done = self._model.read(), self._step()
        saved = info.run.step if info else 0
        before = len(self._training.said(task))
        self._training.start(task)
        words = f"goes on after step {saved}"
        self._training.wait(task, LIMIT_S, lambda said: words in said[before:], f"not {words!r}")
        seconds = self._goes_on(saved, before)
        if done - saved > CYCLE_SAVE + 10:  # steps are told every 10
            raise CaptchaError(f"{done} steps were done, {saved} saved")
        console.say(f"{task} {what} at step {done}: 20 steps on from {saved} {seconds:.0f} s later")

    def _mix_configs(self) -> None:
        """Start a worker with another config in the place of one; then the right one again."""
        lost = WORKERS[0]
        self._training.kill(lost)
        with self._other.running([lost]):
            code = self._other.ended(lost, LIMIT_S)
        if code != 2 or "the chief trains something else" not in self._other.said(lost):
            raise CaptchaError(f"exit code {code}: {self._other.said(lost)[-800:]}")
        self._training.start(lost)
        self._says(lost, "takes part after step")
        time.sleep(2 * SIGN_S)  # until the chief has heard of it
        console.say(
            f"{lost} with another config said so and ended; with the right one it takes part at "
            f"step {self._step()}"
        )

    def _end(self) -> None:
        """Send SIGTERM to the chief while it waits for a worker."""
        training, lost = self._training, WORKERS[0]
        training.kill(lost)
        self._says(CHIEF, f"{lost} at {HOSTS[lost]}", "is missing")
        began_s = time.monotonic()
        training.signal(CHIEF, signal.SIGTERM)
        codes = {task: training.ended(task, LIMIT_S) for task in training.tasks}
        expected = {CHIEF: console.EXIT_INTERRUPTED, lost: -signal.SIGKILL}
        if codes != dict.fromkeys(training.tasks, 0) | expected:
            raise CaptchaError(f"exit codes {codes}")
        info = self._model.read()
        console.say(
            f"SIGTERM to the chief, which waited for {lost}: all ended after "
            f"{time.monotonic() - began_s:.0f} s, saved at step {info.run.step if info else 0}"
        )

    def _never_start(self, missing: str, words: str, naming: Sequence[str]) -> None:
        """Start all but one; those of `naming` must name it and end, all others end with 0."""
        training, began_s = self._impatient, time.monotonic()
        started = [task for task in training.tasks if task != missing]
        before = {task: len(training.said(task)) for task in started}
        with training.running(started):
            codes = {task: training.ended(task, LIMIT_S) for task in naming}
            named_s = time.monotonic() - began_s
            if missing in WORKERS:  # the chief ends all others
                codes |= {task: training.ended(task, LIMIT_S) for task in started}
        said = {task: training.said(task)[before[task] :] for task in naming}
        if any(f"{missing} at {HOSTS[missing]}" not in text for text in said.values()):
            raise CaptchaError(f"{missing} is not named: {said}")
        if any(words not in text for text in said.values()):
            raise CaptchaError(f"not {words!r}: {said}")
        if any(code != (2 if task in naming else 0) for task, code in codes.items()):
            raise CaptchaError(f"exit codes {codes}")
        console.say(f"{missing} never started: named after {named_s:.0f} s")

    def _step(self, since: int = 0) -> int:
        """Return the last step that the chief told, after that many characters."""
        told = re.findall(r"第(\d+)次训练", self._training.said(CHIEF)[since:])
        return int(told[-1]) if told else 0

    def _goes_on(self, step: int, since: int = 0) -> float:
        """Wait for 20 steps more; return the seconds."""
        return self._training.wait(
            CHIEF, LIMIT_S, lambda _: self._step(since) >= step + 20, f"not 20 steps on from {step}"
        )

    def _says(self, task: str, *words: str) -> float:
        before = len(self._training.said(task))
        return self._training.wait(
            task, LIMIT_S, lambda said: all(w in said[before:] for w in words), f"no {words}"
        )


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    console.parser(__doc__).parse_args(argv)
    move_into_namespace()
    return exit_code(trial)


def trial() -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cluster-")))
        machines = {task: Namespace(address) for task, address in HOSTS.items()}
        for task, machine in machines.items():
            link = stack.enter_context(machine.connected())
            console.say(f"{task} at {machine.address}: link of {link}")
        Trial(folder, machines).run()


if __name__ == "__main__":
    sys.exit(main())
