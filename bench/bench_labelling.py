"""Measure what the order of the labelling page is worth, with a simulated labeller.

    python3 bench/bench_labelling.py CASE ... [--seeds N ...] [--backbone FOLDER] [--folder FOLDER]

A CASE is a style of practice captchas, or a folder of captchas that its owner published, as in
bench_start.py. Its images lie in a folder without labels. The page's own code chooses images,
suggests texts, moves files and trains, as in use; labels that are known are typed, and keys
counted as the page needs them. After 200 labels by chance it trains; then twice: in the page's
order, and by chance. Both are read on the same fresh images after each round.

Writes each run to bench/labelling_results.json and the table to docs/*/results.md. Without a CASE
the table is written again.
"""

import dataclasses
import datetime
import json
import multiprocessing
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from bench.bench_start import Case, cases_parser, find_case, use_backbone
from bench.lib.pages import write_tables
from bench.lib.results import grouped, read_results, write_results
from cnnlib import console
from cnnlib.config import load_sample_config
from cnnlib.console import SilentReporter
from cnnlib.dataset.labels import content_serial
from cnnlib.labelling.desk import DOUBTFUL, LabellingDesk
from cnnlib.labelling.rounds import run_round
from cnnlib.paths import PROJECT_ROOT

RESULTS = PROJECT_ROOT / "bench" / "labelling_results.json"
MARKER = "labelling results"
LABELS = (200, 400, 600, 1000)  # after each round
STEPS = 1000  # of training, a round
POOL = 3000  # images without a label
CHOSEN, RANDOM = "chosen", "random"
HEADS = {
    "en": "| captcha | labels | right: chosen | right: by chance | keys an image: chosen | "
    "by chance | without suggestions |",
    "zh": "| 验证码 | 标注数 | 准确率：按页面顺序 | 随机 | 每张按键数：按页面顺序 | 随机 "
    "| 无建议 |",
}


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    args = cases_parser(__doc__).parse_args(argv)
    for name in args.cases:
        case = find_case(name, args.folder)
        for seed in args.seeds:
            measure(case, seed, args.backbone)
            write_table()
    write_table()
    return 0


def measure(case: Case, seed: int, backbone: Path | None) -> None:
    """Label and train in both ways, and write down each round; nothing where all is known."""
    key = f"{case.name}, seed {seed}"
    results = read_results(RESULTS)
    if key in results:
        return
    with tempfile.TemporaryDirectory() as folder:
        first = Simulation(Path(folder) / "first", case, seed, backbone)
        first.lay_out()
        start = first.run(RANDOM, LABELS[:1])
        ways = {}
        for way in (CHOSEN, RANDOM):
            shutil.copytree(first.root, Path(folder) / way)
            simulation = Simulation(Path(folder) / way, case, seed, backbone)
            ways[way] = start + simulation.run(way, LABELS[1:])
    results[key] = {
        "case": case.name,
        "seed": seed,
        "fresh": len(case.fresh),
        "steps": STEPS,
        "ways": ways,
        "date": datetime.date.today().isoformat(),
    }
    write_results(RESULTS, results)


