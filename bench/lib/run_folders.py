"""The folder of a row's run: its configs, its images, its model."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.lib.rows import ROWS, Row, definition
from cnnlib import console
from cnnlib.config import SampleConfig, load_captcha_config, load_sample_config
from cnnlib.config_reader import read_json
from cnnlib.dataset.splitting import verify_and_split
from cnnlib.files import write_json
from cnnlib.paths import PROJECT_ROOT, ProjectPath, resolve_output_path
from gen_image.generator import draw_samples

RUNS = PROJECT_ROOT / "bench" / "runs"
CONF = PROJECT_ROOT / "conf"
SAMPLE_FILE = "sample_config.json"


def runs_parser(manual: str | None) -> argparse.ArgumentParser:
    """Return the parser of a bench that works in FOLDER, which holds images and models."""
    parser = console.parser(manual)
    parser.add_argument("--folder", type=resolve_output_path, metavar="FOLDER", default=RUNS)
    return parser


def lay_out(row: Row, folder: Path, seed: int, name: str) -> SampleConfig:
    """Write the configs of a row, and return the one of the samples.

    Rows of equal images and seed share those. The teacher's model is that of its row in `folder`.
    """
    conf = folder / f"{name}-{seed}-{_digest(definition(row))}" / "conf"
    drawn = _drawing(row)
    sample = _sampling(row, folder / _images_name(row, drawn, seed), seed)
    write_json(conf / SAMPLE_FILE, read_json(CONF / SAMPLE_FILE) | sample)
    write_json(conf / "captcha_config.json", read_json(CONF / "captcha_config.json") | drawn)
    # No config may name the networks and recipes of the ablation.
    return dataclasses.replace(
        load_sample_config(conf / SAMPLE_FILE, teacher=_teacher(row, folder, seed)),
        network=row.network,
        recipe=row.recipe,
    )


def _teacher(row: Row, folder: Path, seed: int) -> Path | None:
    """Return the model that a row learns from, if there is one."""
    if not row.teacher:
        return None
    return lay_out(ROWS[row.teacher], folder, seed, row.teacher).model_save_dir.full


def prepare(row: Row, folder: Path, seed: int, name: str) -> SampleConfig:
    """Lay out a row, draw its images and split them; return its config."""
    config = lay_out(row, folder, seed, name)
    draw(config, config.origin_image_dir.full, row.images)
    verify_and_split(config, seed)
    return config


def draw(config: SampleConfig, target: Path, count: int) -> None:
    """Draw to `target` until it holds `count` images; those that were split from it count."""
    folders = [target]
    if target == config.origin_image_dir.full:
        folders += [config.train_image_dir.full, config.test_image_dir.full]
    present = sum(1 for folder in folders for _ in folder.glob("*.png"))
    captcha = conf_dir(config) / "captcha_config.json"
    left = max(0, count - present)
    draw_samples(load_captcha_config(captcha, root_dir=str(target), count=left))


def moved_to(config: SampleConfig, target: Path, **changed: Any) -> SampleConfig:
    """Return `config` with its folders of images, model and logs below `target`."""
    folders: dict[str, Any] = {
        f"{kind}_image_dir": ProjectPath(target / kind)
        for kind in ("origin", "new", "train", "test")
    }
    return dataclasses.replace(
        config,
        **folders,
        model_save_dir=ProjectPath(target / "model"),
        log_dir=ProjectPath(target / "logs"),
        **changed,
    )


def config_file(config: SampleConfig) -> Path:
    """Return the file of a config that was laid out."""
    return conf_dir(config) / SAMPLE_FILE


def conf_dir(config: SampleConfig) -> Path:
    return config.model_save_dir.full.parent / "conf"


def _drawing(row: Row) -> dict[str, Any]:
    """Return the keys of a captcha config in which a row differs from the shipped one."""
    return {
        "characters": row.characters,
        "char_count": row.length,
        "width": row.width,
        "height": row.drawn_height or row.height,
        "min_char_count": row.min_length,
        "style": row.style,
        "fonts": list(row.fonts),
    }


def _sampling(row: Row, images: Path, seed: int) -> dict[str, Any]:
    """Return the keys of a sample config in which a row differs from the shipped one."""
    folders = {
        f"{kind}_image_dir": str(images / kind) for kind in ("origin", "new", "train", "test")
    }
    return folders | {
        "char_set": row.characters,
        "min_captcha": row.min_length,
        "max_captcha": row.length,
        "image_width": row.width,
        "image_height": row.height,
        "image_channels": row.channels,
        "resize": row.resize or False,
        "ignore_case": row.folds_case,
        "cycle_stop": row.steps,
        "acc_stop": 1.0,
        "train_batch_size": row.batch,
        "start": row.start,
        "seed": seed,
    }


def _images_name(row: Row, drawn: Mapping[str, Any], seed: int) -> str:
    """Return the name of the folder for all images of a kind."""
    name = f"{row.images}x{len(row.characters)}x{row.length}x{row.width}-{seed}"
    plain = dataclasses.replace(
        row, style="captcha", min_length=0, fonts=(), drawn_height=0, height=60
    )
    return name if row == plain else f"{name}-{_digest(drawn)}"


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:8]
