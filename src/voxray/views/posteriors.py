"""The posteriors: how likely each emitted token, and the blank, was at every frame.

A CTC model mostly says blank and speaks in short peaks; this picture shows the peaks, how clear they are, and what was
emitted at each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxray.types import Token
from voxray.views import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from xarray import DataArray

PLOT, LINE = 2.0, 0.17
"""Heights in inches: of the curves, of a line of labels above them."""
POINTS = 9.0
"""Size of the labels in points."""
LEVELS = 4
"""How many lines the labels may take."""
GROUND = 0.01
"""Posteriors below this are not drawn: hundreds of curves would lie on each other there."""


def draw_posteriors(probabilities: DataArray, emissions: Sequence[Token], style: canvas.Style) -> Figure:
    """Draw posteriors over time with the emitted tokens above their peaks.

    Args:
        probabilities: (frame, token) float, 0 to 1, with ``time`` (seconds, centre of each frame) along ``frame``, ``id``
            (vocabulary id) and ``label`` (text) along ``token``: one column for each emitted id, and one for the blank. Its
            ``attrs`` say ``title``, ``provenance`` and ``blank``, the id of the blank (0 where it is not given).
        emissions: the emitted tokens in order of time; each stands where its column is highest within its span.
        style: the look.

    Returns:
        The figure. A label that has no room on any of four lines is left out; its curve is not.

    Raises:
        OptionError: when there is no frame or no column.
        ValueError: when a token was emitted that has no column.
    """
    values = np.nan_to_num(canvas.arranged(probabilities, "frame", "token"))
    times, _ = canvas.frame_clock(probabilities)
    first, last = canvas.time_range(probabilities)
    columns = {int(number): column for column, number in enumerate(probabilities["id"].values)}
    absent = sorted({token.id for token in emissions} - set(columns))
    if absent:
        raise ValueError(f"every emitted token needs a column of its posterior, missing are the ids {absent}")
    width = float(np.clip((last - first) * 1.5, 8.0, 16.0)) if style.width is None else style.width
    left, room = 0.62, width - 0.62 - 0.45
    scale = (last - first) / room
    peaks = [_peak(token, times, values[:, columns[token.id]]) for token in emissions]
    labels = _place_labels(emissions, [time for time, _ in peaks], (first, last), scale)
    lines = 1 + max((line for _, _, line in labels), default=0)
    with canvas.drawing(style) as colours:
        band = LINE * lines + 0.12
        title, provenance = probabilities.attrs.get("title", ""), probabilities.attrs.get("provenance", "")
        sheet = canvas.sheet((width, band + PLOT + 0.6), title, provenance, colours)
        axes = sheet.axes((left, band, room, PLOT))
        blank = columns.get(int(probabilities.attrs.get("blank", 0)))
        tints = _tints(emissions, colours)
        if blank is not None:
            axes.plot(times, values[:, blank], color=colours.muted, linewidth=0.7, zorder=1)
            last_height = float(np.clip(values[-1, blank], 0.04, 0.96))
            axes.text(last, last_height, " blank", size=canvas.SMALL, color=colours.muted, va="center")
        thick = float(np.clip(6 * room / max(len(emissions), 1), 0.5, 1.2))
        for number, tint in tints.items():
            _draw_curve(axes, times, values[:, columns[number]], tint, thick)
        for (time, height), label, token in zip(peaks, labels, emissions, strict=True):
            _draw_label(axes, (time, height), label, tints[token.id], colours.background)
        _dress(axes, colours)
        canvas.time_axis(axes, (first, last))
    return sheet.figure


def _dress(axes: Axes, colours: canvas.Palette) -> None:
    """Let the y axis run from 0 to 1 over faint rules."""
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_ylabel("probability")
    axes.grid(axis="y", color=colours.faint, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _peak(token: Token, times: npt.NDArray[np.float64], curve: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the second and the height of a token's curve where it is highest within the token's span."""
    inside = np.flatnonzero((times >= token.start - 1e-6) & (times <= token.end + 1e-6))
    if len(inside) == 0:
        inside = np.array([np.abs(times - (token.start + token.end) / 2).argmin()])
    best = inside[curve[inside].argmax()]
    return float(times[best]), float(curve[best])


def _place_labels(
    emissions: Sequence[Token], times: Sequence[float], span: tuple[float, float], scale: float
) -> list[tuple[str, float, int]]:
    """Return the text of each label, the second it is centred on and its line; -1 for a label without room."""
    texts = [canvas.token_label(token.text) for token in emissions]
    widths = [canvas.text_width(text, POINTS) * scale for text in texts]
    centres = [max(min(time, span[1] - w / 2), span[0] + w / 2) for time, w in zip(times, widths, strict=True)]
    spaced = [width + 0.05 * scale for width in widths]
    for levels in range(1, LEVELS + 1):
        lines = canvas.staggered(centres, spaced, levels)
        if -1 not in lines:
            break
    return list(zip(texts, centres, lines, strict=True))


def _tints(emissions: Sequence[Token], colours: canvas.Palette) -> dict[int, str]:
    """Return a colour for every emitted id; ids that follow each other differ."""
    order = dict.fromkeys(token.id for token in emissions)
    return {number: colours.series[place % len(colours.series)] for place, number in enumerate(order)}


def _draw_curve(axes: Axes, times: npt.NDArray[np.float64], curve: npt.NDArray[np.float64], tint: str, thick: float) -> None:
    """Draw the posterior of one id where it rises above the ground, with the frames beside, so that peaks keep their feet."""
    high = np.pad(curve >= GROUND, 1)
    risen = high[:-2] | high[1:-1] | high[2:]
    axes.fill_between(times, curve, where=risen.tolist(), color=tint, alpha=0.22, linewidth=0, zorder=2)
    axes.plot(times, np.where(risen, curve, np.nan), color=tint, linewidth=thick, zorder=3)


def _draw_label(axes: Axes, peak: tuple[float, float], label: tuple[str, float, int], tint: str, paper: str) -> None:
    """Mark a peak, write its token above the plot and join the two by a thin line that passes behind other labels."""
    text, centre, line = label
    axes.plot(*peak, marker="o", markersize=3.2, color=tint, zorder=4, clip_on=False)
    if line < 0:
        return
    foot = 1 + (0.08 + LINE * line) / PLOT
    look: dict[str, Any] = {"color": tint, "linewidth": 0.5, "alpha": 0.6, "clip_on": False, "zorder": 1.5}
    axes.plot([peak[0], peak[0]], [peak[1], foot - 0.02], **look)
    clear = {"facecolor": paper, "edgecolor": "none", "pad": 0.6}
    axes.text(centre, foot, text, size=POINTS, color=tint, ha="center", va="baseline", bbox=clear)
