"""Run the programs of examples/ on fresh captchas, and compare their texts with the Recognizer's.

    python3 tests/trials/run_examples.py [--images N] [--screenshot]

Draws N practice captchas (default: 200) and exports the shipped model with RGB input. Copies
examples/ to a temporary folder, where npm installs its packages. python_minimal.py reads the images
by the shipped file (gray) and by the exported one, recognize.mjs by onnxruntime-node and by
onnxruntime-web, the page in Chromium; the page must also decode to Pillow's pixels, refuse another
size, speak Chinese, and ask no other address. Prints a line for each; what is not installed is
named and skipped. --screenshot writes readme_image/browser_example.png. Takes a minute or two. Exit
code 1 if a text differs.
"""

from __future__ import annotations

import base64
import functools
import http.server
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PIL import Image

from bench.lib.practice import drawn_files
from cnnlib import console
from cnnlib.config import load_sample_config
from cnnlib.dataset.images import open_image
from cnnlib.errors import CaptchaError
from cnnlib.files import replacing
from cnnlib.paths import PROJECT_ROOT
from cnnlib.recognizer import Recognizer
from tests.serving.browser import CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CONFIG = "conf/pretrained_config.json"
GRAY_MODEL = PROJECT_ROOT / "model" / "pretrained" / "model.onnx"
PICTURE = PROJECT_ROOT / "readme_image" / "browser_example.png"
VIEWPORT = {"width": 780, "height": 400}
TIMEOUT_MS = 120_000
READY = "#model:text('100x60')"
ANSWER = ":is(.text, .error)"
CHINESE = re.compile("[\u4e00-\u9fff]")
# The RGBA bytes that the page decodes from a file, both in base64.
DECODED = """async (file) => {
  const { decode } = await import("./page.js");
  const bytes = Uint8Array.from(atob(file), (character) => character.charCodeAt(0));
  const { data } = await decode(new Blob([bytes], { type: "image/png" }));
  return btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(""));
}"""


class SkippedError(Exception):
    """Something that is not installed; the message names it."""


@dataclass(frozen=True)
class Task:
    """Images with what the Recognizer reads, and where the examples run on them."""

    examples: Path  # a copy of examples/
    model: Path  # with RGB input
    files: Sequence[Path]
    texts: Sequence[str]


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__)
    parser.add_argument("--images", type=console.at_least_one, default=200, metavar="N")
    parser.add_argument("--screenshot", action="store_true", help="write the picture of the page")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="examples-") as folder:
        task = prepare(Path(folder), args.images)
        trials: dict[str, Callable[[], Sequence[str]]] = {
            "python_minimal.py, gray": lambda: run_python(task, GRAY_MODEL),
            "python_minimal.py, RGB": lambda: run_python(task, task.model),
            "recognize.mjs": lambda: run_node(task),
            "recognize.mjs --wasm": lambda: run_node(task, "--wasm"),
            "browser": lambda: run_browser(task, args.screenshot),
        }
        results = [report(task, name, trial) for name, trial in trials.items()]
    return int(not all(results))


def prepare(folder: Path, count: int) -> Task:
    """Draw and read the images, export the model and copy the examples."""
    config = load_sample_config(PROJECT_ROOT / CONFIG)
    labels, drawn = drawn_files(config, count)
    files = [folder / f"{label}_{number}.png" for number, label in enumerate(labels)]
    for file, data in zip(files, drawn, strict=True):
        file.write_bytes(data)
    with Recognizer.from_config(config) as recognizer:
        predictions = recognizer.predict(open_image(data) for data in drawn)
    model = folder / "model-rgb.onnx"
    script = ["export_model.py", "--config", CONFIG, "--input", "rgb", "--output", str(model)]
    run([sys.executable, *script], PROJECT_ROOT)
    copy = folder / "examples"
    made = shutil.ignore_patterns("node_modules", "ort", "__pycache__", "*.onnx")
    shutil.copytree(PROJECT_ROOT / "examples", copy, ignore=made)
    return Task(copy, model, files, [prediction.text for prediction in predictions])


def report(task: Task, name: str, trial: Callable[[], Sequence[str]]) -> bool:
    """Run an example, say how many texts are equal, and return whether all are."""
    try:
        texts = trial()
    except SkippedError as error:
        console.say(f"{name}: skipped, {error}")
        return True
    pairs = list(zip(task.files, task.texts, texts, strict=True))
    for file, expected, text in pairs:
        if text != expected:
            console.warn(f"{name}: {file.name} read as {text!r}, by the Recognizer {expected!r}")
    equal = sum(text == expected for _, expected, text in pairs)
    console.say(f"{name}: {equal} of {len(pairs)} texts equal")
    return equal == len(pairs)


def run(command: Sequence[str], folder: Path) -> str:
    """Return what a program prints; raises CaptchaError where it fails."""
    ended = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8")
    if ended.returncode:
        raise CaptchaError(f"{' '.join(command[:4])} failed: {ended.stderr[-800:]}")
    return ended.stdout


