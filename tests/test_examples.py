"""The programs of examples/: they read what the Recognizer reads, without this project."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from bench.lib.practice import drawn_files
from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.config import load_sample_config
from cnnlib.dataset.images import open_image, resize_to_fit
from cnnlib.paths import PROJECT_ROOT
from cnnlib.recognizer import Recognizer
from cnnlib.text_reader import Prediction
from tests.helpers import fixed_pixels

onnxruntime = pytest.importorskip("onnxruntime")

EXAMPLES = PROJECT_ROOT / "examples"
MODEL = PROJECT_ROOT / "model" / "pretrained" / "model.onnx"
CONFIG = load_sample_config(PROJECT_ROOT / "conf" / "pretrained_config.json")
IMAGES = 20
NODE = shutil.which("node")
# Prints what captcha.js reads of a model, and the pixels that it makes of RGBA bytes.
JAVASCRIPT = """
  import { readFileSync } from "node:fs";
  import { readAnswer, readModel, toPixels } from CAPTCHA;
  const [modelFile, rgba] = process.argv.slice(1);
  const model = readModel(readFileSync(modelFile));
  const bytes = readFileSync(rgba);
  const gray = [...toPixels(bytes, model.width, model.height, model)];
  const rgb = [...toPixels(bytes, model.width, model.height, { ...model, channels: 3 })];
  const refused = [];
  const whole = readFileSync(modelFile), damaged = Buffer.from(whole);
  damaged[damaged.indexOf("char_set") + 11] = 0;  // in the list of characters
  const wrong = [bytes.subarray(0, 99), whole.subarray(0, 3000), damaged];
  for (const use of [() => toPixels(bytes, 10, 6, model), ...wrong.map((b) => () => readModel(b))])
    try { use(); refused.push("nothing"); } catch (error) { refused.push(error.message); }
  const outputs = {  // of two characters at most; ends after one
    probabilities: { dims: [1, 2, 3], data: [0.9, 0.1, 0, 0.15, 0.05, 0.8] },
    char_ids: { data: [0, -1] }, confidence: { data: [0.72] },
  };
  const answer = readAnswer(outputs, { charSet: ["a", "b"] });
  console.log(JSON.stringify({ model, gray, rgb, refused, answer }));
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("drawn images")
    files = [folder / f"{number}.png" for number in range(IMAGES)]
    with fixed_pixels(0):
        for file, data in zip(files, drawn_files(CONFIG, IMAGES)[1], strict=True):
            file.write_bytes(data)
    return files


@pytest.fixture(scope="module")
def predictions(drawn: list[Path]) -> list[Prediction]:
    with Recognizer.from_config(CONFIG) as recognizer:
        return recognizer.predict([open_image(file) for file in drawn])


