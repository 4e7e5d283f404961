"""Write the tables of keys in docs/en/configuration.md and docs/zh/configuration.md.

    python3 docs/config_tables.py [--check]

Names, defaults and meanings are those of cnnlib/config.py; values of required keys are those of
conf/sample_config.json and conf/captcha_config.json. --check writes nothing; the exit code is 1
where a page is stale.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import Field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.lib.pages import markdown_table, replace_between_markers, text_between_markers
from cnnlib import console
from cnnlib.config import CAPTCHA_CONFIG, SAMPLE_CONFIG, CaptchaConfig, SampleConfig
from cnnlib.config_reader import read_json
from cnnlib.paths import PROJECT_ROOT

PAGES = {
    language: PROJECT_ROOT / "docs" / language / "configuration.md" for language in ("en", "zh")
}
HEADS = {"en": "| key | value | meaning |", "zh": "| 配置项 | 值 | 含义 |"}
SHIPPED: dict[type, str] = {SampleConfig: SAMPLE_CONFIG, CaptchaConfig: CAPTCHA_CONFIG}
END = "keys"  # of each table


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__)
    parser.add_argument("--check", action="store_true", help="only say which pages are stale")
    check = parser.parse_args(argv).check
    stale = stale_tables()
    for page, marker, text in stale:
        if not check:
            replace_between_markers(page, marker, text, END)
        console.say(f"{'stale' if check else 'written'}: {marker} in {page}")
    return int(check and bool(stale))


def stale_tables() -> list[tuple[Path, str, str]]:
    """Return page, marker and new text of each table that is not what the code says."""
    tables = [
        (page, f"keys of {kind.__name__}", table(kind, shipped, language))
        for language, page in PAGES.items()
        for kind, shipped in SHIPPED.items()
    ]
    return [
        (page, marker, text)
        for page, marker, text in tables
        if text_between_markers(page, marker, END) != text
    ]


def table(kind: type, shipped: str, language: str) -> str:
    """Return the keys of a config as a Markdown table; `shipped` is the file with its values."""
    values = read_json(PROJECT_ROOT / shipped)
    return markdown_table(
        HEADS[language],
        (
            f"| `{field.name}` | `{value(field, values)}` | {field.metadata[language]} |"
            for field in dataclasses.fields(kind)
        ),
    )


def value(field: Field[Any], values: Mapping[str, Any]) -> str:
    """Return the shipped value of a key, else its default, as a user would write it in JSON."""
    shown = values.get(field.name, field.default)
    if isinstance(shown, tuple):
        shown = list(shown)
    elif not isinstance(shown, (bool, int, float)):
        shown = str(shown) or False  # a path as its text; an empty text is written as false
    return json.dumps(shown, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
