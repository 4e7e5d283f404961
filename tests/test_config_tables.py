"""The tables of keys in the documentation against the configs."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from cnnlib.config import CAPTCHA_CONFIG, CaptchaConfig
from docs import config_tables


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Copies of the pages, which a test may change."""
    for language, page in config_tables.PAGES.items():
        copy = tmp_path / f"{language}.md"
        shutil.copyfile(page, copy)
        monkeypatch.setitem(config_tables.PAGES, language, copy)
    return config_tables.PAGES


def test_the_pages_are_not_stale() -> None:
    assert config_tables.main(["--check"]) == 0, "run python3 docs/config_tables.py"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_changed_meaning_is_noticed(
    language: str, copies: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = with_meaning(CaptchaConfig, "width", language, "in pixels, say")
    monkeypatch.delitem(config_tables.SHIPPED, CaptchaConfig)
    monkeypatch.setitem(config_tables.SHIPPED, changed, CAPTCHA_CONFIG)
    before = copies[language].read_text("utf-8")
    assert config_tables.main(["--check"]) == 1
    assert copies[language].read_text("utf-8") == before
    assert config_tables.main([]) == 0
    assert "| `width` | `100` | in pixels, say |\n" in copies[language].read_text("utf-8")
    assert config_tables.main(["--check"]) == 0


def test_a_page_that_was_edited_is_repaired(
    copies: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    page = copies["en"]
    before = page.read_text("utf-8")
    page.write_text(before.replace("| `20000` |", "| `10000` |"), encoding="utf-8")
    assert config_tables.main(["--check"]) == 1
    assert f"stale: keys of SampleConfig in {page}" in capsys.readouterr().out
    assert config_tables.main([]) == 0
    assert page.read_text("utf-8") == before


def with_meaning(kind: type, key: str, language: str, meaning: str) -> type:
    """Return a config with another meaning of one key."""
    fields = []
    for field in dataclasses.fields(kind):
        metadata = {**field.metadata}
        if field.name == key:
            metadata[language] = meaning
        changed = dataclasses.field(default=field.default, metadata=metadata)
        fields.append((field.name, field.type, changed))
    return dataclasses.make_dataclass(kind.__name__, fields, frozen=True)
