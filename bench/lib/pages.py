"""Tables in the documentation: a script writes what is between two markers of a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from cnnlib.errors import CaptchaError
from cnnlib.files import replacing
from cnnlib.paths import PROJECT_ROOT

# The results, by language.
PAGES = {language: PROJECT_ROOT / "docs" / language / "results.md" for language in ("en", "zh")}


def replace_in_pages(marker: str, texts: Mapping[str, str]) -> None:
    """Write the text of each language between the markers of its page of results."""
    for language, text in texts.items():
        replace_between_markers(PAGES[language], marker, text)


def write_tables(
    marker: str, heads: Mapping[str, str], rows: Callable[[str], Iterable[str]]
) -> str:
    """Write a table into the page of each language; return the English one.

    `heads` are those of the tables; `rows` gives the lines of a language.
    """
    texts = {language: markdown_table(head, rows(language)) for language, head in heads.items()}
    replace_in_pages(marker, texts)
    return texts["en"]


def replace_between_markers(page: Path, marker: str, text: str, end_of: str = "") -> None:
    """Replace what is between `<!-- marker -->` and `<!-- end of marker -->` in a page.

    `end_of` names the second marker where it differs. Raises CaptchaError where one is missing.
    """
    before, _, after = _parts(page, marker, end_of)
    with replacing(page) as temporary:
        temporary.write_text(before + text + after, encoding="utf-8", newline="\n")


def text_between_markers(page: Path, marker: str, end_of: str = "") -> str:
    """Return what is there now; raises CaptchaError where a marker is missing."""
    return _parts(page, marker, end_of)[1]


def _parts(page: Path, marker: str, end_of: str) -> tuple[str, str, str]:
    """Return a page up to the first marker, between both, and from the second one on."""
    opening, closing = f"<!-- {marker} -->\n", f"<!-- end of {end_of or marker} -->"
    before, begin, rest = page.read_text(encoding="utf-8").partition(opening)
    between, end, after = rest.partition(closing)
    if not (begin and end):
        raise CaptchaError(
            f"{page}: the lines {opening.strip()} and {closing} are missing; put them where the "
            "table belongs"
        )
    return before + begin, between, end + after


def markdown_table(head: str, rows: Iterable[str]) -> str:
    """Return a table, given its head and its rows, each a line such as `| a | b |`."""
    return "\n".join([head, "|" + "---|" * (head.count("|") - 1), *rows]) + "\n"
