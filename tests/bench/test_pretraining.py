"""What trains the starting weights: texts that fit, the newest images, case ignored."""

import queue
import random

import numpy as np

from bench.lib.pretraining import (
    CHARACTERS,
    GRID,
    NETWORK,
    POSITIONS,
    SIZES,
    PretrainingGraph,
    Size,
    right,
)
from bench.ship_backbone import ship
from bench.train_backbone import CHUNK, POOL, TIMES_SEEN, Pool, add_drawn, random_text
from cnnlib.dataset.labels import PAD_ID
from cnnlib.networks import starting_weights
from tests.training.helpers import exact_session


def test_texts_have_known_characters_and_fit():
    rng = random.Random(0)
    texts = [random_text(rng.randint(*size.lengths), rng) for size in SIZES for _ in range(200)]
    assert set("".join(texts)) == set(CHARACTERS)
    assert max(map(len, texts)) <= POSITIONS


def test_pool_holds_the_newest_images():
    pool = Pool(SIZES[2])
    count = POOL // CHUNK + 1
    for number in range(count):
        pixels = np.full((CHUNK, SIZES[2].height, SIZES[2].width, 3), number, np.uint8)
        pool.add(pixels, np.full((CHUNK, POSITIONS), number, np.int32))
    pixels, char_ids = pool.batch(np.random.default_rng(0))
    assert (pixels[:, 0, 0, 0] == char_ids[:, 0]).all()
    assert char_ids.max() <= count - 1 and len(np.unique(char_ids)) > 20
    assert pool.char_ids[0, 0] == count - 1  # the oldest is gone


def test_drawing_waits_until_images_were_seen_often_enough():
    size = SIZES[2]
    pixels = np.zeros((CHUNK, size.height, size.width, 3), np.uint8)
    char_ids = np.zeros((CHUNK, POSITIONS), np.int32)
    chunks, pools = queue.Queue(), [Pool(size)]
    for _ in range(2 * POOL // CHUNK):
        chunks.put((0, pixels, char_ids))
    add_drawn(pools, chunks, trained=0)
    assert 0 <= pools[0].added - POOL < CHUNK
    add_drawn(pools, chunks, trained=TIMES_SEEN * 10 * CHUNK)
    assert 0 <= pools[0].added - POOL - 10 * CHUNK < CHUNK


def test_case_and_what_comes_after_the_end_do_not_count():
    ids = {c: i for i, c in enumerate(CHARACTERS)}
    end = len(CHARACTERS)
    char_ids = np.full((3, POSITIONS), PAD_ID)
    char_ids[:, :2] = [[ids["a"], ids["7"]]] * 3
    answers = np.full((3, POSITIONS), end)
    answers[0, :4] = ids["A"], ids["7"], end, ids["x"]
    answers[1, :2] = ids["a"], ids["1"]
    answers[2, :3] = ids["a"], ids["7"], ids["7"]
    logits = np.eye(end + 1)[answers]
    assert right(logits, char_ids) == 1 / 3


def test_training_goes_on_from_its_save_and_is_shipped(tmp_path, monkeypatch, capsys):
    sizes = [Size(32, 32, (1, 3), 0.5), Size(32, 16, (1, 3), 0.5)]
    rng = np.random.default_rng(0)
    char_ids = np.full((8, POSITIONS), PAD_ID, np.int32)
    char_ids[:, 0] = np.arange(8)
    graph = PretrainingGraph(sizes)
    with exact_session(graph.graph) as session:
        assert graph.restore(session, tmp_path) == 0
        for number, size in enumerate(sizes):
            pixels = rng.integers(0, 256, (8, size.height, size.width, 3), np.uint8)
            losses = [graph.train(session, number, pixels, char_ids, 1e-3)[0] for _ in range(4)]
            assert losses[-1] < losses[0]
        graph.save(session, tmp_path, 8)
        assert graph.restore(session, tmp_path) == 8
    ship(tmp_path / "averaged.npz", tmp_path / "backbone")
    monkeypatch.setattr(starting_weights, "BACKBONE_DIR", tmp_path / "backbone")
    start = starting_weights.read_start("backbone", NETWORK)
    assert start and start.values["attention/place"].shape == (*GRID, 128)
    assert not [name for name in start.values if name.startswith("columns")]
    assert "after 8 steps" in capsys.readouterr().out
