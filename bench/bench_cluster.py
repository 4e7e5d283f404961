"""Compare a training on several machines with one on one machine: accuracy, traffic and steps.

    python3 bench/bench_cluster.py [--skip accuracy] [--seeds N ...] [--folder FOLDER]
    sudo .venv/bin/python bench/bench_cluster.py --skip accuracy [--steps N]

accuracy: row `digits` of bench_training.py (1,000 images, 500 steps of 128), by one process, and by
a parameter server, a chief and two workers on this machine that take a third of each step; both
read the same 5,000 fresh images. Takes ten minutes a seed.

speed: machines made of this one, network namespaces with links of 1 Gbit/s, 100 Mbit/s and without
a limit, one with the parameter server, or one on each, and one to three that compute. All share
this machine's cores: a step of 128 images of 100x60 takes as much computing in all, whoever does
it. The table has the time of a step next to what it should be by the bytes that one link carries:
those bytes / bytes a second longer than without a limit where nothing happens at a time, and where
all does, both ways of the link and computing, the longest of these alone. Needs Linux and root, and
a quiet machine. Takes ten minutes.

What is measured already is not measured again. Writes bench/cluster_results.json and the tables to
docs/*/results.md; with --skip accuracy speed the tables alone.
"""

import datetime
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.lib.clusters import Training, cluster_of
from bench.lib.namespaces import Namespace, move_into_namespace
from bench.lib.pages import write_tables
from bench.lib.results import grouped, median_accuracy, read_results, write_results
from bench.lib.rows import ROWS, Row
from bench.lib.run_folders import config_file, prepare, runs_parser
from cnnlib import console
from cnnlib.config import RANDOM, SampleConfig
from cnnlib.errors import CaptchaError
from cnnlib.paths import PROJECT_ROOT
from cnnlib.training.history import HISTORY_FILE, read_rows

