"""Put the figures of the demo into docs/en/results.md and docs/zh/results.md.

    python3 bench/demo_results.py [--result model/demo/demo_result.json]

Reads what `quickstart.py demo` measured; replaces what is between the markers.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.lib.pages import PAGES, markdown_table, replace_in_pages
from cnnlib import console
from cnnlib.config_reader import read_json
from cnnlib.errors import CaptchaError
from cnnlib.paths import resolve_input_path

RESULT = "model/demo/demo_result.json"
MARKER = "demo results"
STEPS = ("draw", "split", "train", "test", "online")
WORDS = {
    "en": {
        "head": "| what | measured |",
        "right": "whole test images right",
        "of": "{:.1f} % of {:,}",
        "online": "captchas right online",
        "of_online": "{} of {}",
        "draw": "drawing {images:,} captchas",
        "split": "verifying and splitting",
        "train": "training, {step:,} steps",
        "test": "test",
        "online_s": "starting both servers, ten captchas online",
        "seconds": "{:.0f} s",
        "unknown": "not measured in one go",
        "machine": "machine",
        "cores": "{processor}, {cores} cores, {system}",
        "software": "software",
        "date": "date",
    },
    "zh": {
        "head": "| 项目 | 实测 |",
        "right": "测试集整图准确率",
        "of": "{:.1f} %（共 {:,} 张）",
        "online": "在线识别正确数",
        "of_online": "{} / {}",
        "draw": "生成 {images:,} 张验证码",
        "split": "校验与拆分",
        "train": "训练 {step:,} 步",
        "test": "批量验证",
        "online_s": "启动两个服务并在线识别十张",
        "seconds": "{:.0f} 秒",
        "unknown": "未一次完成，无数据",
        "machine": "机器",
        "cores": "{processor}，{cores} 核，{system}",
        "software": "软件",
        "date": "日期",
    },
}


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__)
    parser.add_argument("--result", default=RESULT, metavar="FILE", help=f"(default: {RESULT})")
    file = resolve_input_path(parser.parse_args(argv).result)
    if not file.exists():
        raise CaptchaError(f"{file} does not exist: run python3 quickstart.py demo first")
    result = read_json(file)
    replace_in_pages(MARKER, {language: table(result, words) for language, words in WORDS.items()})
    for page in PAGES.values():
        console.say(f"written: {page}")
    return 0


def table(result: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """Return the figures as a Markdown table in the language of `words`."""
    rows = (*_accuracy(result, words), *_seconds(result, words), *_machine(result, words))
    return markdown_table(words["head"], (f"| {what} | {figure} |" for what, figure in rows))


def _accuracy(result: Mapping[str, Any], words: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield words["right"], words["of"].format(result["accuracy_percent"], result["tested"])
    online = words["of_online"].format(result["online_right"], result["online_total"])
    yield words["online"], online


def _seconds(result: Mapping[str, Any], words: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for step in STEPS:
        seconds = result["seconds"].get(step)
        title = words["online_s" if step == "online" else step].format(**result)
        yield title, words["unknown"] if seconds is None else words["seconds"].format(seconds)


def _machine(result: Mapping[str, Any], words: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    libraries = [f"{name} {version}" for name, version in result["libraries"].items()]
    yield words["machine"], words["cores"].format(**result)
    yield words["software"], ", ".join([f"Python {result['python']}", *libraries])
    yield words["date"], result["date"]


if __name__ == "__main__":
    sys.exit(main())
