"""The heat map: which token looks at, or is held up by, which moment of the sound.

Tokens run from top to bottom, seconds from left to right. Every cell is drawn as it is, never smoothed, so that a cell can
be told from its neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxray.types import Word
from voxray.views import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from xarray import DataArray

ROW, MIN_ROW = 0.36, 0.15
"""Height of a token's row in inches: as wanted, and the least at which its label can still be read."""
TALL, MAX_TALL = 9.0, 40.0
"""Height of the map in inches: from which rows begin to shrink, and at which labels begin to be left out."""
GAP, STRIP, SCALE = 0.2, 0.7, 0.75
"""Widths in inches: beside the map, of the strip of confidences, of the colour bar with its numbers and label."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """Lengths in inches: the left edge of the map, its size, the width of the sheet; size and step of the labels."""

    left: float
    width: float
    height: float
    sheet: float
    points: float
    step: int
    labels: list[str]


def draw_heatmap(
    scores: DataArray,
    style: canvas.Style,
    *,
    spans: Sequence[tuple[float, float] | None] = (),
    words: Sequence[Word] = (),
) -> Figure:
    """Draw scores of tokens over time.

    Args:
        scores: (token, frame) float, with ``label`` (text) along ``token`` and ``time`` (seconds, centre of each frame)
            along ``frame``; with ``confidence`` (0 to 1) along ``token`` a strip of bars is added. Its ``attrs`` say
            ``title``, ``provenance``, ``unit`` (label of the colour bar) and, for signed scores, ``cmap_centre``.
        style: the look.
        spans: start and end of each row in seconds, drawn as a thin box; None for a row without one.
        words: drawn as thin boxes over the rows and the time of their tokens.

    Returns:
        The figure. It grows with the number of tokens; beyond 266 tokens some labels are left out.

    Raises:
        OptionError: when there is no token or no frame.
    """
    values = canvas.arranged(scores, "token", "frame")
    centre = scores.attrs.get("cmap_centre")
    shown = values if centre is not None else _without_outliers(values)
    boxes = [(*span, row, row + 1) for row, span in enumerate(spans) if span is not None]
    boxes += [(word.start, word.end, *word.tokens) for word in words]
    with canvas.drawing(style) as colours:
        plan = _plan(scores, style)
        title, provenance = scores.attrs.get("title", ""), scores.attrs.get("provenance", "")
        sheet = canvas.sheet((plan.sheet, plan.height + 0.62), title, provenance, colours)
        axes = sheet.axes((plan.left, 0.12, plan.width, plan.height))
        image = axes.imshow(
            values,
            extent=(*canvas.time_range(scores), len(values) - 0.5, -0.5),
            aspect="auto",
            interpolation="nearest",
            cmap=colours.weights if centre is None else colours.signed,
            norm=canvas.colour_range(shown, centre),
        )
        canvas.bare(axes)
        first, last = canvas.time_range(scores)
        canvas.time_axis(axes, (max(first, 0.0), last))  # the first frame's window begins before the sound
        _label_rows(axes, plan, colours.ink)
        _outline(axes, boxes, colours)
        right = plan.left + plan.width + GAP
        if "confidence" in scores.coords:
            strip = sheet.axes((right, 0.12, STRIP - 0.2, plan.height), sharey=axes)
            _confidence_strip(strip, np.asarray(scores["confidence"].values, dtype=np.float64), colours)
            right += STRIP - 0.04
        bar_height = min(plan.height, 3.2)
        beyond = "neither" if shown is values else "max"
        _scale_bar(sheet.axes((right, 0.12, 0.13, bar_height)), image, _unit_lines(scores, bar_height), beyond)
    return sheet.figure


def _plan(scores: DataArray, style: canvas.Style) -> _Plan:
    """Choose the lengths so that every label fits."""
    count, frames = scores.sizes["token"], scores.sizes["frame"]
    least = min(2.4, max(1.3, canvas.text_width(canvas.drawable(scores.attrs.get("unit", "")), canvas.LABEL)))
    row = max(min(ROW, max(TALL / count, MIN_ROW), MAX_TALL / count), least / count)
    points = float(np.clip(row * 72 * 0.6, 6.5, 10.0))
    labels = [canvas.token_label(str(text)) for text in scores["label"].values]
    right = SCALE + GAP + canvas.EDGE + (STRIP if "confidence" in scores.coords else 0.0)
    widest = max(canvas.text_width(label, points) for label in labels)
    most = 2.5 if style.width is None else 0.28 * style.width
    left = canvas.EDGE + 0.1 + min(widest, most)
    width = float(np.clip(frames * 0.12, 4.8, 12.0)) if style.width is None else style.width - left - right
    labels = [canvas.shortened(label, points, most) for label in labels]
    step = int(np.ceil(MIN_ROW / row - 1e-9))
    return _Plan(left, width, row * count, left + width + right, points, step, labels)


def _label_rows(axes: Axes, plan: _Plan, ink: str) -> None:
    """Write the tokens beside their rows."""
    rows = range(0, len(plan.labels), plan.step)
    axes.set_yticks(rows, [plan.labels[row] for row in rows], size=plan.points, color=ink)


def _outline(axes: Axes, boxes: Sequence[tuple[float, float, int, int]], colours: canvas.Palette) -> None:
    """Draw thin boxes, each given as start and end in seconds and its first and stop row.

    A line of the background lies under each, because a map holds light and dark cells.
    """
    from matplotlib.collections import PolyCollection

    corners = [
        [(start, first - 0.5), (end, first - 0.5), (end, stop - 0.5), (start, stop - 0.5)] for start, end, first, stop in boxes
    ]
    lines: tuple[tuple[str, float], ...] = ((colours.background, 1.8), (colours.ink, 0.7))
    for colour, width in lines:
        axes.add_collection(PolyCollection(corners, facecolors="none", edgecolors=colour, linewidths=width), autolim=False)


def _confidence_strip(axes: Axes, confidence: npt.NDArray[np.float64], colours: canvas.Palette) -> None:
    """Draw how sure the model is of each token as a bar from 0 to 1."""
    rows = np.arange(len(confidence))
    inches = axes.bbox.height / axes.figure.dpi
    thick = min(5.0, 0.4 * 72 * inches / len(rows))
    axes.hlines(rows, 0, 1, color=colours.faint, linewidth=thick)
    axes.hlines(rows, 0, np.nan_to_num(confidence), color=colours.contrast, linewidth=thick)
    canvas.bare(axes)
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.tick_params(axis="y", labelleft=False)
    axes.set_xlabel("confidence", size=canvas.SMALL)


def _without_outliers(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the values cut at their 99.5th percentile where a few would take the whole colour scale.

    Attention has sinks: single frames that draw several times what any other does. Cut, they stay the darkest, an arrow on the
    colour bar says that they go beyond it, and the rest can be told apart.
    """
    finite = values[np.isfinite(values)]
    bound = float(np.quantile(finite, 0.995)) if finite.size else 0.0
    return np.minimum(values, bound) if 0 < 1.5 * bound < finite.max(initial=0.0) else values


def _scale_bar(axes: Axes, image: AxesImage, unit: str, beyond: str) -> None:
    """Draw the colour bar with its unit, and an arrow where values lie beyond it."""
    from matplotlib.ticker import FuncFormatter

    numbers: Any = FuncFormatter(lambda value, _: f"{value:.3g}")
    bar = axes.figure.colorbar(image, cax=axes, format=numbers, extend=beyond)
    bar.outline.set_visible(False)
    bar.set_label(unit)
    axes.tick_params(length=0, labelsize=7.5)


def _unit_lines(scores: DataArray, height: float) -> str:
    """Return the unit, broken into lines where it is longer than the colour bar."""
    return canvas.wrapped(scores.attrs.get("unit", ""), canvas.LABEL, height)
