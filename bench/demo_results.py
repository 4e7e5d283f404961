"""Put the figures of the demo into README.md and README.zh-CN.md.

    python3 bench/demo_results.py [--result model/demo/demo_result.json]

Reads what `quickstart.py demo` measured; replaces what stands between the markers.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cnnlib import console
from cnnlib.config import PROJECT_ROOT, existing_path, read_json
from cnnlib.errors import CaptchaError
from cnnlib.files import replacing

MARKER = "demo results"
STEPS = ("draw", "split", "train", "test", "online")
WORDS = {
    "README.md": {
        "head": "| what | measured |", "right": "whole test images right",
        "of": "{:.1f} % of {:,}", "online": "captchas right online", "of_online": "{} of {}",
        "draw": "drawing {images:,} captchas", "split": "verifying and splitting",
        "train": "training, {step:,} steps", "test": "test",
        "online_s": "starting both servers, ten captchas online", "seconds": "{:.0f} s",
        "unknown": "not measured in one go", "machine": "machine",
        "cores": "{processor}, {cores} cores, {system}", "software": "software", "date": "date",
    },
    "README.zh-CN.md": {
        "head": "| 项目 | 实测 |", "right": "测试集整图准确率",
        "of": "{:.1f} %（共 {:,} 张）", "online": "在线识别正确数", "of_online": "{} / {}",
        "draw": "生成 {images:,} 张验证码", "split": "校验与拆分",
        "train": "训练 {step:,} 步", "test": "批量验证",
        "online_s": "启动两个服务并在线识别十张", "seconds": "{:.0f} 秒",
        "unknown": "未一次完成，无数据", "machine": "机器",
        "cores": "{processor}，{cores} 核，{system}", "software": "软件", "date": "日期",
    },
}


def table(result: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """Return the figures as a Markdown table in the language of `words`."""
    libraries = [f"{name} {version}" for name, version in result["libraries"].items()]
    rows = [(words["right"],
             words["of"].format(result["accuracy_percent"], result["tested"])),
            (words["online"],
             words["of_online"].format(result["online_right"], result["online_total"]))]
    for step in STEPS:
        seconds = result["seconds"].get(step)
        title = words["online_s" if step == "online" else step].format(**result)
        rows.append((title, words["unknown"] if seconds is None
                     else words["seconds"].format(seconds)))
    rows += [(words["machine"], words["cores"].format(**result)),
             (words["software"], ", ".join([f"Python {result['python']}", *libraries])),
             (words["date"], result["date"])]
    return "\n".join([words["head"], "|---|---|", *(f"| {a} | {b} |" for a, b in rows)]) + "\n"


def replace_between_markers(page: Path, marker: str, text: str) -> None:
    """Replace what stands between `<!-- marker -->` and `<!-- end of marker -->` in a page."""
    opening, closing = f"<!-- {marker} -->\n", f"<!-- end of {marker} -->"
    before, begin, rest = page.read_text(encoding="utf-8").partition(opening)
    _, end, after = rest.partition(closing)
    if not (begin and end):
        raise CaptchaError(f"{page}: the lines {opening.strip()} and {closing} are missing; put "
                           "them where the table belongs")
    with replacing(page) as temporary:
        temporary.write_text(before + begin + text + end + after, encoding="utf-8", newline="\n")


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--result", default="model/demo/demo_result.json", metavar="FILE")
    file = existing_path(parser.parse_args(argv).result)
    if not file.exists():
        raise CaptchaError(f"{file} does not exist: run python3 quickstart.py demo first")
    result = read_json(file)
    for name, words in WORDS.items():
        replace_between_markers(PROJECT_ROOT / name, MARKER, table(result, words))
        console.say(f"written: {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
