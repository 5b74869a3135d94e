"""From layer to layer: where each token was decided, and by which path its evidence came.

Layers are counted from 0, next to the sound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from voxray.types import IntArray, OptionError, frozen
from voxray.views import canvas, marks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Measure = Literal["log_prob", "rank"]

ROW, MIN_ROW, TALL = 0.26, 0.13, 9.0
"""Heights in inches: of a row as wanted, at the least, and of the map from which rows begin to shrink."""
POINTS = 8.5
"""Size of the labels in points."""
FAINTEST = -12.0
"""Nats at which the colours of log-probabilities end: chance in a vocabulary of 25 000 is -10."""
PATHS = 2.2
"""Height of the chart of paths in inches."""


def draw_lens(
    values: npt.ArrayLike,
    labels: Sequence[str],
    commits: Sequence[int | None] | IntArray,
    style: canvas.Style,
    *,
    measure: Measure = "log_prob",
    layers: Sequence[int] | None = None,
    title: str = "",
    provenance: str = "",
) -> Figure:
    """Draw what the output head reads in every layer: tokens down, layers across.

    Args:
        values: (tokens, layers) log-probability in nats, or rank from 1, of each emitted token at its own row.
        labels: the tokens' texts.
        commits: index along ``layers`` from which on the token wins until the end; None, or the number of layers, for a token
            that never wins.
        style: the look.
        measure: what the values are.
        layers: their numbers; None counts from 0.
        title: what is shown.
        provenance: how it came about.

    Returns:
        The figure; the layer of commitment is boxed, and amounts are written where they have room.

    Raises:
        OptionError: when there is nothing to draw or the measure does not exist.
        ValueError: when the lengths do not fit.
    """
    table = _table(values, measure)
    numbers = list(range(table.shape[1])) if layers is None else list(layers)
    if (len(labels), len(commits), len(numbers)) != (len(table), len(table), table.shape[1]):
        raise ValueError(
            f"values {table.shape} need as many labels, commits and layers, got {len(labels)}, {len(commits)}, {len(numbers)}"
        )
    row = max(MIN_ROW, min(ROW, TALL / len(table)))
    width = style.width or 1.9 + float(np.clip(0.34 * len(numbers), 4.0, 12.0))
    names = [canvas.shortened(canvas.token_label(label), POINTS, 0.3 * width) for label in labels]
    left = canvas.EDGE + 0.1 + max(canvas.text_width(name, POINTS) for name in names)
    room = width - left - canvas.EDGE
    scale = _lens_scale(table, measure)
    with canvas.drawing(style) as colours:
        key = (canvas.EDGE, 0.06, width - 2 * canvas.EDGE)
        top = key[1] + marks.key_height(scale, key[2]) + 0.06
        sheet = canvas.sheet((width, top + row * len(table) + 0.5), title, provenance, colours)
        shades = colours.weights.reversed() if measure == "rank" else colours.weights
        marks.draw_key(sheet, key, scale, colours, shades)
        axes = sheet.axes((left, top, room, row * len(table)))
        edges = np.arange(len(numbers) + 1) - 0.5, np.arange(len(table) + 1) - 0.5
        marks.draw_cells(axes, edges, table, scale, shades)
        axes.set_yticks(range(len(names)), names, size=POINTS, color=colours.ink)
        axes.set_ylim(len(names) - 0.5, -0.5)
        canvas.bare(axes)
        _layer_axis(axes, numbers)
        boxes = [(at - 0.5, at + 0.5, n - 0.5, n + 0.5) for n, at in enumerate(commits) if at is not None and at < len(numbers)]
        marks.outline(axes, boxes, colours)
        marks.write_amounts(axes, table, scale, (room / len(numbers), row), colours, shades)
    return sheet.figure


def draw_paths(
    paths: Mapping[str, npt.ArrayLike],
    style: canvas.Style,
    *,
    unit: str = "share",
    layers: Sequence[int] | None = None,
    title: str = "",
    provenance: str = "",
) -> Figure:
    """Draw how much each path carried in every layer, such as attention and memory.

    Args:
        paths: (layers,) amounts by the path's name.
        style: the look.
        unit: of the amounts; ``share`` stacks them, any other draws a curve each.
        layers: their numbers; None counts from 0.
        title: what is shown.
        provenance: how it came about.

    Returns:
        The figure.

    Raises:
        OptionError: when there is no path or no layer, or a share is negative.
        ValueError: when the paths have different lengths.
    """
    curves = {name: frozen(values, np.float64, "layers", f"paths[{name!r}]") for name, values in paths.items()}
    lengths = {len(values) for values in curves.values()}
    if not curves or lengths == {0}:
        raise OptionError("There is nothing to draw: no path was given; give one amount a layer, by the path's name.")
    if len(lengths) > 1 or (layers is not None and lengths != {len(layers)}):
        raise ValueError(f"every path needs one amount a layer, got { ({name: len(one) for name, one in curves.items()}) }")
    if unit == "share" and any((values < 0).any() for values in curves.values()):
        raise OptionError("Shares cannot be negative; give the unit of signed amounts, such as logit, to draw curves.")
    numbers = list(range(*lengths)) if layers is None else list(layers)
    width = style.width or float(np.clip(0.4 * len(numbers), 6.0, 12.0))
    with canvas.drawing(style) as colours:
        lines = _legend_lines(list(curves), width - 2 * canvas.EDGE)
        band = 0.1 + marks.LINE * len(lines)
        sheet = canvas.sheet((width, band + PATHS + 0.6), title, provenance, colours)
        axes = sheet.axes((0.72, band, width - 0.72 - canvas.EDGE, PATHS))
        tints = {name: colours.series[place % len(colours.series)] for place, name in enumerate(curves)}
        (_stack if unit == "share" else _lines)(axes, curves, tints, colours)
        _layer_axis(axes, numbers)
        axes.set_ylabel(unit)
        _write_legend(sheet, lines, tints)
    return sheet.figure


def _table(values: npt.ArrayLike, measure: Measure) -> npt.NDArray[np.float64]:
    """Return the values of a lens after checking that there are any, and that they can be what they are said to be.

    Raises:
        OptionError: when there is nothing to draw or the measure does not exist.
        ValueError: when a rank is below 1.
    """
    table = frozen(values, np.float64, "tokens layers", "values")
    if measure not in get_args(Measure):
        raise OptionError(f"The measure {measure!r} does not exist; choose one of {', '.join(get_args(Measure))}.")
    if 0 in table.shape:
        raise OptionError("There is nothing to draw: no token was found; use a recording in which something is said.")
    if measure == "rank" and (table < 1).any():
        raise ValueError(f"ranks count from 1, got {np.nanmin(table):g}; add 1 to ranks that count from 0")
    return table


def _lens_scale(table: npt.NDArray[np.float64], measure: Measure) -> marks.Scale:
    """Return the colour scale of the lens: ranks by their logarithm, log-probabilities from chance to certainty."""
    from matplotlib.colors import LogNorm, Normalize

    finite = table[np.isfinite(table)]
    if measure == "rank":
        worst = max(float(finite.max(initial=1.0)), 10.0)
        return marks.Scale(LogNorm(1.0, worst), signed=False, beyond=False, unit="rank of the token, 1 wins")
    least = float(finite.min(initial=0.0))
    norm = Normalize(max(min(least, -1.0), FAINTEST), 0.0)
    return marks.Scale(norm, signed=False, beyond=least < FAINTEST, unit="log-probability (nats)")


def _layer_axis(axes: Axes, numbers: Sequence[int]) -> None:
    """Number the layers, leaving some numbers out where they have no room."""
    inches = axes.bbox.width / axes.figure.dpi
    widest = canvas.text_width(str(max(numbers)), 8.0) + 0.08
    step = next(one for one in (1, 2, 5, 10, 20, 50, 100) if one * inches / len(numbers) >= widest or one == 100)
    axes.set_xlim(-0.5, len(numbers) - 0.5)
    axes.set_xticks(range(0, len(numbers), step), [str(number) for number in numbers[::step]])
    axes.set_xlabel("layer")


def _stack(axes: Axes, curves: Mapping[str, Any], tints: Mapping[str, str], colours: canvas.Palette) -> None:
    """Draw shares on top of each other, one column a layer, scaled to 1."""
    total = np.sum(list(curves.values()), axis=0)
    total = np.where(total > 0, total, 1.0)
    base = np.zeros_like(total)
    for name, values in curves.items():
        axes.bar(np.arange(len(total)), values / total, bottom=base, width=0.86, color=tints[name], linewidth=0)
        base = base + values / total
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.axhline(0.5, color=colours.background, linewidth=0.6, alpha=0.7)


def _lines(axes: Axes, curves: Mapping[str, Any], tints: Mapping[str, str], colours: canvas.Palette) -> None:
    """Draw a curve with a dot a layer (where these have room) for each path, over faint rules and a line at zero."""
    inches = axes.bbox.width / axes.figure.dpi
    for name, values in curves.items():
        dot = 3.0 if inches / len(values) > 0.1 else 0.0
        axes.plot(np.arange(len(values)), values, color=tints[name], linewidth=1.3 if dot else 0.8, marker="o", markersize=dot)
    axes.axhline(0, color=colours.muted, linewidth=0.6)
    axes.grid(axis="y", color=colours.faint, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.locator_params(axis="y", nbins=5)


def _legend_lines(names: Sequence[str], room: float) -> list[list[str]]:
    """Break the names of the paths into lines of a width in inches."""
    lines: list[list[str]] = [[]]
    used = 0.0
    for name in names:
        wide = canvas.text_width(canvas.drawable(name), POINTS) + 0.4
        if lines[-1] and used + wide > room:
            lines.append([])
            used = 0.0
        lines[-1].append(name)
        used += wide
    return lines


def _write_legend(sheet: canvas.Sheet, lines: Sequence[Sequence[str]], tints: Mapping[str, str]) -> None:
    """Write the names of the paths in their colours above the chart."""
    for row, names in enumerate(lines):
        left = canvas.EDGE
        for name in names:
            text = canvas.drawable(name)
            below = 1 - (sheet.top + marks.LINE * (row + 0.5)) / sheet.height
            look: dict[str, Any] = {"size": POINTS, "color": tints[name], "va": "center_baseline"}
            sheet.figure.text(left / sheet.width, below, f"■ {text}", **look)
            left += canvas.text_width(f"■ {text}", POINTS) + 0.22
