"""Fixed names, shape of the scripts and start-up cost, held against the code.

The direction of imports is held by the contracts of import-linter in pyproject.toml.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent

SCRIPTS = (
    "gen_image.gen_sample_by_captcha",
    "gen_image.collect_labels",
    "new_project",
    "verify_and_split_data",
    "webserver_captcha_image",
    "recognize_local",
    "recognize_online",
    "recognize_time_test",
    "recognize_batch",
    "train_model",
    "test_batch",
    "doctor",
    "export_model",
    "webserver_recognize_api",
    "webserver_label_images",
    "label_loop",
)

# Class or function -> its parameters in this order; more may follow if they have defaults.
SIGNATURES = {
    "cnnlib.network:CNN": "image_height image_width max_captcha char_set model_save_dir",
    "cnnlib.network:CNN.convert2gray": "self img",
    "cnnlib.network:CNN.text2vec": "self text",
    "cnnlib.network:CNN.model": "self",
    "cnnlib.recognizer:Recognizer": "image_height image_width max_captcha char_set model_save_dir",
    "cnnlib.recognizer:Recognizer.rec_image": "self img",
    "cnnlib.recognizer:Recognizer.predict": "self images",
    "cnnlib.recognizer:Prediction": "text confidence char_confidences",
    "cnnlib.training:TrainModel": (
        "train_img_path verify_img_path char_set model_save_dir cycle_stop acc_stop cycle_save "
        "image_suffix train_batch_size test_batch_size"
    ),
    "cnnlib.training:TrainModel.train_cnn": "self",
    "cnnlib.training:TrainModel.recognize_captcha": "self",
    "cnnlib.evaluation:TestBatch": "img_path char_set model_save_dir total",
    "cnnlib.evaluation:TestBatch.test_batch": "self",
    "cnnlib.dataset:verify": "origin_dir real_width real_height image_suffix",
    "cnnlib.dataset:split": "origin_dir train_dir test_dir bad_imgs",
    "webserver_recognize_api:load_recognizers": "config",
}


def imports(file: Path) -> set[str]:
    """Return the top packages that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def scripts() -> list[Path]:
    return [ROOT / f"{name.replace('.', '/')}.py" for name in SCRIPTS]


def find(name: str) -> Callable[..., object]:
    module, _, path = name.partition(":")
    found = __import__(module, fromlist=["_"])
    for part in path.split("."):
        found = getattr(found, part)
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("file", scripts(), ids=lambda file: file.name)
def test_progress_bars_and_networks_are_the_librarys_business(file: Path) -> None:
    assert not imports(file) & {"tqdm", "tensorflow"}


@pytest.mark.parametrize("file", scripts(), ids=lambda file: file.name)
def test_a_script_is_a_manual_a_main_and_nothing_at_import(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert "main" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    acting = [
        ast.unparse(node)
        for node in tree.body[1:]
        if isinstance(node, ast.Expr) and not in_path_setup(node)
    ]
    assert not acting, "runs when the script is imported"


def in_path_setup(node: ast.Expr) -> bool:
    """A script in a sub-folder puts the project root on sys.path first."""
    return ast.unparse(node).startswith("sys.path.")


def test_scripts_start_without_tensorflow() -> None:
    code = (
        "import importlib, sys\n"
        f"for name in {SCRIPTS!r}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'tensorflow' not in sys.modules, name + ' imports TensorFlow'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", SIGNATURES)
def test_names_that_users_code_depends_on(name: str) -> None:
    parameters = list(inspect.signature(find(name)).parameters.values())
    fixed = SIGNATURES[name].split()
    assert [p.name for p in parameters[: len(fixed)]] == fixed
    required = [
        p.name
        for p in parameters[len(fixed) :]
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    assert not required, "later parameters need defaults"


@pytest.mark.parametrize(
    ("script", "home"),
    (
        ("train_model:TrainModel", "cnnlib.training:TrainModel"),
        ("test_batch:TestBatch", "cnnlib.evaluation:TestBatch"),
        ("verify_and_split_data:verify", "cnnlib.dataset:verify"),
        ("verify_and_split_data:split", "cnnlib.dataset:split"),
    ),
)
def test_fixed_names_can_be_imported_from_the_scripts(script: str, home: str) -> None:
    assert find(script) is find(home)


def test_config_knows_every_network() -> None:
    from cnnlib.config import NETWORK_NAMES
    from cnnlib.networks.architectures import NETWORKS

    assert tuple(NETWORKS) == NETWORK_NAMES


def test_options_of_an_export_know_every_format() -> None:
    from cnnlib.exporting.export import FORMATS
    from cnnlib.networks.metadata import FORMAT_NAMES

    assert tuple(FORMATS) == FORMAT_NAMES


def test_config_knows_every_recipe() -> None:
    from cnnlib.config import RECIPE_NAMES
    from cnnlib.training.recipes import RECIPES

    assert tuple(RECIPES) == RECIPE_NAMES


def test_config_knows_every_style() -> None:
    from cnnlib.config import STYLE_NAMES
    from gen_image.styles import STYLES

    assert {"captcha", *STYLES, "pycapt"} == set(STYLE_NAMES)


@pytest.mark.parametrize("folder", ("conf", "cnnlib", "gen_image", "sample", "model", "tests"))
def test_the_folders_are_there_in_a_fresh_clone(folder: str) -> None:
    # git keeps no empty folder, and everything else in sample/ and model/ is ignored
    kept = "README.md" if folder in ("sample", "model") else "*"
    assert list((ROOT / folder).glob(kept))


def test_the_claimed_lower_bounds_are_the_tried_ones() -> None:
    def versions(name: str, pattern: str) -> dict[str, Version]:
        text = (ROOT / name).read_text(encoding="utf-8")
        return {
            package: Version(version)
            for package, version in re.findall(rf"^([\w-]+){pattern}([\d.]+)", text, re.M)
        }

    claimed = versions("requirements.txt", ">=") | versions("requirements-dev.txt", ">=")
    tried = versions("tests/oldest.txt", "==")
    assert claimed == {package: tried[package] for package in claimed}
