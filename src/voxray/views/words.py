"""Which words a decision rests on: bars for one target, and maps for all of them, over time and word by word.

CTC models emit a token within one or two frames, so the words of a trace are shorter than they sound; see
``voxray.alignment.stretches`` for how far they are taken to reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxray.alignment import Stretch, stretches
from voxray.types import OptionError, Relevance, Word
from voxray.views import canvas, marks
from voxray.views.relevance import parts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW, MIN_ROW, TALL = 0.24, 0.13, 9.0
"""Heights in inches: of a row as wanted, at the least, and of the map from which rows begin to shrink."""
POINTS = 8.5
"""Size of the words in points."""


def named(part: Stretch) -> str:
    """Return how a word or pause is called in a picture."""
    return canvas.drawable(part.text) or f"pause {part.end - part.start:.2f} s"


def amounts(relevances: Sequence[Relevance], cut: Sequence[Stretch]) -> npt.NDArray[np.float64]:
    """Return the relevance of every stretch for every target, (targets, stretches)."""
    return np.array([[one.between(part.start, part.end) for part in cut] for one in relevances])


# --- One target: bars --------------------------------------------------------------------------------------------------


def draw_word_bars(
    relevance: Relevance, words: Sequence[Word], style: canvas.Style, *, title: str = "", provenance: str = ""
) -> Figure:
    """Draw what every word and pause adds to one decision, and what comes from no sound.

    Args:
        relevance: the map; its cells are summed over each word's time.
        words: of the sound.
        style: the look.
        title: what is shown.
        provenance: how it came about.

    Returns:
        The figure: one bar a word or pause in order of time, then the parts. With the residual the bars sum to the score.
    """
    cut = stretches(words, *_span([relevance]))
    (values,) = amounts([relevance], cut)
    target = relevance.target
    bars = [
        marks.Bar(("▸ " if _meant(part, relevance) else "") + named(part), value, "plain" if part.text else "weak")
        for part, value in zip(cut, values.tolist(), strict=True)
    ]
    rest = parts(relevance)[1:]
    width = style.width or 7.0
    most = 0.4 * width
    bars, rest = ([marks.Bar(canvas.shortened(b.name, POINTS, most), b.value, b.weight) for b in some] for some in (bars, rest))
    left = canvas.EDGE + marks.names_width([*bars, *rest])
    room = width - left - canvas.EDGE - marks.NUMBER
    reach = (min(0.0, *(b.value for b in [*bars, *rest])), max(0.0, *(b.value for b in [*bars, *rest])))
    heights = [marks.BAR * len(bars), marks.BAR * len(rest)]
    note = f"in {relevance.unit}; ▸ the target's own time" if target.kind in {"token", "word"} else f"in {relevance.unit}"
    with canvas.drawing(style) as colours:
        sheet = canvas.sheet((width, 0.3 + sum(heights) + (0.22 if rest else 0.06)), title, provenance, colours)
        axes = sheet.axes((left, 0.24, room, heights[0]))
        marks.draw_bars(axes, bars, colours, reach)
        lead = (canvas.EDGE - left) / room
        axes.text(lead, 1 + 0.06 / heights[0], note, size=canvas.SMALL, color=colours.muted, transform=axes.transAxes)
        if rest:
            marks.draw_bars(sheet.axes((left, 0.4 + heights[0], room, heights[1])), rest, colours, reach)
    return sheet.figure


def _meant(part: Stretch, relevance: Relevance) -> bool:
    """Tell whether a stretch holds the middle of the target's own time."""
    target = relevance.target
    middle = (target.start + target.end) / 2
    return target.kind in {"token", "word"} and bool(part.text) and part.start <= middle < part.end


# --- Many targets: maps ------------------------------------------------------------------------------------------------


def draw_word_times(
    relevances: Sequence[Relevance], words: Sequence[Word], style: canvas.Style, *, title: str = "", provenance: str = ""
) -> Figure:
    """Draw a page of all targets over time, one row each, with one colour scale.

    Args:
        relevances: one a target, from one method with the same cells.
        words: of the sound, written above the map; may be empty.
        style: the look.
        title: what is shown.
        provenance: how the maps came about.

    Returns:
        The figure; the target's own time is boxed in its row. Cells finer than a frame of 60 ms are summed into frames.

    Raises:
        OptionError: when there is no map, or the maps do not belong together.
    """
    times = marks.one_clock([one.grid.times for one in relevances])
    times, values = marks.pooled(times, np.array([one.over_time for one in relevances], np.float64))
    scale = marks.scale_of(values, marks.per_cell(times, _unit(relevances)))
    span = marks.clock_span(times)
    words = marks.words_within(words, span)
    width = float(np.clip((span[1] - span[0]) * 1.5, 7.0, 16.0)) if style.width is None else style.width
    rows = _Rows.of(relevances, width)
    room = width - rows.left - 2 * canvas.EDGE
    with canvas.drawing(style) as colours:
        places = marks.place_words(words, span, room)
        key = (canvas.EDGE, 0.06, width - 2 * canvas.EDGE)
        top = key[1] + marks.key_height(scale, key[2]) + marks.lines_of(places) + 0.06
        sheet = canvas.sheet((width, top + rows.height + 0.5), title, provenance, colours)
        marks.draw_key(sheet, key, scale, colours)
        axes = sheet.axes((rows.left, top, room, rows.height))
        marks.draw_cells(axes, (times, np.arange(len(values) + 1) - 0.5), values, scale, scale.colour_map(colours))
        rows.write(axes, colours)
        canvas.time_axis(axes, span)
        marks.draw_words([axes], words, places, colours)
        own = [(n, one.target) for n, one in enumerate(relevances) if one.target.kind in {"token", "word"}]
        marks.outline(axes, [(target.start, target.end, n - 0.5, n + 0.5) for n, target in own], colours)
    return sheet.figure


