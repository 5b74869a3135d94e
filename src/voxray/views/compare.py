"""Two models side by side: how far every head diverges, in which layer the damage arises, and what becomes of the tokens' margins.

Layers run from left to right, from the sound to the output; where there is something after the layers it stands last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxray.types import OptionError, frozen
from voxray.views import canvas, marks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float64Array = npt.NDArray[np.float64]

ROW, COLUMN = 0.3, 0.42
"""Height and width of a head's cell in inches; columns shrink where there are many layers."""
LEAST, MOST = 5.5, 12.0
"""Width of a picture in inches."""
CHART, SQUARE = 2.4, 3.6
"""Heights in inches: of the chart of damage, and of the picture of margins."""
DOT = 14.0
"""Area of a token's dot in square points."""


def draw_divergence(
    values: npt.ArrayLike, style: canvas.Style, *, unit: str = "bits", title: str = "", provenance: str = ""
) -> Figure:
    """Draw a figure of every head as a map: layers across, heads down.

    Args:
        values: (L, H); NaN stays empty.
        style: the look.
        unit: of the values.
        title: what is shown.
        provenance: how it came about.

    Returns:
        The figure; amounts are written where they have room, and the largest is boxed.

    Raises:
        OptionError: when there is no head.
    """
    table = frozen(values, np.float64, "L H", "values").T
    if not table.size or not np.isfinite(table).any():
        raise OptionError("There is nothing to draw: no head was measured; compare two models of one shape.")
    heads, layers = table.shape
    width = style.width or float(np.clip(1.3 + COLUMN * layers, LEAST, MOST))
    left = canvas.EDGE + 0.55
    room = width - left - canvas.EDGE
    scale = marks.scale_of(table, unit)
    with canvas.drawing(style) as colours:
        key = (canvas.EDGE, 0.04, width - 2 * canvas.EDGE)
        top = key[1] + marks.key_height(scale, key[2]) + 0.08
        sheet = canvas.sheet((width, top + ROW * heads + 0.55), title, provenance, colours)
        marks.draw_key(sheet, key, scale, colours, colours.weights)
        axes = sheet.axes((left, top, room, ROW * heads))
        edges = np.arange(layers + 1) - 0.5, np.arange(heads + 1) - 0.5
        marks.draw_cells(axes, edges, table, scale, colours.weights)
        axes.set_yticks(range(heads), [f"head {head}" for head in range(heads)], size=8.0)
        axes.set_ylim(heads - 0.5, -0.5)
        canvas.bare(axes)
        _across(axes, [str(layer) for layer in range(layers)])
        head, layer = divmod(int(np.nanargmax(table)), layers)
        if table[head, layer] > 0:
            marks.outline(axes, [(layer - 0.5, layer + 0.5, head - 0.5, head + 0.5)], colours)
        marks.write_amounts(axes, table, scale, (room / layers, ROW), colours, colours.weights)
    return sheet.figure


def draw_damage(
    shares: npt.ArrayLike,
    ends: tuple[npt.ArrayLike, npt.ArrayLike],
    names: Sequence[str],
    style: canvas.Style,
    *,
    title: str = "",
    provenance: str = "",
) -> Figure:
    """Draw which share of the damage arises in each layer.

    Args:
        shares: (n,) of each layer, 0 to 1.
        ends: lower and upper ends of their intervals, (n,) each; NaN for none.
        names: what each layer is called.
        style: the look.
        title: what is shown.
        provenance: how it came about.

    Returns:
        The figure: bars with their intervals, the largest in the strong colour; a dashed line marks even shares.

    Raises:
        OptionError: when there is no layer.
        ValueError: when the lengths do not fit.
    """
    values, low, high = (frozen(one, np.float64, "n", "shares") for one in (shares, *ends))
    if not len(values):
        raise OptionError("There is nothing to draw: no layer was exchanged; compare two models of one shape.")
    if not len(values) == len(low) == len(high) == len(names):
        raise ValueError(f"{len(values)} shares need as many ends and names, got {len(low)}, {len(high)} and {len(names)}")
    width = style.width or float(np.clip(1.3 + COLUMN * len(values), LEAST, MOST))
    with canvas.drawing(style) as colours:
        sheet = canvas.sheet((width, CHART + 0.7), title, provenance, colours)
        axes = sheet.axes((canvas.EDGE + 0.55, 0.1, width - 2 * canvas.EDGE - 0.55, CHART))
        shades = [colours.accent if place == int(np.argmax(values)) else colours.contrast for place in range(len(values))]
        axes.bar(np.arange(len(values)), 100 * values, width=0.78, color=shades, linewidth=0)
        there = np.isfinite(low) & np.isfinite(high)
        axes.vlines(np.flatnonzero(there), 100 * low[there], 100 * high[there], color=colours.ink, linewidth=1.0)
        axes.axhline(100 / len(values), color=colours.muted, linewidth=0.7, dashes=(4, 3))
        axes.set_ylim(0, None)
        axes.set_ylabel("share of the damage (%)")
        axes.locator_params(axis="y", nbins=6)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="y", color=colours.faint, linewidth=0.6)
        axes.set_axisbelow(True)
        _across(axes, names)
    return sheet.figure


