"""Serve from two machines behind nginx, and take one away under load: no client may see it.

    sudo .venv/bin/python tests/trials/run_two_machines.py [--workers N] [--seconds N]
                                                           [--clients N]

Makes three machines of this one, each a network namespace: nginx with the clients, and two with
gunicorn and their own copy of the ready model, over links of 1 Gbit/s (and 0.5 ms there and back,
where the system has netem). nginx runs deploy/nginx.conf with the upstream of
deploy/nginx-upstream.conf, gunicorn deploy/gunicorn.conf.py. While clients ask without a pause,
each step takes N seconds at least (default: 10):

    both machines answer; one is killed with signal 9, and comes back; its cable is pulled and put
    back; a new model is put in place on both; both are restarted one after the other (SIGTERM)

Every answer must come, with status 200, the text and the confidence of the old or the new model.
Prints for each step the requests, how many nginx passed on to the other machine, and the slowest.
Needs Linux, root, nginx, gunicorn, TensorFlow for the export, and the programs ip and tc. Takes
three minutes; removes the machines at the end, also on Ctrl-C. Exit code 1 if anything fails.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.lib.load import form
from bench.lib.namespaces import move_into_namespace, run
from bench.lib.practice import drawn_files
from cnnlib import console
from cnnlib.config import load_sample_config
from cnnlib.dataset.images import open_image
from cnnlib.errors import CaptchaError
from cnnlib.networks.model_folder import ONNX_FILE, ModelFolder
from cnnlib.onnx_recognizer import OnnxRecognizer
from cnnlib.paths import PROJECT_ROOT
from tests.trials.lib.clients import TOLERANCE, Clients, Example, Passed, read_log
from tests.trials.lib.machines import ADDRESSES, CONFIG, Machine, nginx
from tests.trials.lib.outcome import exit_code

IMAGES = 50
NEW_TEMPERATURE = 1.0  # the new model has the old one's weights, and is less sure of its answers
USED_S = SWAPPED_S = PASSED_ON_S = 30.0


class Trial:
    def __init__(
        self, machines: Sequence[Machine], clients: Clients, log: Path, seconds: float
    ) -> None:
        self._machines, self._clients, self._log, self._seconds = machines, clients, log, seconds
        self._offset = self._requests = self._passed_on = 0

    def report(self, name: str, began_s: float) -> Passed:
        """Print what the step did; raises CaptchaError where a client saw an error."""
        answers, seconds = self._clients.next_step(), time.monotonic() - began_s
        passed, self._offset = read_log(self._log, self._offset)
        shares = " and ".join(str(passed.by_machine[address]) for address in ADDRESSES)
        slowest = sorted(answers.seconds) or [float("nan")]
        console.say(
            f"{name}: {len(answers.seconds)} requests in {seconds:.0f} s, {len(answers.wrong)} "
            f"errors; {passed.retried} passed on by nginx; {shares} by each machine; 99 % within "
            f"{slowest[int(len(slowest) * 0.99)] * 1000:.0f} ms, the slowest {slowest[-1]:.2f} s"
        )
        if answers.wrong:
            raise CaptchaError(f"{len(answers.wrong)} errors, such as {answers.wrong[0]}")
        if passed.failed or not answers.seconds:
            raise CaptchaError(f"nginx writes of {passed}")
        self._requests += len(answers.seconds)
        self._passed_on += passed.retried
        return passed

    def summary(self) -> None:
        """Print the whole, when the clients have ended."""
        self.report("the last answers", time.monotonic())
        console.say(f"{self._requests} requests, no error; {self._passed_on} passed on by nginx")

    def both_answer(self) -> None:
        began_s = time.monotonic()
        time.sleep(self._seconds)
        passed = self.report("both machines", began_s)
        if not all(passed.by_machine[a] for a in ADDRESSES):
            raise CaptchaError(f"one machine was not asked: {passed}")

    def lose(self, name: str, machine: Machine, lose: Callable[[], None]) -> None:
        """Take a machine away; nginx must pass on what was in flight."""
        began_s = time.monotonic()
        time.sleep(self._seconds / 4)
        lose()
        time.sleep(self._seconds)
        until_s = time.monotonic() + PASSED_ON_S
        while time.monotonic() < until_s and not read_log(self._log, self._offset)[0].retried:
            time.sleep(0.1)
        if not self.report(name, began_s).retried:
            raise CaptchaError("nothing was passed on: the step has shown nothing")
        began_s = time.monotonic()
        time.sleep(self._seconds / 4)
        if self.report("  meanwhile", began_s).by_machine[machine.address]:
            raise CaptchaError(f"{machine.address} answers")

    def bring_back(self, machine: Machine, bring_back: Callable[[], None]) -> None:
        """Wait until nginx uses the machine again."""
        began_s = time.monotonic()
        bring_back()
        machine.wait_until_ready()
        ready_s = time.monotonic() - began_s
        while not read_log(self._log, self._offset)[0].by_machine[machine.address]:
            if time.monotonic() - began_s > ready_s + USED_S:
                raise CaptchaError(f"{machine.address} is not used again")
            time.sleep(0.1)
        used_s = time.monotonic() - began_s
        time.sleep(self._seconds / 2)
        self.report(f"  back: ready after {ready_s:.1f} s, used after {used_s:.1f} s", began_s)

    def swap(self, model: ModelFolder) -> None:
        """Put a new model in place on both machines."""
        began_s = time.monotonic()
        for machine in self._machines:
            machine.model.adopt(model)
        step = model.read_required().step
        while any(machine.steps() != {step} for machine in self._machines):
            if time.monotonic() - began_s > SWAPPED_S:
                raise CaptchaError("the new model is not served")
            time.sleep(0.2)
        swapped_s = time.monotonic() - began_s
        old = self._clients.answers.new.count(False)
        self.report(f"new model on both after {swapped_s:.1f} s", began_s)
        began_s = time.monotonic()
        time.sleep(self._seconds / 2)
        answers = self._clients.answers
        passed = self.report(f"  {old} answers of the old one; since then", began_s)
        # Those that were in flight when the last worker changed may still be the old one's.
        late = answers.new.count(False)
        if late > self._clients.count or not all(passed.by_machine[a] for a in ADDRESSES):
            raise CaptchaError(f"the old model gave {late} more answers: {passed}")


def trial(workers: int, seconds: float, count: int) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="two-machines-")))
        old = ModelFolder(load_sample_config(CONFIG).model_save_dir)
        new = newer_model(old, folder)
        known = examples(old, new)
        machines = [
            Machine(address, folder / f"machine-{n}", old, workers)
            for n, address in enumerate(ADDRESSES, 1)
        ]
        for machine in machines:
            link = stack.enter_context(machine.connected())
            console.say(f"{machine.address}: link of {link}")
            machine.start()
        for machine in machines:
            machine.wait_until_ready()
        log = stack.enter_context(nginx(folder / "nginx"))
        with Clients(known, count) as clients:
            steps = Trial(machines, clients, log, seconds)
            all_steps(steps, machines, new)
        steps.summary()


def all_steps(steps: Trial, machines: Sequence[Machine], new: ModelFolder) -> None:
    first, second = machines
    steps.both_answer()
    steps.lose("kill -9 of the first", first, first.kill)
    steps.bring_back(first, first.start)
    steps.lose("the second's cable pulled", second, lambda: second.set_cable(False))
    steps.bring_back(second, lambda: second.set_cable(True))
    steps.swap(new)
    for name, machine in (("first", first), ("second", second)):
        steps.lose(f"SIGTERM to the {name}", machine, machine.stop)
        steps.bring_back(machine, machine.start)
    steps.both_answer()


def newer_model(old: ModelFolder, folder: Path) -> ModelFolder:
    """Return a model as a further training would save it: other names, step and confidences."""
    new = ModelFolder(str(folder / "new-model"))
    new.full.mkdir()
    info = old.read_required()
    name = new.new_checkpoint("best", info.step + 1)
    for file in old.full.glob(f"{info.best}.*"):
        shutil.copy(file, new.full / file.name.replace(info.best, name))
    step = info.step + 1
    new.commit(replace(info, step=step, best=name, last=name, temperature=NEW_TEMPERATURE))
    values = json.loads((PROJECT_ROOT / CONFIG).read_text(encoding="utf-8"))
    config = folder / "new-model.json"
    config.write_text(json.dumps(values | {"model_save_dir": str(new.full)}), encoding="utf-8")
    run(sys.executable, PROJECT_ROOT / "export_model.py", "--config", config)
    return new


def examples(old: ModelFolder, new: ModelFolder) -> list[Example]:
    """Draw captchas of which both models are sure to another degree."""
    config = load_sample_config(CONFIG)
    known = []
    with (
        closing(OnnxRecognizer(old.full / ONNX_FILE)) as before,
        closing(OnnxRecognizer(new.full / ONNX_FILE)) as after,
    ):
        for data in drawn_files(config, IMAGES)[1]:
            image = open_image(data)
            [was], [will] = before.predict([image]), after.predict([image])
            if was.text == will.text and abs(was.confidence - will.confidence) > 4 * TOLERANCE:
                known.append(Example(form(data), was.text, was.confidence, will.confidence))
    if not known:
        raise CaptchaError("the new model answers as the old one does")
    return known


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__)
    parser.add_argument("--workers", type=console.at_least_one, default=1, metavar="N")
    parser.add_argument("--seconds", type=console.at_least_one, default=10, metavar="N")
    parser.add_argument("--clients", type=console.at_least_one, default=16, metavar="N")
    args = parser.parse_args(argv)
    move_into_namespace({"nginx": "nginx"})
    return exit_code(lambda: trial(args.workers, args.seconds, args.clients))


if __name__ == "__main__":
    sys.exit(main())
