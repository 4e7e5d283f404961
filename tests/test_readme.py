"""README.md and README.zh-CN.md against the project: commands, paths, keys, messages."""

from __future__ import annotations

import ast
import dataclasses
import functools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bench import demo_results
from cnnlib.config import CaptchaConfig, SampleConfig

ROOT = Path(__file__).resolve().parent.parent
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md",
                                                                     "README.zh-CN.md")}
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
QUICKSTART = (ROOT / "quickstart.py").read_text(encoding="utf-8")
# What a user or a tool makes; the pages speak of it, but a fresh clone does not have it.
MADE_LATER = re.compile(
    r"(\.venv|logs|model|sample)/|gen_image/labels\.json|conf/(shop|FOLDER_OF_IMAGES)\.json|model\.json")


def blocks(page: str, language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [text for name, text in fenced if name == language]


def commands(page: str) -> list[str]:
    """Return every command: a line of a plain block, indented, or an inline `python3 ...`."""
    lines = "\n".join(blocks(page, "")).splitlines()
    indented = re.findall(r"^    (python3 \S.*?)(?:  +#.*)?$", page, re.MULTILINE)
    return lines + indented + re.findall(r"`(python3 [^`]+)`", page)


def script_calls() -> list[str]:
    found = {command for page in (*PAGES.values(), CONTRIBUTING) for command in commands(page)
             if command.startswith("python3 ")}
    return sorted(found)


def quickstart_calls() -> list[str]:
    """Return the calls of other scripts in quickstart.py, with their options."""
    calls = []
    for node in ast.walk(ast.parse(QUICKSTART)):
        if isinstance(node, (ast.List, ast.Call)):
            words = [e.value for e in (node.elts if isinstance(node, ast.List) else node.args)
                     if isinstance(e, ast.Constant) and isinstance(e.value, str)]
            script = next((word for word in words if re.fullmatch(r"[\w/]+\.py", word)), None)
            if script:
                calls.append(" ".join(["python3", script,
                                       *(word for word in words if word.startswith("--"))]))
    return calls


@functools.cache
def options_of(script: str) -> set[str]:
    """Return the options that a script's parser has, from its source: TensorFlow takes seconds."""
    tree = ast.parse((ROOT / script).read_text(encoding="utf-8"))
    shared = {"--config"} if "console.parser(" in ast.unparse(tree) else set()
    return {"--help"} | shared | {
        argument.value for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".add_argument")
        for argument in node.args
        if isinstance(argument, ast.Constant) and str(argument.value).startswith("--")}


def key_rows(page: str, kind: type) -> dict[str, str]:
    """Return key -> value of the table of a dataclass's keys."""
    table = re.search(rf"<!-- keys of {kind.__name__} -->\n(.*?)<!-- end of keys -->", page, re.S)
    assert table, f"no table of {kind.__name__}"
    return dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", table[1], re.MULTILINE))


@functools.cache
def texts_in_code() -> str:
    """Return all string literals of the project, adjacent ones joined."""
    files = [path for folder in (".", "cnnlib", "gen_image")
             for path in (ROOT / folder).glob("*.py")]
    return "\n".join(
        node.value for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str))


@pytest.mark.parametrize("command", [*script_calls(), *quickstart_calls()])
def test_a_command_names_a_script_and_its_options(command: str) -> None:
    script, *arguments = shlex.split(command)[1:]
    assert (ROOT / script).is_file()
    if script == "quickstart.py":
        assert arguments[0] in ("demo", "test")
        return
    unknown = {a.partition("=")[0] for a in arguments if a.startswith("--")} - options_of(script)
    if script == "tests/run_corners.py":  # it names two of its options in a loop
        unknown -= {"--python310", "--python313"}
    assert not unknown


def test_the_gunicorn_command_names_a_factory() -> None:
    module, factory = re.findall(r'"(\w+):(\w+)\(\)"', PAGES["README.md"])[0]
    tree = ast.parse((ROOT / f"{module}.py").read_text(encoding="utf-8"))
    assert factory in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", PAGES)
