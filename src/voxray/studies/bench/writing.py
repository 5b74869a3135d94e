"""Writes what there is to see of a benchmark's run."""

from __future__ import annotations

from pathlib import Path

from voxray.studies.bench import Benchmark
from voxray.views import bench
from voxray.views.page import Language


def write_bench(found: Benchmark, *, language: Language = "en") -> tuple[Path, ...]:
    """Write the table of a run as Markdown, as a page for a browser, and as pictures, into its folder.

    Args:
        found: of ``bench``.
        language: of the Markdown, and that the page opens in; it can be changed there.

    Returns:
        The paths of Markdown and page; pictures lie in the folder ``plots``.

    Raises:
        OptionError: when there is no such language.
        OutputError: when a file cannot be written.
    """
    return bench.write(found.table, found.folder, language=language)
