"""Measure how fast a folder of images becomes a project, against copying its files alone.

    python3 bench/bench_import.py [--images N [N ...]]

For each number of images (20,000 and 200,000), in a process of its own: writes that many different
ones of some 4 KB, copies their files to another folder and to the disk, then does what
new_project.py does with the folder, and does it again. Prints seconds, the ratio to the copy, and
the anonymous memory of the process (RssAnon; Linux), and writes them to bench/import_results.json
and into docs/en/results.md and docs/zh/results.md. Nothing else should run meanwhile.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.lib.child import measured_in_child
from bench.lib.machine import anonymous_mb
from bench.lib.pages import markdown_table, replace_in_pages
from bench.lib.results import read_results, write_results
from bench.lib.timing import seconds_of
from cnnlib import console
from cnnlib.config import CAPTCHA_CONFIG, load_captcha_config
from cnnlib.console import SilentReporter
from cnnlib.dataset.labels import label_of
from cnnlib.importing.labelled_folder import read_labelled_folder
from cnnlib.importing.project import Project
from cnnlib.paths import PROJECT_ROOT
from gen_image.generator import draw_samples

RESULTS = PROJECT_ROOT / "bench" / "import_results.json"
MARKER = "import results"
WORDS = {
    "en": {
        "head": "| images | their files copied | a project made of them | ratio | made again | "
        "memory of its own, before and after |",
        "line": "| {images:,} | {copy_s:.1f} s | {import_s:.1f} s | {ratio:.1f} | {again_s:.1f} s "
        "| {before_mb:.0f}, {after_mb:.0f} MB |",
    },
    "zh": {
        "head": "| 图片数 | 只复制文件 | 建立项目 | 比值 | 再次运行 | 进程自身占用内存，前后 |",
        "line": "| {images:,} | {copy_s:.1f} 秒 | {import_s:.1f} 秒 | {ratio:.1f} | {again_s:.1f} "
        "秒 | {before_mb:.0f}、{after_mb:.0f} MB |",
    },
}
DRAWN = 1000


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__)
    parser.add_argument(
        "--images", type=console.at_least_one, nargs="+", metavar="N", default=[20_000, 200_000]
    )
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        console.say(json.dumps(measure(args.child)))
        return 0
    results = read_results(RESULTS)
    for count in args.images:
        results[str(count)] = measure_in_child(count)
        console.say(table({str(count): results[str(count)]}, WORDS["en"]))
    write_results(RESULTS, results)
    replace_in_pages(MARKER, {language: table(results, words) for language, words in WORDS.items()})
    return 0


def measure_in_child(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=PROJECT_ROOT / "sample") as folder:
        lay_out(Path(folder) / "theirs", count)
        return measured_in_child(__file__, folder)


def lay_out(folder: Path, count: int) -> None:
    """Draw some images, and write each of them many times, with other bytes after its end."""
    captcha = PROJECT_ROOT / CAPTCHA_CONFIG
    with tempfile.TemporaryDirectory() as drawn:
        draw_samples(load_captcha_config(captcha, root_dir=drawn, count=DRAWN))
        images = [(label_of(file.name), file.read_bytes()) for file in Path(drawn).iterdir()]
    folder.mkdir()
    for i in range(count):
        label, data = images[i % DRAWN]
        (folder / f"{label}-{i}.png").write_bytes(data + i.to_bytes(8, "big"))


def measure(folder: Path) -> dict[str, float]:
    theirs = folder / "theirs"
    copy_s = seconds_of(lambda: copy(theirs, folder / "copy"))
    shutil.rmtree(folder / "copy")
    before_mb = anonymous_mb()
    import_s = seconds_of(lambda: make(theirs, folder))
    after_mb = anonymous_mb()
    return {
        "images": len(os.listdir(theirs)),
        "copy_s": copy_s,
        "import_s": import_s,
        "again_s": seconds_of(lambda: make(theirs, folder)),
        "before_mb": before_mb,
        "after_mb": after_mb,
    }


def copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    os.sync()


def make(source: Path, root: Path) -> None:
    project = Project("bench", root)
    _, seen = project.copy_images(read_labelled_folder(source), None, SilentReporter())
    project.write_config(seen)


def table(results: Mapping[str, Mapping[str, float]], words: Mapping[str, str]) -> str:
    """Return the measurements as a Markdown table, the fewest images first."""
    rows = sorted(results.values(), key=lambda row: row["images"])
    return markdown_table(
        words["head"],
        (words["line"].format(ratio=row["import_s"] / row["copy_s"], **row) for row in rows),
    )


if __name__ == "__main__":
    sys.exit(main())
