"""Compare the pixels that training and API see with those that a browser shows.

    python3 bench/bench_pixels.py [--browser /usr/bin/chromium]

Draws small files of every kind, has Chromium show each on a white ground, and compares them with
what cnnlib.dataset.images decodes: the largest difference in any channel of any pixel, of 255
levels. Needs Chromium and `pip install playwright`. Half a minute. Writes what the browser shows to
bench/pixels_results.json, which a test reads, and the tables to docs/*/results.md.
"""

import argparse
import base64
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from bench.lib.image_files import ImageFile, image_files
from bench.lib.pages import markdown_table, replace_in_pages
from bench.lib.results import read_results, write_results
from cnnlib import console
from cnnlib.dataset.images import open_image
from cnnlib.errors import SampleError
from cnnlib.paths import PROJECT_ROOT

RESULTS = PROJECT_ROOT / "bench" / "pixels_results.json"
MARKER = "pixels"
SAME = 2  # levels of 255
SAMPLED = slice(None, None, 8)  # rows and columns of which the results keep the pixels
SHOW = """async (file) => {
  const image = new Image();
  const loaded = new Promise((done) => { image.onload = image.onerror = done; });
  image.src = `data:application/octet-stream;base64,${file}`;
  await loaded;
  if (!image.naturalWidth) return null;
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0);
  const shown = context.getImageData(0, 0, canvas.width, canvas.height);
  return [canvas.width, canvas.height, btoa(String.fromCharCode(...shown.data))];
}"""
REFUSED = {"en": "refused", "zh": "拒绝"}
HEADS = {
    "en": ("| kind | files | alike |", "| file | levels | why |"),
    "zh": ("| 种类 | 文件数 | 一致 |", "| 文件 | 级差 | 原因 |"),
}
# Why files differ, by the beginning of their kind and name; the first that fits counts.
REASONS = (
    (
        "end of the file: JPEG, half",
        "pixels are missing",
        "像素缺失",
    ),
    ("end of the file: PNG, half", "pixels are missing", "像素缺失"),
    ("end of the file: GIF, half", "pixels are missing", "像素缺失"),
    (
        "end of the file: ",
        "all pixels are there; Chromium leaves out the last rows, or their finest scan",
        "像素齐全；Chromium 不显示最后几行，或缺最后一次扫描",
    ),
    (
        "transparency: ",
        "the text would vanish on white: the ground is black",
        "文字在白底上会消失，因此用黑底",
    ),
    (
        "animation: ",
        "frames are joined, so that all letters can be seen",
        "合并各帧，使所有字符可见",
    ),
    (
        "bits of PNG: RGB, 16",
        "colours that differ in their lower 8 bits alone are transparent together",
        "仅低 8 位不同的颜色一并视为透明",
    ),
    ("BMP: ", "masks that Pillow does not know", "Pillow 不支持的掩码"),
    ("profiles and texts: ", "profiles and gAMA are ignored", "忽略颜色配置文件与 gAMA"),
    (
        "encodings: AVIF",
        "Chromium takes this file's alpha to be of limited range",
        "Chromium 把此文件的透明度按有限范围处理",
    ),
)


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--browser", default="/usr/bin/chromium", metavar="FILE")
    args = parser.parse_args(argv)
    files = image_files()
    write_results(RESULTS, dict(compare(files, args.browser)))
    results = read_results(RESULTS)
    texts = {}
    for place, language in enumerate(HEADS, 1):
        kinds, differences = HEADS[language]
        texts[language] = "\n".join(
            [
                markdown_table(kinds, kind_lines(results["files"])),
                markdown_table(differences, difference_lines(results["files"], place, language)),
                f"Chromium {results['browser']}, pillow {results['pillow']}\n",
            ]
        )
    replace_in_pages(MARKER, texts)
    console.say(texts["en"])
    return 0


def compare(files: Sequence[ImageFile], browser: str) -> Iterator[tuple[str, Any]]:
    """Yield the versions, and for each file what the browser shows and how far ours is off."""
    import PIL
    from playwright.sync_api import sync_playwright

    measured = {}
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--force-color-profile=srgb"]
        )
        try:
            page = chromium.new_page()
            for file in files:
                shown = page.evaluate(SHOW, base64.b64encode(file.data).decode("ascii"))
                measured[f"{file.kind}: {file.name}"] = compared(file.data, shown)
            yield "browser", chromium.version
        finally:
            chromium.close()
    yield "pillow", PIL.__version__
    yield "files", measured


def compared(data: bytes, shown: Sequence[Any] | None) -> dict[str, Any]:
    """Return a file's size and some pixels in the browser, and the largest difference of ours.

    It is -1 where we refuse the file, and -2 where the browser does.
    """
    if shown is None:
        return {"difference": -2}
    width, height, encoded = shown
    rgba = np.frombuffer(base64.b64decode(encoded), np.uint8).reshape(height, width, 4)
    pixels = rgba[..., :3]
    known = {"size": [width, height], "pixels": pixels[SAMPLED, SAMPLED].tobytes().hex()}
    try:
        ours = np.array(open_image(data))
    except SampleError:
        return {"difference": -1} | known
    if ours.shape != pixels.shape:
        return {"difference": 255} | known
    return {"difference": int(np.abs(ours.astype(int) - pixels).max())} | known


def is_same(result: Mapping[str, Any]) -> bool:
    return 0 <= result["difference"] <= SAME


def kind_lines(results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    kinds = Counter(name.partition(": ")[0] for name in results)
    same = Counter(name.partition(": ")[0] for name, result in results.items() if is_same(result))
    for kind, count in kinds.items():
        yield f"| {kind} | {count} | {same[kind]} |"
    yield f"| **all** | **{sum(kinds.values())}** | **{sum(same.values())}** |"


def difference_lines(
    results: Mapping[str, Mapping[str, Any]], place: int, language: str
) -> Iterator[str]:
    for name, result in results.items():
        if not is_same(result):
            levels = result["difference"] if result["difference"] >= 0 else REFUSED[language]
            why = next((reason[place] for reason in REASONS if name.startswith(reason[0])), "?")
            yield f"| {name} | {levels} | {why} |"


if __name__ == "__main__":
    sys.exit(main())
