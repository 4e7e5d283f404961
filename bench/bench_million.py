"""Send a million drawn captchas through recognition, and half of them through a training's start.

    python3 bench/bench_million.py [--images N] [--folder FOLDER] [--skip PART ...]

Draws N captchas (1,000,000; half an hour) into tar archives of 50,000 in FOLDER, where they stay;
what is there is not drawn again. Then

recognise: recognize_batch.py reads all archives into one CSV file, with the ready model. Written
down are the seconds, and the memory of the process, at each tenth of the images.
learn: of a hundredth, a tenth and all of half the images as files, verify_and_split_data.py and the
first 200 steps of train_model.py: the seconds of each, and the memory of the process.

Prints the tables, and writes them to docs/*/results.md and bench/million_results.json. Takes 10 GB
of the disk. Nothing else should run meanwhile.
"""

from __future__ import annotations

import datetime
import math
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.lib.machine import anonymous_mb
from bench.lib.pages import write_tables
from bench.lib.results import read_results, write_results
from bench.lib.rows import Row
from bench.lib.run_folders import config_file, lay_out, runs_parser
from cnnlib import console
from cnnlib.bulk.work_folder import WorkFolder
from cnnlib.config import BACKBONE, CAPTCHA_CONFIG, load_captcha_config
from cnnlib.errors import CaptchaError
from cnnlib.files import replacing
from cnnlib.paths import PROJECT_ROOT
from gen_image.generator import draw_samples

