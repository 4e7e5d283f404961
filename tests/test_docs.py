"""The documentation against the project: commands, paths, links, messages, both languages."""

from __future__ import annotations

import ast
import functools
import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README_LIMIT = 9_000  # bytes
TRANSLATED = (
    "own-images",
    "labelling",
    "training",
    "serving",
    "deployment",
    "export",
    "bulk",
    "cluster",
    "configuration",
    "results",
    "troubleshooting",
)
CHINESE_OF = {
    "README.md": "README.zh-CN.md",
    **{f"docs/en/{name}.md": f"docs/zh/{name}.md" for name in TRANSLATED},
}
ROOT_PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
PAGES = sorted(
    {
        *CHINESE_OF,
        *CHINESE_OF.values(),
        *ROOT_PAGES,
        *(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*/*.md")),
    }
)
# What a user or a tool makes; the pages name it, but a fresh clone does not have it.
MADE_LATER = re.compile(
    r"(\.venv|logs|model|sample)/|gen_image/labels\.json|model\.json|"
    r"conf/(shop|wave|FOLDER_OF_IMAGES|YOURS)\.json"
)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NO_REMEDY = re.compile(r"as it says|see the message|as above|按提示|照提示|如提示|见提示|同上")


@functools.cache
def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page: str) -> str:
    """Return a page without its blocks, whose comments look like headings."""
    return FENCED.sub("", text_of(page))


def blocks(page: str, language: str) -> list[str]:
    return [text for name, text in FENCED.findall(text_of(page)) if name == language]


def block_commands(page: str) -> list[str]:
    return "\n".join(blocks(page, "")).splitlines()


def inline_commands(page: str) -> list[str]:
    found = re.findall(r"`((?:sudo\s)?python3\s[^`]+)`", prose(page))
    return [" ".join(command.split()) for command in found]


def script_calls() -> list[str]:
    found = {
        command.removeprefix("sudo ")
        for page in PAGES
        for command in (*block_commands(page), *inline_commands(page))
    }
    return sorted(command for command in found if re.match(r"python3 \S+\.py", command))


def demo_calls() -> list[str]:
    """Return the calls of scripts in bootstrap/demo.py, with their options."""
    calls = []
    for node in ast.walk(ast.parse(text_of("quickstart.py"))):
        if isinstance(node, (ast.List, ast.Call)):
            words = [
                e.value
                for e in (node.elts if isinstance(node, ast.List) else node.args)
                if isinstance(e, ast.Constant) and isinstance(e.value, str)
            ]
            script = next((word for word in words if re.fullmatch(r"[\w/]+\.py", word)), None)
            if script:
                calls.append(
                    " ".join(
                        ["python3", script, *(word for word in words if word.startswith("--"))]
                    )
                )
    return calls


@functools.cache
def options_of(script: str) -> set[str]:
    """Return the options that a script's parser has, from its source: TensorFlow takes seconds."""
    tree = ast.parse(text_of(script))
    shared = {"--config"} if "console.parser(" in ast.unparse(tree) else set()
    return (
        {"--help"}
        | shared
        | {
            str(argument.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".add_argument")
            for argument in node.args
            if isinstance(argument, ast.Constant) and str(argument.value).startswith("--")
        }
    )


def headings(page: str, level: str = "#+") -> list[str]:
    return re.findall(rf"^{level} (.+)$", prose(page), re.MULTILINE)


@functools.cache
def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in headings(page):
        words = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def links(page: str) -> list[str]:
    """Return the links of a page to files and anchors, not to other sites."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [link for link in found if not link.startswith(("http://", "https://"))]


def target(page: str, link: str) -> Path:
    path = link.partition("#")[0]
    return ((ROOT / page).parent / path).resolve() if path else ROOT / page


def messages(page: str) -> list[tuple[str, str]]:
    """Return the rows of a page's first table of messages: message, remedy."""
    section = text_of(page).split("\n## ")[1]
    return re.findall(r"^\| `(.+?)` \| (.+) \|$", section, re.MULTILINE)


@functools.cache
def texts_in_code() -> str:
    """Return all string literals of the project, adjacent ones joined."""
    files = [
        *ROOT.glob("*.py"),
        *(
            path
            for folder in ("bootstrap", "gen_image", "cnnlib")
            for path in (ROOT / folder).rglob("*.py")
        ),
    ]
    return "\n".join(
        node.value
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


@pytest.mark.parametrize("command", [*script_calls(), *demo_calls()])
def test_a_command_names_a_script_and_its_options(command: str) -> None:
    script, *arguments = shlex.split(command)[1:]
    assert (ROOT / script).is_file()
    if script == "quickstart.py":
        assert arguments[0] in ("demo", "test")
        return
    unknown = {a.partition("=")[0] for a in arguments if a.startswith("--")} - options_of(script)
    assert not unknown


def test_the_gunicorn_command_names_a_factory() -> None:
    module, factory = re.findall(r'"(\w+):(\w+)\(\)"', text_of("docs/en/deployment.md"))[0]
    tree = ast.parse(text_of(f"{module}.py"))
    assert factory in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", CHINESE_OF)
def test_both_languages_have_the_same_commands_and_examples(page: str) -> None:
    other = CHINESE_OF[page]
    for language in ("", "text", "json", "python", "js"):
        assert blocks(other, language) == blocks(page, language)
    assert set(inline_commands(other)) == set(inline_commands(page))
    assert len(headings(other, "##")) == len(headings(page, "##"))
    markers = r"<!-- .+? -->"
    assert re.findall(markers, text_of(other)) == re.findall(markers, text_of(page))


def test_both_languages_explain_the_same_messages() -> None:
    page = "docs/en/troubleshooting.md"
    assert [m for m, _ in messages(CHINESE_OF[page])] == [m for m, _ in messages(page)]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    missing = [link for link in links(page) if not target(page, link).exists()]
    assert not missing
    lost = [
        link
        for link in links(page)
        if "#" in link
        and link.partition("#")[2] not in anchors(target(page, link).relative_to(ROOT).as_posix())
    ]
    assert not lost


@pytest.mark.parametrize("page", PAGES)
def test_paths_lead_somewhere(page: str) -> None:
    inline = re.findall(r"`([\w.-][\w./-]*(?:/|\.(?:py|json|txt|md|conf|toml|yml)))`", prose(page))
    beside_generator = {path.name for path in (ROOT / "gen_image").iterdir()}
    missing = [
        path
        for path in inline
        if not (ROOT / path).exists()
        and path not in beside_generator
        and not MADE_LATER.match(path)
    ]
    assert not missing


@pytest.mark.parametrize(
    ("readme", "folder"), (("README.md", "docs/en"), ("README.zh-CN.md", "docs/zh"))
)
def test_every_page_can_be_reached_from_the_readme(readme: str, folder: str) -> None:
    pages = {page for page in PAGES if page.startswith(folder)}
    reached, waiting = set(), [readme]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        linked = {target(page, link) for link in links(page)}
        waiting += [name for name in {*pages, *ROOT_PAGES} - reached if ROOT / name in linked]
    assert pages <= reached


def test_the_code_map_names_every_module() -> None:
    modules = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("cnnlib/**/*.py")
        if path.name != "__init__.py"
    }
    assert modules <= set(re.findall(r"`([\w/]+\.py)`", prose("docs/en/code-map.md")))


@pytest.mark.parametrize("page", PAGES)
def test_examples_are_valid(page: str) -> None:
    for text in blocks(page, "json"):
        json.loads(text)
    for text in blocks(page, "python"):
        compile(text, page, "exec")


@pytest.mark.parametrize("page", ("README.md", "README.zh-CN.md"))
def test_the_readme_stays_short(page: str) -> None:
    assert len(text_of(page).encode()) <= README_LIMIT


@pytest.mark.parametrize("page", ("docs/en/troubleshooting.md", "docs/zh/troubleshooting.md"))
def test_messages_to_look_up_are_those_of_the_code(page: str) -> None:
    rows = messages(page)
    assert len(rows) > 10
    gone = [
        message
        for message, _ in rows
        if not all(part in texts_in_code() for part in message.split("…"))
    ]
    assert not gone


@pytest.mark.parametrize("page", ("docs/en/troubleshooting.md", "docs/zh/troubleshooting.md"))
def test_remedies_say_more_than_the_message(page: str) -> None:
    empty = [
        message
        for message, remedy in messages(page)
        if len(NO_REMEDY.sub("", remedy).strip(" .,;:。，；：")) < 6
    ]
    assert not empty


@pytest.mark.parametrize(
    "script",
    ("bench/demo_results.py", "readme_image/draw_examples.py", "tests/trials/run_kills.py"),
)
def test_tools_explain_themselves_from_anywhere(script: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / script), "--help"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert script in done.stdout
