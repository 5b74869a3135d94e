"""Writes a comparison: a page with its verdict and pictures, a table of every token, and everything as JSON."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np

from voxray.storage import whole_file
from voxray.studies.compare.comparison import ModelComparison
from voxray.studies.compare.verdict import claims_of
from voxray.types import ModelInfo, OutputError
from voxray.views import canvas
from voxray.views.compare import draw_damage, draw_divergence, draw_margins
from voxray.views.compare_page import Picture, write_page
from voxray.views.layers import draw_paths
from voxray.views.page import Language

DPI = 150
Draw = Callable[[canvas.Style], Any]


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
    pictures = {name: _picture(draw) for name, draw in _pictures(comparison)}
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


def _picture(draw: Draw) -> Picture:
    """Return a picture as PNG for light and dark screens."""
    with TemporaryDirectory() as folder:
        found = []
        for theme in get_args(canvas.Theme):
            style = canvas.Style(theme, DPI)
            found.append(canvas.save_figure(draw(style), Path(folder) / f"{theme}.png", style).read_bytes())
    return Picture(*found)


def _pictures(found: ModelComparison) -> Iterator[tuple[str, Draw]]:
    """Yield name and way to draw of each picture that there is something for."""
    about = " · ".join([f"{letter} {_named(one)}" for letter, one in zip("AB", found.models, strict=True)])
    damage, inside = found.damage, found.inside
    if damage is not None and damage.adds_up:
        shares = [one.share for one in damage.layers]
        columns = [np.array([getattr(one, name) for one in shares], np.float64) for name in ("value", "low", "high")]
        names = [*map(str, range(len(shares) - 1)), "head"]
        note = f"{about} · {len(damage.clips)} clips · lines: 95 % intervals over clips, dashed: even shares"
        told = {"title": "Where the damage arises", "provenance": note}
        yield "damage", lambda style: draw_damage(columns[0], (columns[1], columns[2]), names, style, **told)
    if inside is not None and inside.table().any():
        rows = f"{about} · {len(inside.clips)} clips, {inside.rows} rows · a view, not an explanation"
        heads: dict[str, Any] = {"unit": "bits a row", "title": "How far attention diverges, head by head", "provenance": rows}
        yield "heads", lambda style: draw_divergence(inside.table(), style, **heads)
        curve = {"output": [one.relative_l2 or 0.0 for one in inside.layers]}
        layers: dict[str, Any] = {"unit": "relative L2", "title": "How far the layers' outputs lie apart", "provenance": rows}
        yield "layers", lambda style: draw_paths(curve, style, **layers)
    known = [one.margins for one in found.tokens if one.margins[1] is not None]
    if known:
        first, second = np.array(known, np.float64).T
        margins: dict[str, Any] = {"names": ("A", "B"), "title": f"Margins of {len(known)} tokens", "provenance": about}
        yield "margins", lambda style: draw_margins(first, second, style, **margins)


def _named(model: ModelInfo) -> str:
    return f"{model.name} ({model.layout}, {model.precision})"
