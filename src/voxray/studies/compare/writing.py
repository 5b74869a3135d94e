"""Writes a comparison: a page with its verdict and pictures, a table of every token, and everything as JSON."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

from voxray.storage import whole_file
from voxray.studies.compare.comparison import ModelComparison
from voxray.studies.compare.pictures import pictures_of
from voxray.studies.compare.verdict import claims_of
from voxray.types import OutputError
from voxray.views.compare_page import write_page
from voxray.views.page import Language, Picture


def write_model_report(comparison: ModelComparison, path: str | os.PathLike[str], *, language: Language = "en") -> tuple[Path, ...]:
    """Write a comparison of two models.

    Args:
        comparison: of ``compare_models``.
        path: of the page, ending in ``.html``, or a folder, in which it is ``report.html``. Beside it lie everything as JSON and,
            where tokens were compared, a table of them as CSV, both with the page's name before their endings.
        language: that the page opens in; it can be changed there.

    Returns:
        The paths: page, JSON, table.

    Raises:
        OptionError: when there is no such language.
        OutputError: when a file cannot be written.
    """
    page = Path(path)
    page = page if page.suffix.lower() in (".html", ".htm") and not page.is_dir() else page / "report.html"
    pictures = {name: Picture.drawn(draw) for name, draw in pictures_of(comparison).items()}
    claims = [(one.key, one.values) for one in claims_of(comparison)]
    told = comparison.to_dict()
    written = [write_page(told, claims, pictures, page, language=language)]
    written.append(_write(page.with_suffix(".json"), json.dumps(told, ensure_ascii=False, indent=1) + "\n"))
    if comparison.tokens:
        written.append(_write(page.with_name(f"{page.stem}-tokens.csv"), _table(comparison)))
    return tuple(written)


def _write(path: Path, text: str) -> Path:
    try:
        with whole_file(path) as stream:
            stream.write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}); choose another place") from error
    return path


def _table(comparison: ModelComparison) -> str:
    rows = list(comparison.rows())
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
