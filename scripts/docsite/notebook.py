"""A notebook as a page: its text, code and what the code gave, as Markdown. Nothing is run."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
IMAGES = {"image/png": "png", "image/jpeg": "jpg", "image/gif": "gif"}


def page(path: Path, at: str) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and its pictures by name.

    Args:
        path: the notebook.
        at: folder of the pictures, as the page links to it.
    """
    told = json.loads(path.read_text(encoding="utf-8"))
    pictures: dict[str, bytes] = {}
    parts = []
    for index, cell in enumerate(told["cells"]):
        source = _text(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code" and source.strip():
            parts.append(f"```python\n{source}\n```")
            for step, (kind, value) in enumerate(_given(cell.get("outputs", []))):
                name = f"{path.name.removesuffix('.ipynb')}-{index}-{step}.{IMAGES.get(kind, '')}"
                if kind in IMAGES:
                    pictures[name] = base64.b64decode(value)
                parts.append(_shown(kind, value, f"{at}/{name}"))
    return "\n\n".join(parts) + "\n", pictures


def _given(outputs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield what a cell gave, in the richest form that a page can show: its MIME type and value."""
    for one in outputs:
        if one["output_type"] == "stream":
            yield "text/plain", _text(one["text"])
        elif "data" in one:
            data = one["data"]
            kind = next(kind for kind in (*IMAGES, "text/html", "text/markdown", "text/plain") if kind in data)
            yield kind, _text(data[kind])


def _shown(kind: str, value: str, path: str) -> str:
    """Return one thing that a cell gave as Markdown."""
    if kind in IMAGES:
        return f"![]({path})"
    if kind == "text/html":
        return f'<div class="vx-given">{value}</div>'
    if kind == "text/markdown":
        return value
    return f"``` {{ .text .vx-given }}\n{COLOURS.sub('', value).rstrip()}\n```"


def _text(value: str | Sequence[str]) -> str:
    """Return a text that a notebook may hold as a list of lines."""
    return value if isinstance(value, str) else "".join(value)