def draw_margins(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    style: canvas.Style,
    *,
    names: tuple[str, str] = ("first", "second"),
    title: str = "",
    provenance: str = "",
) -> Figure:
    """Draw the margin of every token under two models; those on the diagonal did not change.

    Args:
        first: (n,) logits, under the first model.
        second: (n,) under the second.
        style: the look.
        names: of the models.
        title: what is shown.
        provenance: how it came about.

    Returns:
        The figure; tokens whose margin has another sign under the second model stand out.

    Raises:
        OptionError: when there is no token.
        ValueError: when the lengths differ.
    """
    x, y = (frozen(one, np.float64, "n", "margins") for one in (first, second))
    if len(x) != len(y):
        raise ValueError(f"every token needs both margins, got {len(x)} and {len(y)}")
    if not len(x):
        raise OptionError("There is nothing to draw: no token was found; use recordings in which something is said.")
    flipped = (x >= 0) != (y >= 0)
    width = style.width or SQUARE + 1.6
    low, high = float(min(x.min(), y.min(), 0.0)), float(max(x.max(), y.max(), 1.0))
    reach = (low - 0.04 * (high - low), high + 0.04 * (high - low))
    with canvas.drawing(style) as colours:
        sheet = canvas.sheet((width, SQUARE + 0.7), title, provenance, colours)
        axes = sheet.axes((canvas.EDGE + 0.6, 0.1, width - 2 * canvas.EDGE - 0.6, SQUARE))
        axes.plot(reach, reach, color=colours.muted, linewidth=0.7)
        if low < 0:
            axes.axhline(0, color=colours.faint, linewidth=0.8)
            axes.axvline(0, color=colours.faint, linewidth=0.8)
        look: dict[str, Any] = {"s": DOT, "linewidths": 0}
        axes.scatter(x[~flipped], y[~flipped], color=colours.contrast, alpha=0.55, **look)
        axes.scatter(x[flipped], y[flipped], color=colours.accent, marker="D", zorder=3, **look)
        axes.set_xlim(*reach)
        axes.set_ylim(*reach)
        axes.set_xlabel(f"margin under {canvas.drawable(names[0])} (logits)")
        axes.set_ylabel(f"margin under {canvas.drawable(names[1])} (logits)")
    return sheet.figure


def _across(axes: Axes, names: Sequence[str]) -> None:
    """Name the columns, leaving some out where they have no room; the last is always named."""
    inches = axes.bbox.width / axes.figure.dpi / len(names)
    widest = max(canvas.text_width(name, 8.0) for name in names[:-1] or names) + 0.08
    step = next(one for one in (1, 2, 5, 10, 20, 50, 100) if one * inches >= widest or one == 100)
    shown = [place for place in range(0, len(names) - 1, step) if len(names) - 1 - place >= step or step == 1] + [len(names) - 1]
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_xticks(shown, [names[place] for place in shown])
    axes.set_xlabel("layer")
