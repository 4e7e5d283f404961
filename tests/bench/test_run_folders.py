"""The folders of measured rows, and the practice configurations that repeat them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.lib.rows import OTHERS, ROWS
from bench.lib.run_folders import conf_dir, lay_out
from cnnlib.config import STYLE_NAMES, load_captcha_config
from cnnlib.paths import PROJECT_ROOT

PRACTICE = sorted(PROJECT_ROOT.glob("conf/practice/*.json"))


def test_only_rows_of_equal_images_share_them(tmp_path: Path) -> None:
    rows = (ROWS["20k"], OTHERS["wave"], OTHERS["4-to-6"], OTHERS["chinese"])
    folders = {str(lay_out(row, tmp_path, 0, "x").train_image_dir) for row in rows}
    assert len(folders) == len(rows)
    longer = replace(ROWS["20k"], steps=2 * ROWS["20k"].steps)
    assert str(lay_out(longer, tmp_path, 0, "y").train_image_dir) in folders
    assert str(lay_out(longer, tmp_path, 1, "y").train_image_dir) not in folders


def test_a_row_of_another_definition_has_another_model(tmp_path: Path) -> None:
    row = ROWS["20k"]
    config = lay_out(row, tmp_path, 0, "20k")
    assert config.model_save_dir == lay_out(row, tmp_path, 0, "20k").model_save_dir
    changed = lay_out(replace(row, steps=10), tmp_path, 0, "20k")
    assert config.model_save_dir != changed.model_save_dir


@pytest.mark.parametrize("path", PRACTICE, ids=lambda path: path.stem)
def test_a_practice_configuration_draws_what_was_measured(path: Path, tmp_path: Path) -> None:
    config = load_captcha_config(path)
    assert config.root_dir.full == PROJECT_ROOT / "sample/practice" / path.stem
    drawn = conf_dir(lay_out(OTHERS[path.stem], tmp_path, 0, path.stem)) / "captcha_config.json"
    measured = load_captcha_config(drawn, root_dir=config.root_dir)
    assert measured == replace(config, count=measured.count)


def test_every_style_has_its_practice_configuration() -> None:
    assert {load_captcha_config(path).style for path in PRACTICE} == set(STYLE_NAMES)