class Simulation:
    """A project in a folder, whose labeller knows every label."""

    def __init__(self, root: Path, case: Case, seed: int, backbone: Path | None) -> None:
        self.root, self.case, self.seed, self.backbone = root, case, seed, backbone
        self._truth: dict[str, str] = {}  # digest -> label
        chosen = np.random.default_rng(seed).permutation(len(case.pool))[:POOL]
        self._source = case.config.origin_image_dir.full
        labels = case.pool.labels(case.config.char_set)
        self._images = [(case.pool.names[i], labels[i]) for i in sorted(chosen)]
        for name, label in self._images:
            data = (self._source / name).read_bytes()
            self._truth[content_serial(data)] = label

    @property
    def config_file(self) -> Path:
        return self.root / "conf" / "case.json"

    def lay_out(self) -> None:
        """Copy the images without their labels, and write the configuration."""
        unlabelled = self.root / "sample" / "unlabelled"
        unlabelled.mkdir(parents=True)
        for i, (name, _) in enumerate(self._images):
            shutil.copyfile(self._source / name, unlabelled / f"{i}{Path(name).suffix}")
        values = {
            f"{kind}_image_dir": f"sample/{kind}/"
            for kind in ("origin", "new", "train", "test", "api", "online", "local", "unlabelled")
        }
        own = self.case.config
        file = dataclasses.asdict(own)
        for name in ("char_set", "image_suffix"):
            file[name] = list(file[name])
        for name, value in list(file.items()):
            if name.endswith("_dir") or name.endswith("_file"):
                del file[name]
            elif name in ("start", "teacher"):
                file[name] = str(value) or False
        file |= values | {
            "model_save_dir": "model/",
            "labelling_dir": "sample/labelling/",
            "log_dir": "logs/",
            "labels_json_file": "labels.json",
            "use_labels_json_file": False,
            "resize": own.resize or False,
            "start": "backbone",
            "acc_stop": 1.0,
            "seed": self.seed,
        }
        self.config_file.parent.mkdir(parents=True)
        self.config_file.write_text(json.dumps(file, ensure_ascii=False), encoding="utf-8")

    def run(self, way: str, counts: Sequence[int]) -> list[dict[str, Any]]:
        """Label until there are that many labels, train, and read the fresh images; for each."""
        return [self._round(way, count) for count in counts]

    def _round(self, way: str, count: int) -> dict[str, Any]:
        config = load_sample_config(self.config_file)
        folders = [config.unlabelled_image_dir.full]
        desk = LabellingDesk(config, self.config_file, folders, seed=1000 * self.seed + count)
        try:
            desk.reader.work()
            keys, plain = self._label(desk, way, count)
            self._train()
            desk.reader.work()
            recognizer = desk.reader.recognizer
            assert recognizer is not None, "a round was trained"
            predictions = recognizer.predict_pixels(self.case.fresh.pixels)
        finally:
            desk.close()
        labels = self.case.fresh.labels(config.char_set)
        right = sum(p.text == label for p, label in zip(predictions, labels, strict=True))
        console.say(f"{self.case.name}, seed {self.seed}, {way}, {count} labels: {right}")
        return {"labels": count, "right": right, "keys": keys, "keys_without": plain}

    def _label(self, desk: LabellingDesk, way: str, count: int) -> tuple[float, float]:
        """Label up to `count` images; return the mean number of keys, and without suggestions."""
        rng = random.Random(f"{self.seed} {way} {count}")
        keys, plain = [], []
        spec = desk.spec
        fixed = spec.max_captcha if spec.min_captcha == spec.max_captcha else 0
        done = desk.store.counts()["labelled"]
        while done < count:
            if way == CHOSEN:
                items = desk.next_images("labeller", 1, [])
            else:
                rows = desk.store.rows(
                    "SELECT id FROM images WHERE state = 'waiting' ORDER BY digest"
                )
                items = desk.shown(rng.choice([row["id"] for row in rows]))
            [item] = items
            row = desk.store.image(item["id"])
            assert row is not None
            truth = self._truth[row["digest"]]
            used = keys_needed(item["text"], item["char_confidences"], truth, fixed)
            desk.label("labeller", item["id"], truth, keys=used, accept_new=False)
            if row["state"] == "waiting":  # else it was shown a second time
                keys.append(used)
                plain.append(keys_needed("", [], truth, fixed))
                done += 1
        return float(np.mean(keys)), float(np.mean(plain))

    def _train(self) -> None:
        """Train in a process of its own: this one has used a recogniser."""
        process = multiprocessing.get_context("spawn").Process(
            target=train_round, args=(self.config_file, self.backbone)
        )
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"the training ended with {process.exitcode}")


def train_round(config_file: Path, backbone: Path | None) -> None:
    if backbone:
        use_backbone(backbone)
    config = load_sample_config(config_file, cycle_stop=STEPS)
    run_round(config, reporter=SilentReporter())


def keys_needed(
    suggestion: str, confidences: Sequence[float], truth: str, fixed_length: int
) -> int:
    """Return how many keys the page needs for a label, the Enter key included.

    The cursor is on the first doubtful character. Arrows go to the first wrong one; from there to
    the last wrong one each character is typed. The last character of a label of fixed length goes
    on without Enter.
    """
    if suggestion == truth:
        return 1
    doubtful = [i for i, c in enumerate(confidences) if c < DOUBTFUL]
    cursor = doubtful[0] if doubtful else 0
    shared = min(len(suggestion), len(truth))
    wrong = [i for i in range(shared) if suggestion[i] != truth[i]]
    first = wrong[0] if wrong else shared
    if len(suggestion) == len(truth):
        last = wrong[-1]
        deleted = 0
    else:
        last = len(truth) - 1
        deleted = max(0, len(suggestion) - len(truth))
    typed = last - first + 1
    goes_on = len(truth) == fixed_length and typed > 0 and last == len(truth) - 1
    return abs(first - cursor) + typed + deleted + (0 if goes_on else 1)


# --- the table ---


def write_table() -> None:
    results = list(read_results(RESULTS).values())
    console.say(write_tables(MARKER, HEADS, lambda language: lines(results)))


def lines(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each case and number of labels: medians of the seeds, and their range."""
    rows = [
        {"case": run["case"], "way": way, "fresh": run["fresh"], **values}
        for run in results
        for way, rounds in run["ways"].items()
        for values in rounds
    ]
    for (case, labels), ways in grouped(rows, ("case", "labels"), "way"):
        shares = [_spread([r["right"] / r["fresh"] for r in ways[way]]) for way in (CHOSEN, RANDOM)]
        keys = [f"{np.mean([r['keys'] for r in ways[way]]):.2f}" for way in (CHOSEN, RANDOM)]
        plain = f"{np.mean([r['keys_without'] for r in ways[RANDOM]]):.2f}"
        yield f"| `{case}` | {labels:,} | {' | '.join([*shares, *keys, plain])} |"


def _spread(shares: Sequence[float]) -> str:
    """Return the median, and the range of several, in percent."""
    middle = f"{np.median(shares):.1%}".replace("%", " %")
    if len(shares) < 2:
        return middle
    return f"{middle} ({100 * min(shares):.1f} to {100 * max(shares):.1f})"


if __name__ == "__main__":
    sys.exit(main())
