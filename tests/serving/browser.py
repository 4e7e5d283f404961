"""The API's page, as somebody uses it in Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WIDTH, HEIGHT = 820, 900
TIMEOUT_MS = 20_000


def use_page(url: str, files: Sequence[tuple[str, bytes]], picture: Path) -> list[str]:
    """Give images to the page at `url`, save what it shows, return the texts, newest first."""
    from playwright.sync_api import FilePayload, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.set_default_timeout(TIMEOUT_MS)
            faults: list[str] = []
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.goto(url)
            for number, (name, data) in enumerate(files):
                file = FilePayload(name=name, mimeType="image/png", buffer=data)
                page.set_input_files("#file", files=[file])
                page.wait_for_selector(f".answer:nth-child({number + 1}) :is(.text, .error)")
            picture.write_bytes(page.screenshot())
            assert not faults, faults
            return page.locator(".answer :is(.text, .error)").all_inner_texts()
        finally:
            browser.close()