RESULTS = PROJECT_ROOT / "bench" / "cluster_results.json"
ACCURACY, SPEED = "accuracy", "speed"
ONE, SEVERAL = "one process", "several"
WORKERS, MOST = 2, 3  # without the chief; machines that compute
LIMIT_S = 3600.0
MEGABITS = (0, 1000, 100)  # 0: no limit
# Machines that compute, and parameter servers; the first is one process.
KINDS = ((0, 0), *((machines, 1) for machines in range(1, MOST + 1)), (MOST, MOST))
SKIPPED_STEPS = 20  # they set things up
HEADS = {
    ACCURACY: {
        "en": "| seed | one process | chief and two workers |",
        "zh": "| 种子 | 单进程 | chief 加两个 worker |",
    },
    SPEED: {
        "en": "| machines that compute | parameter servers | the busiest link carries | "
        "a step without limit | at 1 Gbit/s | at 100 Mbit/s |",
        "zh": "| 计算机器 | 参数服务器 | 最忙链路流量 | 不限速时每步 | 1 Gbit/s | 100 Mbit/s |",
    },
}
BY_MODEL = {"en": "by the model", "zh": "按公式"}
ALONE = {"en": "one process", "zh": "单进程"}


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = runs_parser(__doc__)
    parser.add_argument("--skip", nargs="+", choices=(ACCURACY, SPEED), default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N")
    parser.add_argument("--steps", type=console.at_least_one, default=60, metavar="N")
    args = parser.parse_args(argv)
    if SPEED not in args.skip:
        move_into_namespace()
    results = read_results(RESULTS)
    if ACCURACY not in args.skip:
        for seed in args.seeds:
            for kind in (ONE, SEVERAL):
                key = f"{ACCURACY}, seed {seed}, {kind}"
                if key not in results:
                    results[key] = accuracy(args.folder, seed, kind)
                    write_results(RESULTS, results)
    if SPEED not in args.skip:
        for machines, servers in KINDS:
            for megabits in MEGABITS if machines else MEGABITS[:1]:
                key = f"{SPEED}, {machines} machines, {servers} servers, {megabits} Mbit/s"
                if key not in results:
                    results[key] = speed(machines, servers, megabits, args.steps)
                    write_results(RESULTS, results)
    write_table(ACCURACY, results)
    write_table(SPEED, results)
    return 0


def accuracy(folder: Path, seed: int, kind: str) -> dict[str, Any]:
    from bench.bench_training import read_fresh  # its TensorFlow takes seconds

    row = ROWS["digits"]
    config = prepare(row, folder, seed, f"cluster-{kind.replace(' ', '-')}")
    train(config, row.steps, WORKERS if kind == SEVERAL else -1)
    result = read_fresh(config)
    found = {"kind": kind, "seed": seed, "fresh": result.total, "right": result.right}
    console.say(f"seed {seed}, {kind}: {result.right / result.total:.2%}")
    return {**found, "date": datetime.date.today().isoformat()}


def train(
    config: SampleConfig,
    steps: int,
    workers: int,
    machines: Mapping[str, Namespace] | None = None,
    servers: int = 1,
) -> None:
    """Train with parameter servers, a chief and workers; with -1 in one process."""
    machines = machines or {}
    arguments = ["--config", str(config_file(config)), "--fresh"]
    hosts = {task: machine.address for task, machine in machines.items()}
    with tempfile.TemporaryDirectory() as logs:
        training = Training(
            Path(logs),
            cluster_of(workers, hosts, servers),
            [*arguments, "--cycle-stop", str(steps)],
            {task: machine.inside for task, machine in machines.items()},
        )
        tasks = ["chief:0"] if workers < 0 else training.tasks
        with training.running(tasks, in_cluster=workers >= 0):
            for task in tasks[::-1]:
                code = training.ended(task, LIMIT_S)
                if code:
                    raise CaptchaError(f"{task} ended with {code}: {training.said(task)[-800:]}")


def speed(machines: int, servers: int, megabits: int, steps: int) -> dict[str, Any]:
    """Measure steps with that many machines that compute; with 0 in one process."""
    row = Row(2000, steps, start=RANDOM)
    spaces = {task: Namespace(host, megabits) for task, host in placed(machines, servers).items()}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config = prepare(row, folder, 0, SPEED)
        links = {s.address: s for s in spaces.values()}.values()
        told = [stack.enter_context(link.connected()) for link in links]
        train(config, steps, machines - 1, spaces, servers)
        carried = max((link.link_bytes() for link in links), default=0)
        history = read_rows(config.model_save_dir.full / HISTORY_FILE)[SKIPPED_STEPS // 10 :]
    step_s = row.batch / statistics.median(line["images_per_second"] for line in history)
    found = {
        "machines": machines,
        "servers": servers,
        "megabits": megabits,
        "link": told[0] if told else "",
        "steps": steps,
        "step_ms": round(1000 * step_s, 1),
        "bytes_a_step": round(carried / steps),
        "date": datetime.date.today().isoformat(),
    }
    console.say(f"{found}")
    return found


def placed(machines: int, servers: int) -> dict[str, str]:
    """Return the address of the machine of each task: one server apart, or one on each machine."""
    tasks = ["chief:0", *(f"worker:{i}" for i in range(machines - 1))][:machines]
    hosts = {task: f"192.0.2.{31 + i}" for i, task in enumerate(tasks)}
    if servers == 1:
        return {"ps:0": "192.0.2.30"} | hosts
    return {f"ps:{i}": hosts[task] for i, task in enumerate(tasks[:servers])} | hosts


def write_table(kind: str, results: Mapping[str, Any]) -> None:
    runs = [run for key, run in results.items() if key.startswith(kind)]
    rows = accuracy_lines if kind == ACCURACY else speed_lines
    console.say(write_tables(f"cluster {kind}", HEADS[kind], lambda language: rows(runs, language)))


def accuracy_lines(runs: Sequence[Mapping[str, Any]], language: str) -> Iterator[str]:
    for (seed,), known in grouped(runs, ("seed",), "kind"):
        cells = [median_accuracy(known.get(kind, [])) for kind in (ONE, SEVERAL)]
        yield f"| {seed} | {' | '.join(cells)} |"


def speed_lines(runs: Sequence[Mapping[str, Any]], language: str) -> Iterator[str]:
    kinds = {(run["machines"], run["servers"], run["megabits"]): run for run in runs}
    for machines, servers in KINDS:
        free = kinds.get((machines, servers, 0))
        if not free:
            continue
        if not machines:
            yield f"| {ALONE[language]} | - | - | {free['step_ms']:.0f} ms | - | - |"
            continue
        cells = [f"{free['step_ms']:.0f} ms"]
        for megabits in MEGABITS[1:]:
            run = kinds.get((machines, servers, megabits))
            low, high = by_model(free, megabits)
            words = f"{BY_MODEL[language]} {low:.0f}-{high:.0f}"
            cells.append(f"{run['step_ms']:.0f} ms; {words}" if run else "-")
        carried = f"{free['bytes_a_step'] / 1e6:.1f} MB"
        yield f"| {machines} | {servers} | {carried} | {' | '.join(cells)} |"


def by_model(free: Mapping[str, Any], megabits: int) -> tuple[float, float]:
    """Return the least and the most that a step should take, ms, by one without a limit."""
    bytes_per_ms = megabits * 1e6 / 8 / 1000
    both_ways = free["bytes_a_step"] / bytes_per_ms
    return max(free["step_ms"], both_ways / 2), free["step_ms"] + both_ways


if __name__ == "__main__":
    sys.exit(main())