def texts_of(printed: str) -> list[str]:
    return [line.split("\t")[1] for line in printed.splitlines()]


def run_python(task: Task, model: Path) -> Sequence[str]:
    script = task.examples / "python_minimal.py"
    return texts_of(
        run([sys.executable, script.name, str(model), *map(str, task.files)], script.parent)
    )


def run_node(task: Task, *options: str) -> Sequence[str]:
    install(task.examples / "node")
    command = ["node", "recognize.mjs", *options, str(task.model), *map(str, task.files)]
    return texts_of(run(command, task.examples / "node"))


def install(folder: Path) -> None:
    """Install the packages of a folder, once, and name their versions."""
    missing = [program for program in ("node", "npm") if not shutil.which(program)]
    if missing:
        raise SkippedError(f"not installed: {', '.join(missing)}")
    if (folder / "node_modules").exists():
        return
    try:
        run(["npm", "install", "--no-audit", "--no-fund"], folder)
    except CaptchaError as error:
        shutil.rmtree(folder / "node_modules", ignore_errors=True)
        raise SkippedError(str(error)) from error
    listed = run(["npm", "ls", "--depth=0"], folder)
    console.say(f"{folder.name}: {', '.join(re.findall(r'[a-z-]+@[0-9.]+', listed))}")


def run_browser(task: Task, screenshot: bool) -> Sequence[str]:
    """Return the page's texts; raises CaptchaError for what else is wrong with it."""
    folder = task.examples / "browser"
    install(folder)
    if not CHROMIUM:
        raise SkippedError("not installed: Chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise SkippedError("not installed: playwright") from None
    run(["npm", "run", "copy"], folder)
    shutil.copy(task.model, folder / "model.onnx")
    with served(folder) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            return use_page(browser, url, task, screenshot)
        finally:
            browser.close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the files of a folder; give the address."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def use_page(browser: Browser, url: str, task: Task, screenshot: bool) -> Sequence[str]:
    faults: list[str] = []
    page = opened_page(browser, url, "en", faults)
    texts = answers(page, task.files)
    said = page.locator(".answer .quiet").all_inner_texts()
    times_ms = [float(ms) for text in said for ms in re.findall(r"([\d.]+) ms", text)]
    console.say(f"browser: {statistics.median(times_ms):.1f} ms an image (median), with decoding")
    same = sum(has_same_pixels(page, file) for file in task.files)
    console.say(f"browser: {same} of {len(task.files)} images decoded to Pillow's pixels")
    small, damaged = (task.model.with_name(name) for name in ("small.png", "damaged.png"))
    Image.new("RGB", (10, 10)).save(small)
    damaged.write_bytes(small.read_bytes()[:40])
    said_of = {small: "image of 10x10, expected 100x60", damaged: "cannot be decoded"}
    for file, reason in said_of.items():
        page.set_input_files("#file", files=[file])
        refused = page.locator(".answer .error", has_text=f"{file.name}: ").inner_text()
        faults += [] if reason in refused else [refused]
    if screenshot:
        page.reload()
        page.wait_for_selector(READY)
        answers(page, task.files[:1])
        with replacing(PICTURE) as temporary:
            temporary.write_bytes(page.screenshot())
    chinese = opened_page(browser, url, "zh-CN", faults)
    shown = [chinese.inner_text(name) for name in ("h1", "#model", "#drop")]
    faults += [f"not in Chinese: {text}" for text in shown if not CHINESE.search(text)]
    if same < len(task.files) or faults:
        raise CaptchaError(f"the page: {same} images with equal pixels, faults {faults}")
    return texts


def opened_page(browser: Browser, url: str, locale: str, faults: list[str]) -> Page:
    """Open the page and wait for its model; note errors and requests to other addresses."""
    page = browser.new_page(viewport=VIEWPORT, locale=locale)  # type: ignore[arg-type]
    page.set_default_timeout(TIMEOUT_MS)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    own = (url, "blob:", "data:")
    page.on(
        "request", lambda asked: None if asked.url.startswith(own) else faults.append(asked.url)
    )
    page.goto(url)
    page.wait_for_selector(READY)
    return page


def answers(page: Page, files: Sequence[Path]) -> list[str]:
    """Give files to the page; return texts or errors, in their order."""
    page.set_input_files("#file", files=list(files))
    page.wait_for_selector(f".answer:first-child:nth-last-child({len(files)}) {ANSWER}")
    return page.locator(f".answer {ANSWER}").all_inner_texts()[::-1]  # the newest is on top


def has_same_pixels(page: Page, file: Path) -> bool:
    decoded = base64.b64decode(page.evaluate(DECODED, base64.b64encode(file.read_bytes()).decode()))
    with Image.open(file) as image:
        return decoded == image.convert("RGBA").tobytes()


if __name__ == "__main__":
    sys.exit(main())