@pytest.fixture(scope="module")
def minimal() -> ModuleType:
    spec = importlib.util.spec_from_file_location("minimal", EXAMPLES / "python_minimal.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(command: list[str], files: list[Path], predictions: list[Prediction]) -> None:
    """Run an example, and compare what it prints with what the Recognizer reads."""
    command = [*command, str(MODEL), *map(str, files)]
    output = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    lines = [line.split("\t") for line in output.splitlines()]
    expected = zip(files, predictions, strict=True)
    assert [line[:2] for line in lines] == [[str(file), p.text] for file, p in expected]
    confidences = [p.confidence for p in predictions]
    assert [float(line[2]) for line in lines] == pytest.approx(confidences, abs=0.02)


def test_python_reads_what_the_recognizer_reads(drawn, predictions):
    check([sys.executable, str(EXAMPLES / "python_minimal.py")], drawn, predictions)


def test_python_goes_on_after_images_that_it_cannot_read(drawn, predictions, tmp_path):
    small, text, none = (tmp_path / name for name in ("small.png", "text.png", "none.png"))
    Image.new("L", (10, 6)).save(small)
    text.write_text("no image")
    files = [drawn[0], small, text, none, drawn[1]]
    done = run_python(MODEL, *files)
    answered = [line.split("\t")[1] for line in done.stdout.splitlines()]
    assert answered == [prediction.text for prediction in predictions[:2]] and done.returncode == 1
    for file, line in zip(files[1:4], done.stderr.splitlines(), strict=True):
        assert line.startswith(f"{file}: ")
    for wrong in (none, text):
        done = run_python(wrong, drawn[0])
        assert re.fullmatch(f"{re.escape(str(wrong))} cannot be used as a model .*\n", done.stderr)
        assert (done.returncode, done.stdout) == (1, "")


def run_python(*arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / "python_minimal.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8")


def test_node_reads_what_the_recognizer_reads(drawn, predictions):
    if not NODE:
        pytest.skip("node is not installed")
    if not (EXAMPLES / "node" / "node_modules").is_dir():
        pytest.skip("the packages of examples/node are not installed")
    check([NODE, str(EXAMPLES / "node" / "recognize.mjs")], drawn, predictions)


@pytest.mark.parametrize("resize", ("pad", "stretch"))
@pytest.mark.parametrize("input_kind", ("gray", "rgb"))
def test_python_resizes_as_training_does(minimal, drawn, resize, input_kind):
    channels = 3 if input_kind == "rgb" else 1
    spec = CaptchaSpec(40, 90, 4, ("a",), image_channels=channels, resize=resize)
    image = open_image(drawn[0], spec)
    model = {"input": input_kind, "image_width": "90", "image_height": "40", "resize": resize}
    assert np.array_equal(
        minimal.read_pixels(str(drawn[0]), model), np.array(resize_to_fit(image, spec))
    )
    with pytest.raises(ValueError, match="image of 100x60, expected 90x40"):
        minimal.read_pixels(str(drawn[0]), model | {"resize": ""})


@pytest.mark.skipif(not NODE, reason="node is not installed")
def test_javascript_reads_metadata_and_pixels_as_python_does(minimal, tmp_path):
    rng = np.random.default_rng(0)
    layer = Image.fromarray(rng.integers(0, 256, (60, 100, 4), dtype=np.uint8))
    layer.save(tmp_path / "layer.png")
    (tmp_path / "layer.rgba").write_bytes(layer.tobytes())
    script = JAVASCRIPT.replace("CAPTCHA", json.dumps((EXAMPLES / "browser/captcha.js").as_uri()))
    output = subprocess.run(
        [NODE, "--input-type=module", "-e", script, str(MODEL), str(tmp_path / "layer.rgba")],
        check=True,
        capture_output=True,
        encoding="utf-8",
    ).stdout
    found = json.loads(output)
    session = onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    assert found["model"]["charSet"] == json.loads(said["char_set"])
    assert found["model"]["accuracy"] == float(said["accuracy"])
    for kind in ("gray", "rgb"):
        pixels = minimal.read_pixels(str(tmp_path / "layer.png"), said | {"input": kind})
        assert found[kind] == pixels.ravel().tolist()
    assert found["refused"][0] == "image of 10x6, expected 100x60"
    assert all(
        message.startswith("not a whole model that export_model.py wrote (")
        for message in found["refused"][1:]
    )
    assert found["answer"]["text"] == "a"
    assert found["answer"]["shares"] == [pytest.approx(0.9 * 0.8)]


def test_the_files_that_the_readme_names_exist():
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    scripts = re.findall(r"python3 ([\w/]+\.py)", text)
    assert len(links) > 5 and len(scripts) > 1
    for path in [EXAMPLES / link for link in links] + [PROJECT_ROOT / name for name in scripts]:
        assert path.exists(), path


def test_packages_of_javascript_run_no_scripts_of_theirs():
    folders = [file.parent for file in EXAMPLES.glob("*/package.json")]
    assert {folder.name for folder in folders} == {"node", "browser"}
    for folder in folders:
        assert "ignore-scripts=true" in (folder / ".npmrc").read_text(encoding="utf-8")


def test_the_page_loads_nothing_from_elsewhere():
    """Nor do its parts: onnxruntime-web is copied next to it."""
    for file in ("index.html", "page.js", "captcha.js", "style.css"):
        assert "://" not in (EXAMPLES / "browser" / file).read_text(encoding="utf-8"), file
