"""The result of a benchmark as people read it: Markdown for documentation, a page for a browser, pictures.

All of it is drawn from the plain values of a ``table.json``.
"""

from __future__ import annotations

from voxray.views.bench.files import write
from voxray.views.bench.markdown import markdown
from voxray.views.bench.page import page
from voxray.views.bench.pictures import draw_bars, draw_frontier, draw_heat, pictures

__all__ = ["draw_bars", "draw_frontier", "draw_heat", "markdown", "page", "pictures", "write"]
