"""Tables and numbers as a terminal or a pipe shows them."""

from __future__ import annotations

import math
import sys
from typing import Any

import voxray

PIPE = 240  # columns of what is no terminal


def table(title: str, *columns: str) -> Any:
    """Return an empty table; columns that begin with ``>`` are set to the right."""
    from rich import box
    from rich.table import Table

    result = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        result.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    return result


def show(*tables: Any) -> None:
    """Print tables; a pipe gets lines of any length."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else PIPE, highlight=False)
    for one in tables:
        console.print(one)


def room() -> int:
    """Return how many columns a table may take; a pipe has enough for all of them."""
    from rich.console import Console

    return Console().width if sys.stdout.isatty() else PIPE


def drawable() -> bool:
    """Tell whether the output can show signs for drawing; terminals with an older encoding cannot."""
    from rich.console import Console

    return not Console().options.ascii_only


def number(value: float | None, unit: str = "") -> str:
    """Return a signed number as a table shows it; shares have no sign."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.3f}" if unit == "share" else f"{round(value, 2) + 0.0:+.2f}"


def seconds_at(value: float | None) -> str:
    """Return a moment as a table shows it."""
    return "-" if value is None else f"{value:.2f}"


def cut_short(text: str, longest: int) -> str:
    """Return a text cut to a length."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def printed(token: Any, trace: voxray.Trace) -> str:
    """Return a token's text so that it can be seen."""
    return "(blank)" if token.id == trace.blank else token.text.strip() or "␣"


def spoken(model: Any, trace: voxray.Trace, index: int) -> str:
    """Return the text of a token id so that it can be seen."""
    return "(blank)" if index == trace.blank else model.vocabulary.text(index).strip().strip("<|>") or "␣"
