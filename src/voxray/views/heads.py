"""All heads at a glance: one small map for every head of every layer.

Rows are layers, columns are heads. In each small map tokens run from top to bottom and seconds from left to right. Every map
is scaled by its own maximum, which is written beside it: the maps show where a head looks, the numbers how strongly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxray.views import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from xarray import DataArray

LEFT, BETWEEN, HEADING, FOOT = 0.62, 0.1, 0.26, 0.5
"""Inches: room for the layers' names, between heads, for the heads' names, for the clock."""
NOTE = 5.0
"""Size of the maxima in points."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """Lengths in inches: a small map with its note, the share of it that is map, the whole sheet."""

    column: float
    row: float
    share: float
    sheet: float


def draw_heads(weights: DataArray, style: canvas.Style) -> Figure:
    """Draw every head of every layer as a small map.

    Args:
        weights: (layer, head, token, frame) float, with ``time`` (seconds, centre of each frame) along ``frame``. Where
            ``layer`` and ``head`` are coordinates they number the maps, otherwise these count from 0. Its ``attrs`` say
            ``title`` and ``provenance``.
        style: the look.

    Returns:
        The figure: one axes a head, holding one image a layer. It grows with the layers.

    Raises:
        OptionError: when there is no layer, head, token or frame.
    """
    values = canvas.arranged(weights, "layer", "head", "token", "frame")
    layers, heads = values.shape[:2]
    plan = _plan(values.shape, style)
    provenance = f"{weights.attrs.get('provenance', '')} · each map is scaled by its own maximum".removeprefix(" · ")
    with canvas.drawing(style) as colours:
        size = (plan.sheet, HEADING + plan.row * layers + FOOT)
        sheet = canvas.sheet(size, weights.attrs.get("title", ""), provenance, colours)
        for head, number in enumerate(_numbers(weights, "head")):
            left = LEFT + head * (plan.column + BETWEEN)
            axes = sheet.axes((left, HEADING, plan.column, plan.row * layers))
            _draw_column(axes, values[:, head], canvas.time_range(weights), plan, colours)
            axes.set_title(f"H{number}", size=canvas.LABEL, pad=3.0)
            names = [f"L{layer}" for layer in _numbers(weights, "layer")] if head == 0 else []
            axes.set_yticks((np.arange(layers) + 1 - plan.share / 2)[: len(names)], names, color=colours.ink)
            if head != 0:
                axes.set_xlabel("")
            if head != heads - 1:
                ticks: Any = axes.xaxis.get_major_locator()
                ticks.set_params(prune="upper")  # its neighbour's 0 stands there
    return sheet.figure


def _plan(shape: tuple[int, ...], style: canvas.Style) -> _Plan:
    """Choose the lengths: roomy for a few maps, small for hundreds, never too small to be seen."""
    layers, heads, tokens, frames = shape
    wanted = float(np.clip(frames * 0.045, 1.6, 3.2)) if heads > 1 else float(np.clip(frames * 0.12, 4.5, 12.0))
    gaps = LEFT + BETWEEN * (heads - 1) + 2 * canvas.EDGE
    column = wanted if style.width is None else max((style.width - gaps) / heads, 0.15)
    row = float(np.clip(11.0 / layers, 0.36, max(0.6, min(2.4, 0.13 * tokens))))
    return _Plan(column, row, 1 - (NOTE * 1.5 / 72) / row, gaps + column * heads)


def _numbers(weights: DataArray, name: str) -> npt.NDArray[np.int64]:
    """Return what the layers or heads are called."""
    return np.asarray(weights[name].values)  # counts from 0 where there is no coordinate


def _draw_column(
    axes: Axes, maps: npt.NDArray[np.float64], span: tuple[float, float], plan: _Plan, colours: canvas.Palette
) -> None:
    """Draw the maps of one head under each other, layer 0 on top, each in the lower part of a row of height 1."""
    axes.hlines(np.arange(len(maps)) + 1 - plan.share, *span, color=colours.faint, linewidth=0.5)
    axes.hlines(np.arange(len(maps)) + 1.0, *span, color=colours.faint, linewidth=0.5)
    for layer, values in enumerate(maps):
        largest = float(np.nanmax(np.abs(values), initial=0.0))
        signed = bool((values < 0).any())
        axes.imshow(
            values / (largest or 1.0),
            extent=(*span, layer + 1, layer + 1 - plan.share),
            aspect="auto",
            vmin=-1 if signed else 0,
            vmax=1,
            cmap=colours.signed if signed else colours.weights,
        )
        axes.text(span[1], layer + 1 - plan.share, f"{largest:.2g} ", size=NOTE, color=colours.muted, ha="right", va="bottom")
    axes.set_ylim(len(maps), 0)
    canvas.bare(axes)
    canvas.time_axis(axes, span)
