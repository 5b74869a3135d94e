"""A real browser for pages that are files.

Chromium is Playwright's own where it is installed, or else the one on the path; without either, these tests are skipped.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
    with sync_api.sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        found = (
            None if own.is_file() else shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        )
        if not own.is_file() and found is None:
            pytest.skip("there is no Chromium: playwright install chromium")
        opened = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield opened
        opened.close()


@pytest.fixture
def open_file(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page; whatever it says on the console, asks of the network or pops up is an error at the end."""
    trouble: list[str] = []
    contexts = []

    def open_page(path: Path, width: int = 1000, **more: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **more)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: trouble.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (trouble.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda one: None if one.url.startswith(("file:", "data:", "blob:")) else trouble.append(one.url))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []
