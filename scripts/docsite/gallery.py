"""Run the Python of a page and keep what it draws, so that each picture on the page is made by the lines beside it.

Usage: ``python scripts/docsite/gallery.py PAGE FOLDER`` runs the page's blocks one after the other, as one program, in FOLDER, and
writes there ``made.json``: for each block the names of the files that it wrote.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^```console\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
SECTION = re.compile(r"^(?=#+ )", re.MULTILINE)
PICTURE, REPORT = ".png", ".html"
MADE = "made.json"


def blocks_of(text: str) -> list[str]:
    """Return the blocks of Python of a page."""
    return BLOCK.findall(text)


def commands_of(text: str) -> list[str]:
    """Return the commands of a page, one a line."""
    return [line for block in COMMANDS.findall(text) for line in block.splitlines()]


def run(blocks: Sequence[str]) -> list[list[str]]:
    """Run blocks as one program in the working folder; return the names of the pictures and reports that each wrote."""
    made: list[list[str]] = []
    seen: set[str] = set()
    names: dict[str, Any] = {"__name__": "__main__"}
    for index, block in enumerate(blocks):
        exec(compile(block, f"block {index}", "exec"), names)  # noqa: S102
        now = {path.name for path in Path().iterdir() if path.suffix in (PICTURE, REPORT)}
        made.append(sorted(now - seen))
        seen |= now
    return made


def fingerprint(blocks: Sequence[str]) -> str:
    """Return a hash of the blocks and of all that they run on: the library's code and what it ships."""
    known = hashlib.sha256("\0".join(blocks).encode())
    for path in sorted((ROOT / "src" / "voxray").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            known.update(f"{path.relative_to(ROOT)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return known.hexdigest()[:16]


@cache  # one build draws once, even if somebody edits the library meanwhile
def made(page: Path, kept: Path) -> tuple[Path, list[list[str]]]:
    """Return the folder with what a page's blocks drew, and the names by block; they run only where something has changed.

    Args:
        page: the page.
        kept: folder of what was drawn before.
    """
    folder = kept / fingerprint(blocks_of(page.read_text(encoding="utf-8")))
    if not (folder / MADE).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, __file__, str(page.resolve()), str(folder)], check=True)  # noqa: S603
    return folder, json.loads((folder / MADE).read_text(encoding="utf-8"))


def illustrated(text: str, names: Sequence[Sequence[str]], at: str, told: str, root: str = "") -> str:
    """Return a page with, at the end of each section, what its blocks drew.

    Args:
        text: the page.
        names: of the files, by block.
        at: folder of the files, as the page links to it.
        told: words of the link to a report.
        root: way from the built page to the folder that ``at`` lies in; MkDocs mends links, but no frames.
    """
    queue = iter(names)
    parts = []
    for section in SECTION.split(text):
        title = section.partition("\n")[0].lstrip("# ")
        drawn = [name for _ in blocks_of(section) for name in next(queue)]
        parts += [section, *(_shown(f"{at}/{name}", title, told, root) for name in drawn)]
    return "".join(parts)


def _shown(path: str, title: str, told: str, root: str) -> str:
    """Return a picture, or a report in a frame, as Markdown."""
    if path.endswith(REPORT):
        return f'<iframe class="vx-report" src="{root}{path}" title="{title}" loading="lazy"></iframe>\n\n[{told}]({path})\n\n'
    return f"![{title}]({path}){{ loading=lazy }}\n\n"


def main() -> int:
    """Run the blocks of a page in a folder."""
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    os.chdir(sys.argv[2])
    Path(MADE).write_text(json.dumps(run(blocks_of(text))), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