def draw_word_words(
    relevances: Sequence[Relevance], words: Sequence[Word], style: canvas.Style, *, title: str = "", provenance: str = ""
) -> Figure:
    """Draw how much every word of the sound adds to every target: targets down, words and pauses across.

    Args:
        relevances: one a target, from one method with the same cells.
        words: of the sound.
        style: the look.
        title: what is shown.
        provenance: how the maps came about.

    Returns:
        The figure; the amounts are written into the cells where they have room, and each target's own word is boxed.

    Raises:
        OptionError: when there is no map, or the maps do not belong together.
    """
    marks.one_clock([one.grid.times for one in relevances])
    cut = stretches(words, *_span(relevances))
    values = amounts(relevances, cut)
    scale = marks.scale_of(values, f"{_unit(relevances)} per word or pause")
    names = [named(part) if part.text else f"({part.end - part.start:.1f} s)" for part in cut]
    width = style.width or 1.6 + float(np.clip(0.5 * len(cut), 3.4, 14.0))
    rows = _Rows.of(relevances, width)
    room = width - rows.left - canvas.EDGE
    column = room / len(cut)
    upright = max(canvas.text_width(name, POINTS) for name in names) + 0.05 > column
    tall = min(1.2, max(canvas.text_width(name, POINTS) for name in names)) + 0.08 if upright else marks.LINE
    with canvas.drawing(style) as colours:
        key = (canvas.EDGE, 0.06, width - 2 * canvas.EDGE)
        top = key[1] + marks.key_height(scale, key[2]) + tall + 0.06
        sheet = canvas.sheet((width, top + rows.height + 0.12), title, provenance, colours)
        marks.draw_key(sheet, key, scale, colours)
        axes = sheet.axes((rows.left, top, room, rows.height))
        edges = np.arange(len(cut) + 1) - 0.5, np.arange(len(values) + 1) - 0.5
        marks.draw_cells(axes, edges, values, scale, scale.colour_map(colours))
        rows.write(axes, colours)
        step = int(np.ceil(POINTS * 1.25 / 72 / column)) if upright else 1
        shown = [canvas.shortened(name, POINTS, 1.2) if upright else name for name in names]
        axes.xaxis.tick_top()
        axes.set_xticks(range(0, len(cut), step), shown[::step], size=POINTS, rotation=90 if upright else 0)
        for part, text in zip(cut[::step], axes.get_xticklabels(), strict=True):
            text.set_color(colours.ink if part.text else colours.muted)
        own = [(n, m) for n, one in enumerate(relevances) for m, part in enumerate(cut) if _meant(part, one)]
        marks.outline(axes, [(m - 0.5, m + 0.5, n - 0.5, n + 0.5) for n, m in own], colours)
        marks.write_amounts(axes, values, scale, (column, rows.height / len(values)), colours)
    return sheet.figure


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a map: their labels, and the inches that these take across and all rows together take down."""

    labels: list[str]
    left: float
    height: float

    @classmethod
    def of(cls, relevances: Sequence[Relevance], width: float) -> _Rows:
        """Choose the lengths so that every label can be read."""
        count = len(relevances)
        row = min(ROW, max(MIN_ROW, TALL / count))
        labels = [canvas.shortened(_label(one), POINTS, 0.3 * width) for one in relevances]
        left = canvas.EDGE + 0.1 + max(canvas.text_width(label, POINTS) for label in labels)
        return cls(labels, left, max(row * count, 0.3))

    def write(self, axes: Axes, colours: canvas.Palette) -> None:
        """Write the labels beside their rows, the first on top."""
        axes.set_yticks(range(len(self.labels)), self.labels, size=POINTS, color=colours.ink)
        axes.set_ylim(len(self.labels) - 0.5, -0.5)
        canvas.bare(axes)


def _label(relevance: Relevance) -> str:
    """Return what a row is called: a tag with its kind, anything else by its text."""
    target = relevance.target
    text = f"{target.name.removesuffix(f':{target.label}')} {target.label}" if target.kind == "tag" else target.label
    return canvas.drawable(text) or target.name


def _span(relevances: Sequence[Relevance]) -> tuple[float, float]:
    times: Any = relevances[0].grid.times
    return float(times[0]), float(times[-1])


def _unit(relevances: Sequence[Relevance]) -> str:
    """Return the unit that the maps share.

    Raises:
        OptionError: when they differ in it.
    """
    units = {one.unit for one in relevances}
    if len(units) > 1:
        raise OptionError(f"The maps are in {' and '.join(sorted(units))}; explain all targets with one method.")
    return units.pop()
