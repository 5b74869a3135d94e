"""Relevance over the sound: where in time and pitch something spoke for or against a decision.

The spectrogram is grey; relevance tints it, warm where it speaks for the target and cold where it speaks against. Its sum over
mel runs below on the same clock. What comes from no cell (prompts, position, biases) is listed with the sound's own sum, so
that the reader sees how much of the score the picture explains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from voxray.types import Features, Relevance, Word
from voxray.views import canvas, marks
from voxray.views.overlay import TICKS, mel_bin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPECTRUM, STRIP, CURVE, GAP, CLOCK = 2.0, 0.5, 0.85, 0.14, 0.5
"""Heights in inches: the map over a spectrogram, a map over time alone, the curve, the room between, the clock."""
MELS = 80.0
"""Mel filters of the grids. **Source:** ``n_mels: 80`` in SenseVoice's and Paraformer's ``config.yaml``."""


def draw_relevance(
    relevance: Relevance,
    style: canvas.Style,
    *,
    log_mel: Features | None = None,
    words: Sequence[Word] = (),
    title: str = "",
    provenance: str = "",
) -> Figure:
    """Draw relevance over time and mel.

    Args:
        relevance: the map; cells of any size, also over time alone.
        style: the look.
        log_mel: (T, 80) log mel energies of the same stretch, nats, on the same clock; None leaves the background empty.
        words: with their times; those outside the stretch are left out.
        title: what is shown.
        provenance: how it came about.

    Returns:
        The figure: the map, the sum over mel below it, and the list of parts where there are any.
    """
    bars, span = parts(relevance), _span(relevance, log_mel)
    width = float(np.clip((span[1] - span[0]) * 1.5, 8.0, 16.0)) if style.width is None else style.width
    left = max(0.72, marks.names_width(bars) + canvas.EDGE if bars else 0.0)
    room = width - left - 2 * canvas.EDGE
    words = marks.words_within(words, span)
    scale = marks.scale_of(relevance.scores, _cell_unit(relevance))
    target = _target_span(relevance, span)
    map_height = STRIP if log_mel is None and relevance.grid.shape[0] == 1 else SPECTRUM
    with canvas.drawing(style) as colours:
        places = marks.place_words(words, span, room)
        key = (canvas.EDGE, 0.06, width - 2 * canvas.EDGE)
        top = key[1] + marks.key_height(scale, key[2]) + marks.lines_of(places) + 0.06
        below = top + map_height + GAP + CURVE + CLOCK
        tail = len(bars) * marks.BAR + 0.3 if bars else 0.0
        sheet = canvas.sheet((width, below + tail), title, provenance, colours)
        tint = marks.tint(scale.colour_map(colours), signed=scale.signed)
        marks.draw_key(sheet, key, scale, colours, tint)
        spectrum = sheet.axes((left, top, room, map_height))
        curve = sheet.axes((left, top + map_height + GAP, room, CURVE), sharex=spectrum)
        if log_mel is not None:
            _draw_speech(spectrum, log_mel, colours)
        marks.draw_cells(spectrum, (relevance.grid.times, relevance.grid.mels), relevance.scores, scale, tint)
        _dress(spectrum, empty=log_mel is None, strip=map_height == STRIP)
        _draw_curve(curve, relevance, colours)
        canvas.time_axis(curve, span)
        marks.draw_words((spectrum, curve), words, places, colours, target)
        if target is not None:
            marks.outline(spectrum, [(*target, MELS, 0.0)], colours)
        if bars:
            marks.draw_bars(sheet.axes((left, below + 0.12, room - marks.NUMBER, tail - 0.3)), bars, colours)
    return sheet.figure


def parts(relevance: Relevance) -> list[marks.Bar]:
    """Return what the score is made of: the sound's share, the other parts by size, the residual, and the score itself.

    Nothing is listed of a map that knows no parts and does not claim to add up.
    """
    if not relevance.parts and not relevance.adds_up:
        return []
    others = sorted(relevance.parts.items(), key=lambda part: -abs(part[1]))
    listed = [marks.Bar("sound", float(relevance.scores.sum(dtype=np.float64)), "strong")]
    listed += [marks.Bar(canvas.drawable(name), value) for name, value in others]
    if relevance.adds_up:
        listed.append(marks.Bar("residual", relevance.residual, "weak"))
    return [*listed, marks.Bar("score", relevance.score, "strong")]


def _span(relevance: Relevance, log_mel: Features | None) -> tuple[float, float]:
    """Return the seconds that the picture covers: all cells and all of the spectrogram."""
    first, last = marks.clock_span(relevance.grid.times)
    if log_mel is not None and len(log_mel.values):
        edges = log_mel.start + log_mel.hop * (np.array([0.0, len(log_mel.values)]) - 0.5)
        start, stop = marks.clock_span(edges)
        first, last = min(first, start), max(last, stop)
    return first, last


def _cell_unit(relevance: Relevance) -> str:
    cells = marks.per_cell(relevance.grid.times, relevance.unit)
    bands = relevance.grid.shape[0]
    return cells if bands == 1 else f"{cells} and " + ("mel filter" if bands == MELS else "band")


def _target_span(relevance: Relevance, span: tuple[float, float]) -> tuple[float, float] | None:
    """Return where the target lies; None for one that has no stretch of its own, such as a tag or the whole text."""
    target = relevance.target
    inside = max(target.start, span[0]), min(target.end, span[1])
    return inside if target.kind in {"token", "word"} and inside[0] < inside[1] else None


def _draw_speech(axes: Axes, log_mel: Features, colours: canvas.Palette) -> None:
    """Draw the spectrogram in light greys, so that tints can be told apart on it."""
    low, high = np.percentile(log_mel.values, (4, 99.7)) if log_mel.values.size else (0.0, 1.0)
    energy = np.clip((log_mel.values.T - low) / (high - low if high > low else 1.0), 0, 1)
    start = log_mel.start - log_mel.hop / 2
    extent = (start, start + log_mel.hop * len(log_mel.values), 0.0, float(energy.shape[0]))
    axes.imshow(colours.speech(0.75 * energy), extent=extent, aspect="auto", origin="lower", interpolation="nearest")


def _dress(axes: Axes, *, empty: bool, strip: bool) -> None:
    """Give the map its frequencies; a strip over time alone has none."""
    canvas.bare(axes)
    axes.tick_params(axis="x", length=0, labelbottom=False)
    axes.set_ylim(0.0, MELS)
    axes.spines[:].set_visible(empty)
    if strip:
        axes.set_yticks([])
        return
    axes.set_yticks(mel_bin(np.array(TICKS), int(MELS)) + 0.5, [f"{hertz / 1000:g}" for hertz in TICKS])
    axes.tick_params(axis="y", length=2.0)
    axes.set_ylabel("kHz (mel)")


def _draw_curve(axes: Axes, relevance: Relevance, colours: canvas.Palette) -> None:
    """Draw the sum over mel as steps, one a cell."""
    edges: npt.NDArray[np.float64] = relevance.grid.times
    values = np.nan_to_num(relevance.over_time.astype(np.float64))
    axes.axhline(0, color=colours.muted, linewidth=0.6)
    for part, colour in ((np.maximum(values, 0), colours.accent), (np.minimum(values, 0), colours.contrast)):
        if part.any():
            axes.stairs(part, edges, fill=True, color=colour, alpha=0.35, linewidth=0)
            axes.stairs(np.where(part == 0, np.nan, part), edges, color=colour, linewidth=0.9, baseline=0)
    reach = float(np.abs(values).max(initial=0.0)) or 1.0
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    axes.set_ylim(1.15 * low, 1.15 * high if high > low else reach)
    axes.locator_params(axis="y", nbins=3)
    axes.set_ylabel(marks.per_cell(edges, relevance.unit).replace(" per ", "\nper "))
