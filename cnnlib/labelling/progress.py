"""How labelling goes: counts, speed, how labels agree with the model and with each other."""

from __future__ import annotations

from typing import Any

from cnnlib.evaluation.metrics import wilson_interval
from cnnlib.labelling.desk import LabellingDesk
from cnnlib.labelling.store import LABEL, LABELLED, SECOND, UNDONE, UNUSABLE, LabelStore

IDLE_S = 60.0  # without an answer: not counted as work
RECENT = 300  # steps, for the images an hour


def describe(desk: LabellingDesk) -> dict[str, Any]:
    """Return what is the same for all labellers (JSON values)."""
    spec, info = desk.spec, desk.reader.info
    done, total = desk.reader.progress()
    return {
        "name": desk.config_file.stem,
        "char_set": list(spec.char_set),
        "min_captcha": spec.min_captcha,
        "max_captcha": spec.max_captcha,
        "ignore_case": spec.ignore_case,
        "model": info and {"step": info.step, **info.scores},
        "counts": desk.store.counts(),
        "unusable_reason": unusable_reason(desk.store),
        "images_per_hour": images_per_hour(desk.store),
        "agreement": agreement(desk.store, desk.reader.weights),
        "second_readings": second_readings(desk.store),
        "reading": {"done": done, "of": total},
        "problem": desk.problem or desk.reader.problem,
    }


def unusable_reason(store: LabelStore) -> str:
    """Return why most files that are not images of this captcha are none, or ""."""
    row = store.row(
        "SELECT reason FROM images WHERE state = ? GROUP BY reason ORDER BY count(*) DESC LIMIT 1",
        UNUSABLE,
    )
    return str(row["reason"]) if row else ""


def agreement(store: LabelStore, weights: str) -> dict[str, Any]:
    """Compare the labels of images chosen by chance with what these weights had read."""
    counts = store.row(
        "SELECT count(*) AS n, coalesce(sum(images.label = changes.suggestion), 0) AS same "
        "FROM images JOIN changes ON changes.image = images.id AND changes.step = images.step "
        "WHERE images.state = ? AND images.by_chance AND changes.suggestion != '' "
        "AND changes.weights = ?",
        LABELLED,
        weights,
    )
    assert counts is not None
    low, high = wilson_interval(counts["same"], counts["n"])
    return {"same": counts["same"], "of": counts["n"], "low": low, "high": high}


def second_readings(store: LabelStore) -> dict[str, Any]:
    """Return how many images were read twice, and how many of them otherwise."""
    counts = store.row(
        "SELECT count(*) AS n, coalesce(sum(label != suggestion), 0) AS different FROM changes "
        "WHERE step IN (SELECT max(step) FROM changes JOIN steps ON steps.id = step "
        f"WHERE kind = ? AND steps.id NOT IN ({UNDONE}) GROUP BY image)",
        SECOND,
    )
    assert counts is not None
    low, high = wilson_interval(counts["different"], counts["n"])
    return {"different": counts["different"], "of": counts["n"], "low": low, "high": high}


def images_per_hour(store: LabelStore) -> int | None:
    """Return the speed of the last steps of everybody together; pauses are not counted."""
    rows = store.rows(
        "SELECT time, (SELECT count(*) FROM changes WHERE step = steps.id) AS images "
        f"FROM steps WHERE kind = ? AND id NOT IN ({UNDONE}) ORDER BY id DESC LIMIT ?",
        LABEL,
        RECENT,
    )
    gaps = [(a["time"] - b["time"], a["images"]) for a, b in zip(rows, rows[1:], strict=False)]
    work = [(gap, images) for gap, images in gaps if gap < IDLE_S]
    seconds = sum(gap for gap, _ in work)
    if len(work) < 5 or seconds <= 0:
        return None
    return round(sum(images for _, images in work) / seconds * 3600)
