"""Train the starting weights on captchas of ever new looks, drawn while training.

    python3 bench/train_backbone.py --hours 3 [--decay-hours 1] [--leave-out lines outline]

Goes on from what FOLDER/backbone holds, with other images; --folder names FOLDER. Writes its state
there, and weights averaged over steps as averaged.npz, which ship_backbone.py puts in their place.
Which typefaces are seen depends on the fonts that the machine has.
"""

from __future__ import annotations

import multiprocessing
import queue
import random
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_letters, ascii_lowercase, ascii_uppercase, digits
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.lib.pretraining import (
    CHARACTERS,
    POSITIONS,
    SIZES,
    SYMBOLS,
    PretrainingGraph,
    Size,
)
from bench.lib.run_folders import runs_parser
from cnnlib import console
from cnnlib.dataset.labels import PAD_ID
from cnnlib.networks.session import open_session, session_options
from gen_image.generator import end_with_parent
from gen_image.varied import VariedCaptcha

CHUNK, CHUNKS_AHEAD = 256, 8
POOL = 12_000  # images of each size
BATCH = 128
TIMES_SEEN = 3  # an image, by distortion each time another; drawing more takes time from training
PEAK = 8e-3
WARM_UP = 500  # steps
REPORT_STEPS, SAVE_STEPS = 100, 1000
ALPHABETS = {  # and how often texts are of one
    digits: 0.12,
    ascii_uppercase: 0.08,
    ascii_lowercase: 0.08,
    digits + ascii_uppercase: 0.17,
    digits + ascii_lowercase: 0.20,
    digits + ascii_letters: 0.28,
    2 * digits + SYMBOLS: 0.07,
}


def random_text(length: int, rng: random.Random) -> str:
    characters = rng.choices(list(ALPHABETS), list(ALPHABETS.values()))[0]
    return "".join(rng.choices(characters, k=length))


def draw_chunks(seed: int, left_out: Sequence[str], chunks: Any) -> None:
    """Put (number of the size, pixels uint8 [N, H, W, 3], char_ids int32 [N, P]) for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    rng = random.Random(seed)
    captcha = VariedCaptcha(left_out=left_out)
    ids = {c: i for i, c in enumerate(CHARACTERS)}
    while True:
        k = rng.choices(range(len(SIZES)), [s.share for s in SIZES])[0]
        size: Size = SIZES[k]
        pixels = np.empty((CHUNK, size.height, size.width, 3), np.uint8)
        char_ids = np.full((CHUNK, POSITIONS), PAD_ID, np.int32)
        for i in range(CHUNK):
            text = random_text(rng.randint(*size.lengths), rng)
            pixels[i] = np.asarray(captcha.draw(text, size.width, size.height, rng))
            char_ids[i, : len(text)] = [ids[c] for c in text]
        chunks.put((k, pixels, char_ids))


class Pool:
    """The newest images of a size."""

    def __init__(self, size: Size) -> None:
        self.pixels = np.empty((POOL, size.height, size.width, 3), np.uint8)
        self.char_ids = np.empty((POOL, POSITIONS), np.int32)
        self.added = 0

    def add(self, pixels: np.ndarray, char_ids: np.ndarray) -> None:
        places = (self.added + np.arange(len(pixels))) % POOL
        self.pixels[places], self.char_ids[places] = pixels, char_ids
        self.added += len(pixels)

    def batch(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        chosen = rng.integers(min(self.added, POOL), size=BATCH)
        return self.pixels[chosen], self.char_ids[chosen]


def add_drawn(pools: Sequence[Pool], chunks: Any, trained: int) -> None:
    """Add what is drawn to the pools; wait where one of them has too little for a batch.

    Leaves the rest in the queue, so that drawing waits, where `trained` images were fewer.
    """
    while True:
        waits = min(pool.added for pool in pools) < 2 * BATCH
        if not waits and sum(pool.added for pool in pools) >= POOL + trained / TIMES_SEEN:
            return
        try:
            number, pixels, char_ids = chunks.get(block=waits)
        except queue.Empty:
            return
        pools[number].add(pixels, char_ids)


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = runs_parser(__doc__)
    parser.add_argument("--hours", type=float, default=3.0, metavar="H")
    parser.add_argument(
        "--decay-hours", type=float, default=0.0, metavar="H", help="at the end, to a rate of 0"
    )
    parser.add_argument("--peak", type=float, default=PEAK, metavar="RATE")
    parser.add_argument("--leave-out", nargs="*", default=[], metavar="STYLE")
    parser.add_argument("--workers", type=console.at_least_one, default=1, metavar="N")
    args = parser.parse_args(argv)
    folder = args.folder / "backbone"
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    chunks = context.Queue(CHUNKS_AHEAD)
    seed = int(time.time())  # a training that goes on sees other images
    for number in range(args.workers):
        context.Process(
            target=draw_chunks, args=(seed + number, args.leave_out, chunks), daemon=True
        ).start()
    schedule = Schedule(args.peak, args.hours, args.decay_hours)
    try:
        train(folder, schedule, chunks, np.random.default_rng(seed))
    except KeyboardInterrupt:
        return console.EXIT_INTERRUPTED
    return 0


@dataclass(frozen=True)
class Schedule:
    """The rate by time: warmed up, constant, and falling to nothing in the last hours."""

    peak: float
    hours: float
    decay_hours: float

    def rate(self, step: int, passed_h: float) -> float:
        left = (self.hours - passed_h) / self.decay_hours if self.decay_hours else 1.0
        return self.peak * min(1.0, step / WARM_UP, left)


def train(folder: Path, schedule: Schedule, chunks: Any, rng: np.random.Generator) -> None:
    graph = PretrainingGraph(SIZES)
    pools = [Pool(size) for size in SIZES]
    shares = [size.share for size in SIZES]
    with open_session(graph.graph, session_options()) as session:
        step = graph.restore(session, folder)
        began_s, first, reported, scores = time.monotonic(), step, step, []
        while (passed_h := (time.monotonic() - began_s) / 3600) < schedule.hours:
            add_drawn(pools, chunks, (step - first) * BATCH)
            number = int(rng.choice(len(SIZES), p=shares))
            step += 1
            rate = schedule.rate(step, passed_h)
            scores.append(graph.train(session, number, *pools[number].batch(rng), rate))
            if step - reported == REPORT_STEPS:
                loss, ctc_loss, right = np.mean(scores, axis=0)
                console.say(
                    f"step {step}, {passed_h:.2f} h: loss {loss:.3f}, of columns {ctc_loss:.3f}, "
                    f"{right:.1%} right, rate {rate:.1e}, {sum(p.added for p in pools)} drawn"
                )
                reported, scores = step, []
            if step % SAVE_STEPS == 0:
                graph.save(session, folder, step)
        graph.save(session, folder, step)


if __name__ == "__main__":
    sys.exit(main())