def test_both_pages_have_the_same_commands_and_examples(name: str) -> None:
    assert commands(PAGES[name]) == commands(PAGES["README.md"])
    for language in ("text", "json", "python", "js"):
        assert blocks(PAGES[name], language) == blocks(PAGES["README.md"], language)
    assert key_rows(PAGES[name], SampleConfig) == key_rows(PAGES["README.md"], SampleConfig)
    assert len(re.findall("^## ", PAGES[name], re.M)) == len(
        re.findall("^## ", PAGES["README.md"], re.M))


@pytest.mark.parametrize("name", PAGES)
def test_paths_and_links_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGES[name])
    inline = re.findall(r"`([\w.-][\w./-]*(?:/|\.(?:py|json|txt|md)))`", PAGES[name])
    beside_generator = {path.name for path in (ROOT / "gen_image").iterdir()}
    missing = [path for path in links + inline
               if not (ROOT / path).exists() and path not in beside_generator
               and not MADE_LATER.match(path)]
    assert not missing


@pytest.mark.parametrize("name", PAGES)
def test_examples_are_valid(name: str) -> None:
    for text in blocks(PAGES[name], "json"):
        json.loads(text)
    for text in blocks(PAGES[name], "python"):
        compile(text, name, "exec")


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("kind", "shipped"), (
    (SampleConfig, "conf/sample_config.json"), (CaptchaConfig, "conf/captcha_config.json")))
def test_the_tables_of_keys_are_complete_and_true(name: str, kind: type, shipped: str) -> None:
    values = json.loads((ROOT / shipped).read_text(encoding="utf-8"))
    for field in dataclasses.fields(kind):
        if field.name not in values:
            made = (field.default if field.default_factory is dataclasses.MISSING
                    else field.default_factory())
            values[field.name] = (list(made) if isinstance(made, tuple) else
                                  made if isinstance(made, (int, float)) else str(made) or False)
    expected = [(f.name, json.dumps(values[f.name])) for f in dataclasses.fields(kind)]
    assert list(key_rows(PAGES[name], kind).items()) == expected


@pytest.mark.parametrize("name", PAGES)
def test_messages_to_look_up_are_those_of_the_code(name: str) -> None:
    section = PAGES[name].split("\n## ")[-2]
    messages = re.findall(r"^\| `(.+?)` \|", section, re.MULTILINE)
    assert len(messages) > 10
    gone = [message for message in messages
            if not all(part in texts_in_code() for part in message.split("…"))]
    assert not gone


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_left_to_fill_in(name: str) -> None:
    assert "TODO" not in PAGES[name]


RESULT = {"accuracy_percent": 98.04, "tested": 1000, "online_right": 9, "online_total": 10,
          "images": 20000, "step": 1200, "date": "2026-01-02", "processor": "Zx 80", "cores": 2,
          "system": "Linux", "python": "3.12.1", "libraries": {"tensorflow": "2.21.0"},
          "seconds": {"draw": 60.4, "train": 300.0}}


@pytest.mark.parametrize("name", PAGES)
def test_the_results_replace_only_what_is_between_the_markers(name: str, tmp_path: Path) -> None:
    page = tmp_path / name
    page.write_text(PAGES[name], encoding="utf-8")
    demo_results.replace_between_markers(
        page, demo_results.MARKER, demo_results.table(RESULT, demo_results.WORDS[name]))
    written = page.read_text(encoding="utf-8")
    before, begin, rest = PAGES[name].partition("<!-- demo results -->\n")
    assert written.startswith(before + begin + "|")
    assert written.endswith(rest.partition("<!-- end of demo results -->")[2])
    assert "98.0 %" in written and "20,000" in written and "Zx 80" in written
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("script", (
    "bench/demo_results.py", "readme_image/draw_examples.py", "tests/run_corners.py"))
def test_tools_explain_themselves_from_anywhere(script: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(ROOT / script), "--help"], cwd=tmp_path,
                          capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "")
    assert script in done.stdout
