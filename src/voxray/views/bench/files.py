"""Writes a benchmark's result as people read it: Markdown, a page, and pictures, beside its ``table.json``."""

from __future__ import annotations

import re
from pathlib import Path

from voxray.views.bench.markdown import markdown
from voxray.views.bench.page import page
from voxray.views.bench.pictures import pictures
from voxray.views.bench.results import Results, Table
from voxray.views.page import Language, Picture, check
from voxray.views.page import write as put

MARKDOWN, PAGE, PLOTS = "table.md", "table.html", "plots"
UNSAFE = re.compile(r"[^\w-]+")


def write(table: Table, folder: Path, *, language: Language = "en") -> tuple[Path, ...]:
    """Write all that there is to see of a result.

    Args:
        table: as ``table.json`` holds it.
        folder: of the run.
        language: of the Markdown, and that the page opens in.

    Returns:
        The paths of Markdown and page. Beside them lies the folder ``plots`` with each picture for light and for dark screens, but
        not where a gate failed.

    Raises:
        OptionError: when there is no such language, or the table has another form.
        OutputError: when a file cannot be written.
    """
    check(language)
    drawn = {} if Results(table).failed else {name: Picture.drawn(draw) for name, draw in pictures(table)}
    for name, picture in drawn.items():
        plain = UNSAFE.sub("_", name)  # sets are named by whoever made the corpus
        put([picture.light], folder / PLOTS / f"{plain}.png")
        put([picture.dark], folder / PLOTS / f"{plain}-dark.png")
    texts = {MARKDOWN: markdown(table, language=language), PAGE: page(table, language=language, drawn=drawn)}
    return tuple(put([text], folder / name) for name, text in texts.items())
