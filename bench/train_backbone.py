"""Train the starting weights on captchas of ever new looks, drawn while training.

    python3 bench/train_backbone.py --hours 3 [--leave-out lines outline scattered]

Goes on from what FOLDER holds. Writes weights averaged over steps to FOLDER/averaged.npz.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import random
import signal
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.lib.pretraining import CHARACTERS, POSITIONS, SIZES, SYMBOLS, Size
from bench.lib.run_folders import RUNS
from cnnlib import console
from cnnlib.dataset.labels import PAD_ID
from cnnlib.paths import resolve_output_path
from gen_image.typefaces import LATIN
from gen_image.varied import VariedCaptcha

CHUNK = 256
POOL = 12_000  # images of each size
BATCH = 128
PEAK = 8e-3
WARM_UP = 1000


def random_text(length: int, rng: random.Random) -> str:
    kind = rng.random()
    digits, upper, lower = LATIN[:10], LATIN[36:], LATIN[10:36]
    if kind < 0.12:
        characters = digits
    elif kind < 0.2:
        characters = upper
    elif kind < 0.28:
        characters = lower
    elif kind < 0.45:
        characters = digits + upper
    elif kind < 0.65:
        characters = digits + lower
    elif kind < 0.93:
        characters = LATIN
    else:
        characters = digits + digits + SYMBOLS
    return "".join(rng.choices(characters, k=length))


def draw_chunks(seed: int, left_out: Sequence[str], chunks: Any) -> None:
    """Put (number of the size, pixels uint8 [N, H, W, 3], char_ids int32 [N, P]) for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
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


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has one"
    wait([parent.sentinel])
    os._exit(1)


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


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--decay-hours", type=float, default=0.0, help="at the end, to a rate of 0")
    parser.add_argument("--leave-out", nargs="*", default=[], metavar="STYLE")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--network", default="resnet_attention")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peak", type=float, default=PEAK)
    parser.add_argument("--folder", type=resolve_output_path, default=RUNS / "backbone")
    args = parser.parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    chunks = context.Queue(8)
    workers = [
        context.Process(
            target=draw_chunks,
            args=(args.seed * 1000 + i + int(time.time()), args.leave_out, chunks),
            daemon=True,
        )
        for i in range(args.workers)
    ]
    for worker in workers:
        worker.start()
    try:
        train(args, chunks)
    except KeyboardInterrupt:
        return console.EXIT_INTERRUPTED
    finally:
        for worker in workers:
            worker.kill()
    return 0


def train(args: Any, chunks: Any) -> None:
    from bench.lib.pretraining import PretrainingGraph, right
    from cnnlib.networks.session import open_session, session_options
    from cnnlib.networks.tensorflow_v1 import tf

    graph = PretrainingGraph(args.network, SIZES, args.seed)
    pools = [Pool(size) for size in SIZES]
    rng = np.random.default_rng((args.seed, os.getpid()))
    shares = np.array([s.share for s in SIZES]) / sum(s.share for s in SIZES)
    with open_session(graph.graph, session_options()) as session, graph.graph.as_default():
        session.run(graph.initializer)
        step, last = 0, tf.train.latest_checkpoint(str(args.folder))
        if last:
            graph.saver.restore(session, last)
            step = int(last.rsplit("-", 1)[1])
            console.say(f"goes on after step {step}")
        began, first = time.time(), step
        recent: list[list[float]] = []
        while (passed := (time.time() - began) / 3600) < args.hours:
            while True:
                try:
                    k, pixels, char_ids = chunks.get(min(p.added for p in pools) < 2 * BATCH)
                    pools[k].add(pixels, char_ids)
                except queue.Empty:
                    break
                if min(p.added for p in pools) >= 2 * BATCH and chunks.empty():
                    break
            k = int(rng.choice(len(SIZES), p=shares))
            built = graph.sizes[k]
            pixels, char_ids = pools[k].batch(rng)
            step += 1
            rate = args.peak * min(1, step / WARM_UP)
            if args.decay_hours:
                rate *= min(1.0, (args.hours - passed) / args.decay_hours)
            feeds = {built.X: pixels, built.Y: char_ids, graph.training: True, graph.rate: rate}
            fetches = [built.loss, built.ctc_loss, built.logits, built.train_step]
            loss, ctc, logits, _ = session.run(fetches, feeds)
            recent.append([loss, ctc, right(logits, char_ids)])
            if step % 100 == 0:
                loss, ctc, share = np.mean(recent, axis=0)
                recent = []
                drawn = sum(p.added for p in pools)
                speed = (step - first) / (time.time() - began)
                console.say(
                    f"{step} loss {loss:.3f} ctc {ctc:.3f} right {share:.3f} rate {rate:.1e} "
                    f"drawn {drawn} {speed:.2f} steps/s {passed:.2f} h"
                )
            if step % 1000 == 0:
                save(graph, session, args, step)
        save(graph, session, args, step)


def save(graph: Any, session: Any, args: Any, step: int) -> None:
    from bench.lib.pretraining import save_averages

    graph.saver.save(session, str(args.folder / "state"), step, write_meta_graph=False)
    save_averages(graph, session, args.folder / "averaged.npz", step)


if __name__ == "__main__":
    sys.exit(main())