RESULTS = PROJECT_ROOT / "bench" / "million_results.json"
RECOGNISE, LEARN = PARTS = ("recognise", "learn")
PER_ARCHIVE = 50_000
SHARES = (100, 10, 1)  # half of the images divided by each
STEPS = 200
SAMPLED_S = 0.2
HEADS = {
    RECOGNISE: {
        "en": "| images | after | images a second since the line before | memory of its own |",
        "zh": "| 图片数 | 用时 | 自上一行起每秒图片数 | 进程自身占用内存 |",
    },
    LEARN: {
        "en": "| images | verify and split | the same for each 1,000 | until the first steps "
        "| a step | memory of its own, verifying and training |",
        "zh": "| 图片数 | 校验与划分 | 每 1,000 张用时 | 到最初几步为止 | 每步 "
        "| 校验和训练时进程自身占用内存 |",
    },
}
UNITS = {"en": "s", "zh": "秒"}


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = runs_parser(__doc__)
    parser.add_argument("--images", type=console.at_least_one, default=1_000_000, metavar="N")
    parser.add_argument("--skip", nargs="+", choices=PARTS, default=[])
    args = parser.parse_args(argv)
    folder, results = args.folder / "million", read_results(RESULTS)
    archives = draw(folder, args.images)
    if RECOGNISE not in args.skip:
        results[RECOGNISE] = recognise(archives, args.images)
        write_results(RESULTS, results)
    if LEARN not in args.skip:
        half = args.images // 2
        results[LEARN] = [learn(archives, half // share) for share in SHARES]
        write_results(RESULTS, results)
    write_table(RECOGNISE, recognise_lines, results)
    write_table(LEARN, learn_lines, results)
    return 0


def write_table(part: str, lines: Callable[..., Iterator[str]], results: Mapping[str, Any]) -> None:
    rows = results.get(part, [])
    console.say(
        write_tables(f"million {part}", HEADS[part], lambda language: lines(rows, UNITS[language]))
    )


def draw(folder: Path, count: int) -> list[Path]:
    """Draw that many captchas into archives, those that are missing; return the archives."""
    folder.mkdir(parents=True, exist_ok=True)
    archives = []
    for start in range(0, count, PER_ARCHIVE):
        archive = folder / f"captchas-{start:07}-{min(count, start + PER_ARCHIVE):07}.tar"
        archives.append(archive)
        if archive.exists():
            continue
        with tempfile.TemporaryDirectory(dir=folder) as drawn, replacing(archive) as temporary:
            captcha = PROJECT_ROOT / CAPTCHA_CONFIG
            left = min(PER_ARCHIVE, count - start)
            draw_samples(load_captcha_config(captcha, root_dir=drawn, count=left))
            with tarfile.open(temporary, "w") as tar:
                for file in sorted(Path(drawn).iterdir()):
                    tar.add(file, file.name)
    return archives


def recognise(archives: Sequence[Path], count: int) -> list[dict[str, float]]:
    """Read all images of the archives; return where it was after each tenth."""
    reached: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "answers.csv"
        work, began_s = WorkFolder(output, overwrite=False), time.monotonic()

        def look(pid: int) -> None:
            with suppress(CaptchaError, OSError):  # not begun yet, or over
                images = work.committed().rows
                if images >= (len(reached) + 1) * count / 10:
                    seconds, memory = time.monotonic() - began_s, anonymous_mb(pid)
                    reached.append({"images": images, "seconds": seconds, "memory_mb": memory})
                    console.say(f"{reached[-1]}")

        options = ["--config", "conf/pretrained_config.json", "--output", str(output)]
        run = watched("recognize_batch.py", *map(str, archives), *options, look=look)
        with output.open(encoding="utf-8") as lines:
            rows = sum(1 for _ in lines) - 1
    if rows != count:
        raise CaptchaError(f"{rows} rows of {count} images")
    last = {"images": rows, "seconds": run["seconds"], "memory_mb": run["memory_mb"]}
    return [*reached[:9], last]


def learn(archives: Sequence[Path], count: int) -> dict[str, Any]:
    """Verify, split and train on that many of the images."""
    row = Row(count, STEPS, start=BACKBONE)
    with tempfile.TemporaryDirectory(dir=archives[0].parent) as folder:
        config = lay_out(row, Path(folder), 0, LEARN)
        unpack(archives, count, config.origin_image_dir.full)
        options = ["--config", str(config_file(config))]
        split = watched("verify_and_split_data.py", *options)
        train = watched("train_model.py", *options, until="第10次训练")
    found = {
        "images": count,
        "split_s": split["seconds"],
        "split_mb": split["memory_mb"],
        "first_s": train["until_s"],
        "step_ms": int(re.findall(r"at (\d+) ms a step", train["said"])[-1]),
        "train_mb": train["memory_mb"],
        "date": datetime.date.today().isoformat(),
    }
    console.say(f"{found}")
    return found


def unpack(archives: Sequence[Path], count: int, folder: Path) -> None:
    """Write the first images of the archives as files."""
    folder.mkdir(parents=True)
    for archive in archives:
        with tarfile.open(archive) as tar:
            for member in tar:
                if not count:
                    return
                data = tar.extractfile(member)
                assert data, "archives hold files alone"
                (folder / member.name).write_bytes(data.read())
                count -= 1


def watched(
    script: str, *arguments: str, until: str = "", look: Callable[[int], object] = id
) -> dict[str, Any]:
    """Run a script; return its seconds, most memory, what it said, and when it said `until`.

    `look` is called again and again with its process number.
    """
    began_s, until_s, memory_mb = time.monotonic(), 0.0, 0.0
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        process = subprocess.Popen(
            [sys.executable, script, *arguments],
            cwd=PROJECT_ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        while process.poll() is None:
            time.sleep(SAMPLED_S)
            memory = anonymous_mb(process.pid)
            memory_mb = memory_mb if math.isnan(memory) else max(memory_mb, memory)
            look(process.pid)
            if until and not until_s and until in _said(out):
                until_s = time.monotonic() - began_s
        said = _said(out)
    if process.returncode:
        raise CaptchaError(f"{script} ended with {process.returncode}: {said[-800:]}")
    seconds = time.monotonic() - began_s
    return {"seconds": seconds, "memory_mb": memory_mb, "said": said, "until_s": until_s}


def _said(out: IO[str]) -> str:
    """Return what a process has written so far, without moving the place at which it writes."""
    return os.pread(out.fileno(), os.fstat(out.fileno()).st_size, 0).decode(errors="replace")


def recognise_lines(reached: Sequence[Mapping[str, float]], unit: str) -> Iterator[str]:
    images, seconds = 0.0, 0.0
    for row in reached:
        speed = (row["images"] - images) / (row["seconds"] - seconds)
        images, seconds = row["images"], row["seconds"]
        yield f"| {images:,.0f} | {seconds:.0f} {unit} | {speed:,.0f} | {row['memory_mb']:.0f} MB |"


def learn_lines(rows: Sequence[Mapping[str, Any]], unit: str) -> Iterator[str]:
    for row in rows:
        each = 1000 * row["split_s"] / row["images"]
        yield (
            f"| {row['images']:,} | {row['split_s']:.1f} {unit} | {each:.2f} {unit} "
            f"| {row['first_s']:.1f} {unit} | {row['step_ms']} ms "
            f"| {row['split_mb']:.0f}, {row['train_mb']:.0f} MB |"
        )


if __name__ == "__main__":
    sys.exit(main())
