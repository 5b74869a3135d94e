"""Make the pictures of docs/app.md: the web application in headless Chromium, on bundled clips.

PYTHONPATH=tests python scripts/app_pictures.py [--out docs/images]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from webserver import serving

WIDTH, HEIGHT = 1200, 900
RIGHT = "we removed my rice with cabbage"


def main() -> None:
    """Open the page, use every tab, and take a picture of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "tmp") as served, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, locale="en-US")
        page.goto(served.address)
        page.locator(".vx-intake [data-example=en_noise_burst]").click()
        page.locator('.vx-look [data-target="word:2"]').click()
        page.locator(".vx-decision dl").wait_for()
        taken(page, out / "app-listen.png")
        page.get_by_role("tab", name="Attention", exact=True).click()
        page.locator("#vx-heat .main-svg").first.wait_for()
        page.locator('.vx-heads [data-layer="9"][data-head="3"]').click()
        taken(page, out / "app-attention.png")
        page.get_by_role("tab", name="Tags", exact=True).click()
        page.locator("#vx-labels .main-svg").first.wait_for()
        taken(page, out / "app-tags.png")
        page.get_by_role("tab", name="Why wrong", exact=True).click()
        page.locator("#vx-reference textarea").fill(RIGHT)
        page.locator("#vx-ask-why").click()
        page.frame_locator(".vx-why iframe").locator(".diff button").first.wait_for()
        taken(page, out / "app-why.png")
        browser.close()


def taken(page: Any, path: Path) -> None:
    """Take a picture once everything stands still."""
    page.mouse.move(5, HEIGHT - 5)
    page.wait_for_timeout(1500)
    page.screenshot(path=path, clip={"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT})


if __name__ == "__main__":
    main()
