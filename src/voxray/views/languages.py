"""Languages side by side: clips one under the other on one clock, layer profiles, and what forcing a language does.

A language has the same colour in every picture of one study: the order in which the languages come gives it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxray.types import FloatArray, OptionError, frozen
from voxray.views import canvas, marks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float64Array = npt.NDArray[np.float64]

ROW, MIN_ROW = 0.15, 0.105
"""Height of a token's row in inches: as wanted, and the least at which its label can still be read."""
STRIP, TALL = 0.3, 2.6
"""Least and greatest height of a clip's map in inches."""
LINE, GAP = 0.22, 0.15
"""Heights in inches: of a line of a heading, and of the room between two clips or charts."""
HEADING, TOKEN = 9.5, 7.0
"""Sizes of letters in points: of a clip's text, and of its tokens."""
CHART, CELL = 1.35, 0.27
"""Heights in inches: of one chart of profiles, and of a row of a table."""
AXIS = 0.5
"""Height in inches of the numbers and the name of an axis."""
SIGNS = (("o", "●"), ("s", "■"), ("^", "▲"), ("D", "◆"), ("v", "▼"), ("*", "★"), ("p", "⬟"))
"""How each language is marked on its curve, and the letter that looks the same."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipRow:
    """One clip of the page.

    Attributes:
        language: of the clip.
        text: recognised.
        told: what is known of it in a few words, such as "1 of 8 characters wrong"; may be empty.
        weights: (U, T) float32, attention from tokens to moments of sound.
        labels: texts of the U tokens.
        spans: start and end of each token, s.
        times: (T,) float64, centres of the frames, s; at least one.
    """

    language: str
    text: str
    told: str
    weights: FloatArray
    labels: Sequence[str]
    spans: Sequence[tuple[float, float]]
    times: Float64Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", frozen(self.weights, np.float32, "U T", "ClipRow.weights"))
        object.__setattr__(self, "times", frozen(self.times, np.float64, "T", "ClipRow.times"))
        shape = (len(self.labels), len(self.times))
        if self.weights.shape != shape or len(self.spans) != shape[0] or not shape[1]:
            raise ValueError(
                f"ClipRow.weights must be (labels, times) = {shape} with a span for each label and at least one time, "
                f"got {self.weights.shape} with {len(self.spans)} spans"
            )

    @property
    def edges(self) -> Float64Array:
        """Edges of the frames, (T + 1,) float64, s."""
        hop = float(np.diff(self.times).mean()) if len(self.times) > 1 else marks.FRAME
        return np.append(self.times - hop / 2, self.times[-1] + hop / 2)

    @property
    def shares(self) -> FloatArray:
        """The weights as multiples of those of attention spread evenly over the clip, so that long and short clips compare."""
        return np.asarray(self.weights * len(self.times), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """A curve over layers with its interval: (L,) float64 each; NaN where there is no value, or no interval."""

    values: Float64Array
    low: Float64Array
    high: Float64Array

    def __post_init__(self) -> None:
        for name in ("values", "low", "high"):
            object.__setattr__(self, name, frozen(getattr(self, name), np.float64, "L", f"Band.{name}"))
        if not len(self.values) == len(self.low) == len(self.high):
            raise ValueError(f"Band needs as many ends as values, got {len(self.values)}, {len(self.low)}, {len(self.high)}")


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Amounts by language of the clips (down) and forced language (across).

    Attributes:
        title: what is shown.
        unit: of the amounts.
        values: (rows, columns) float64; NaN where there is none.
    """

    title: str
    unit: str
    values: Float64Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", frozen(self.values, np.float64, "rows columns", "Table.values"))


# --- Clips -------------------------------------------------------------------------------------------------------------


def draw_language_clips(rows: Sequence[ClipRow], style: canvas.Style, *, title: str = "", provenance: str = "") -> Figure:
    """Draw clips one under the other: token by token where each looks, on one time scale and one colour scale.

    Args:
        rows: the clips, first on top.
        style: the look.
        title: what is shown.
        provenance: how it came about.

    Returns:
        The figure; the time in which a token was emitted is boxed, the stretch of the clip has a frame. Colours tell multiples of
        what attention spread evenly over the clip would give: a weight itself is the smaller the longer the clip.

    Raises:
        OptionError: when there is no clip.
    """
    if not rows:
        raise OptionError("There is nothing to draw: no clip was kept for a picture; keep the map of at least one.")
    span = (0.0, max(float(row.edges[-1]) for row in rows))
    scale = marks.scale_of(np.concatenate([row.shares.ravel() for row in rows]), "times even attention")
    width = style.width or float(np.clip(span[1] * 1.6, 7.0, 14.0))
    plans = [_ClipPlan.of(row, width) for row in rows]
    left = canvas.EDGE + 0.1 + max(plan.label for plan in plans)
    room = width - left - canvas.EDGE
    with canvas.drawing(style) as colours:
        tints = _tints([row.language for row in rows], colours)
        key = (canvas.EDGE, 0.06, width - 2 * canvas.EDGE)
        top = key[1] + marks.key_height(scale, key[2]) + 0.04
        tall = sum(plan.heading + plan.height + GAP for plan in plans) - GAP
        sheet = canvas.sheet((width, top + tall + AXIS), title, provenance, colours)
        marks.draw_key(sheet, key, scale, colours)
        for row, plan in zip(rows, plans, strict=True):
            _write_heading(sheet, row, plan, top, tints[row.language], colours)
            axes = sheet.axes((left, top + plan.heading, room, plan.height))
            _draw_clip(axes, row, plan, scale, colours)
            canvas.time_axis(axes, span)
            if row is not rows[-1]:
                axes.set_xlabel("")
                axes.tick_params(axis="x", labelbottom=False, length=0)
            top += plan.heading + plan.height + GAP
    return sheet.figure


@dataclass(frozen=True, slots=True)
class _ClipPlan:
    """Lengths in inches of a clip's row, the texts that fit into it, and every how many tokens are named."""

    heading: float
    height: float
    label: float
    text: str
    told: str
    labels: list[str]
    step: int

    @classmethod
    def of(cls, row: ClipRow, width: float) -> _ClipPlan:
        """Choose the lengths so that every text fits."""
        count = len(row.labels)
        height = float(np.clip(count * ROW, STRIP, TALL))
        labels = [canvas.shortened(canvas.token_label(label), TOKEN, 0.2 * width) for label in row.labels]
        widest = max((canvas.text_width(label, TOKEN) for label in labels), default=0.0)
        room = width - 2 * canvas.EDGE
        name = canvas.text_width(canvas.drawable(row.language), HEADING) + 0.12
        told = canvas.shortened(canvas.drawable(row.told), canvas.SMALL, room)
        beside = canvas.text_width(told, canvas.SMALL) + 0.2 if told else 0.0
        text = canvas.drawable(row.text).strip() or "(no words)"
        one_line = name + canvas.text_width(text, HEADING) + beside <= room or not told
        shown = canvas.shortened(text, HEADING, room - name)
        return cls(LINE + (0.0 if one_line else 0.75 * LINE), height, widest, shown, told, labels, _step(count, height))


def _step(count: int, height: float) -> int:
    """Return every how many rows a label has room."""
    return max(1, int(np.ceil(MIN_ROW * count / height - 1e-9)))


def _write_heading(sheet: canvas.Sheet, row: ClipRow, plan: _ClipPlan, top: float, tint: str, colours: canvas.Palette) -> None:
    """Write language and text over a clip, and what is known of it at the right or below."""
    language = canvas.drawable(row.language)
    base = 1 - (sheet.top + top + 0.64 * LINE) / sheet.height
    left = canvas.EDGE + canvas.text_width(language, HEADING) + 0.12
    sheet.figure.text(canvas.EDGE / sheet.width, base, language, size=HEADING, color=tint)
    sheet.figure.text(left / sheet.width, base, plan.text, size=HEADING)
    look: dict[str, Any] = {"size": canvas.SMALL, "color": colours.muted}
    if plan.heading > LINE:
        sheet.figure.text(canvas.EDGE / sheet.width, base - 0.7 * LINE / sheet.height, plan.told, **look)
    elif plan.told:
        sheet.figure.text(1 - canvas.EDGE / sheet.width, base, plan.told, ha="right", **look)


def _draw_clip(axes: Axes, row: ClipRow, plan: _ClipPlan, scale: marks.Scale, colours: canvas.Palette) -> None:
    """Draw the map of one clip within a frame that is as long as it."""
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import Rectangle

    count, edges = max(len(row.labels), 1), row.edges
    if len(row.labels):
        marks.draw_cells(axes, (edges, np.arange(count + 1) - 0.5), row.shares, scale, scale.colour_map(colours))
    boxes = [[(a, n - 0.5), (b, n - 0.5), (b, n + 0.5), (a, n + 0.5)] for n, (a, b) in enumerate(row.spans)]
    for colour, line in ((colours.background, 1.6), (colours.ink, 0.6)):  # a map holds light and dark cells
        axes.add_collection(PolyCollection(boxes, facecolors="none", edgecolors=colour, linewidths=line), autolim=False)
    start = max(float(edges[0]), 0.0)
    corner, size = (start, -0.5), (float(edges[-1]) - start, count)
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colours.muted, linewidth=0.6, clip_on=False))
    axes.set_ylim(count - 0.5, -0.5)
    canvas.bare(axes)
    axes.set_yticks(range(0, len(plan.labels), plan.step), plan.labels[:: plan.step], size=TOKEN, color=colours.ink)


# --- Layers ------------------------------------------------------------------------------------------------------------


def draw_language_profiles(
    profiles: Mapping[str, Mapping[str, Band]], style: canvas.Style, *, title: str = "", provenance: str = ""
) -> Figure:
    """Draw measures layer by layer, one chart a measure and one curve a language, with bands for their intervals.

    Args:
        profiles: by the measure's name with its unit, then by language; all languages in the same order.
        style: the look.
        title: what is shown.
        provenance: how it came about.

    Returns:
        The figure; a language without intervals (a single clip) has a curve and no band.

    Raises:
        OptionError: when there is no measure or no language.
        ValueError: when the curves have different numbers of layers.
    """
    languages = list(dict.fromkeys(name for bands in profiles.values() for name in bands))
    lengths = {len(band.values) for bands in profiles.values() for band in bands.values()}
    if not languages or lengths == {0}:
        raise OptionError("There is nothing to draw: no language was measured; give at least one clip.")
    if len(lengths) > 1:
        raise ValueError(f"every curve needs one value a layer, got curves of {', '.join(map(str, sorted(lengths)))} layers")
    (layers,) = lengths
    width = style.width or float(np.clip(0.3 * layers, 6.5, 11.0))
    wide = width - 2 * canvas.EDGE
    names = [canvas.wrapped(name, canvas.LABEL, wide) for name in profiles]
    heads = [0.06 + LINE * (1 + name.count("\n")) for name in names]
    lines = _legend(languages, wide)
    with canvas.drawing(style) as colours:
        tints = _tints(languages, colours)
        top = 0.06 + LINE * len(lines)
        sheet = canvas.sheet((width, top + sum(heads) + len(names) * (CHART + GAP) - GAP + AXIS), title, provenance, colours)
        _write_legend(sheet, lines, tints)
        for place, (name, head, bands) in enumerate(zip(names, heads, profiles.values(), strict=True)):
            base = 1 - (sheet.top + top + head - 0.07) / sheet.height
            sheet.figure.text(canvas.EDGE / sheet.width, base, name, size=canvas.LABEL, linespacing=1.25)
            axes = sheet.axes((0.62, top + head, width - 0.62 - canvas.EDGE, CHART))
            _draw_bands(axes, bands, tints, colours)
            _number_layers(axes, layers, named=place == len(names) - 1)
            top += head + CHART + GAP
    return sheet.figure


def _draw_bands(axes: Axes, bands: Mapping[str, Band], tints: Mapping[str, str], colours: canvas.Palette) -> None:
    """Draw a curve with its band for each language, and with a sign a layer so that no colour is needed to tell them apart."""
    inches = axes.bbox.width / axes.figure.dpi
    for place, language in enumerate(tints):
        if language not in bands:
            continue
        band, (sign, _) = bands[language], SIGNS[place % len(SIGNS)]
        numbers = np.arange(len(band.values))
        dot = 3.2 if inches / len(numbers) > 0.1 else 0.0
        axes.plot(numbers, band.values, color=tints[language], linewidth=1.1, marker=sign, markersize=dot, markeredgewidth=0)
        there = ~np.isnan(band.low) & ~np.isnan(band.high)
        axes.fill_between(numbers, band.low, band.high, where=there.tolist(), color=tints[language], alpha=0.16, linewidth=0)
    _, high = axes.get_ylim()
    every = np.concatenate([np.append(band.values, band.low) for band in bands.values()])
    if (every[~np.isnan(every)] >= 0).all():  # amounts are drawn from zero, with room for a curve that lies on it
        axes.set_ylim(-0.04 * high, high)
    axes.grid(axis="y", color=colours.faint, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.locator_params(axis="y", nbins=4)


def _number_layers(axes: Axes, layers: int, *, named: bool) -> None:
    """Number the layers where these have room, the last chart alone."""
    from matplotlib.ticker import MaxNLocator

    inches = axes.bbox.width / axes.figure.dpi
    axes.set_xlim(-0.5, layers - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=int(np.clip(inches / 0.35, 2, 24)), integer=True, steps=[1, 2, 5, 10]))
    axes.tick_params(axis="x", labelbottom=named)
    axes.set_xlabel("layer" if named else "")


# --- Forced languages --------------------------------------------------------------------------------------------------


def draw_forced_languages(
    tables: Sequence[Table],
    rows: Sequence[str],
    columns: Sequence[str],
    style: canvas.Style,
    *,
    title: str = "",
    provenance: str = "",
) -> Figure:
    """Draw what forcing each language did to clips of each language, one table under the other.

    Args:
        tables: amounts, languages of the clips down and forced languages across.
        rows: names of the languages of the clips.
        columns: names of the forced languages.
        style: the look.
        title: what is shown.
        provenance: how it came about.

    Returns:
        The figure; where the right language was forced the cell is boxed.

    Raises:
        OptionError: when there is nothing to draw.
        ValueError: when a table does not fit the names.
    """
    if not tables or not rows or not columns:
        raise OptionError("There is nothing to draw: no language was forced; force at least one.")
    for table in tables:
        if table.values.shape != (len(rows), len(columns)):
            raise ValueError(f"a table must be ({len(rows)}, {len(columns)}) as its names are, got {table.values.shape}")
    width = style.width or 1.4 + float(np.clip(0.72 * len(columns), 4.6, 12.0))
    most = 0.25 * width
    names = [canvas.shortened(canvas.drawable(name), canvas.LABEL, most) for name in rows]
    left = canvas.EDGE + 0.1 + max(canvas.text_width(name, canvas.LABEL) for name in names)
    room, wide, tall = width - left - canvas.EDGE, width - 2 * canvas.EDGE, CELL * len(rows)
    column = room / len(columns)
    heads = [canvas.shortened(canvas.drawable(name), 8.0, column - 0.05) for name in columns]
    scales = [marks.scale_of(table.values, table.unit) for table in tables]
    titles = [canvas.wrapped(table.title, canvas.LABEL, wide) for table in tables]
    above = [LINE * (1 + t.count("\n")) + marks.key_height(scale, wide) + 0.24 for t, scale in zip(titles, scales, strict=True)]
    boxes = [(m - 0.5, m + 0.5, n - 0.5, n + 0.5) for n, one in enumerate(rows) for m, two in enumerate(columns) if one == two]
    with canvas.drawing(style) as colours:
        total = sum(above) + len(tables) * (tall + GAP) + 0.02
        sheet, top = canvas.sheet((width, total), title, provenance, colours), 0.04
        for table, scale, name, head in zip(tables, scales, titles, above, strict=True):
            lines = LINE * (1 + name.count("\n"))
            base = 1 - (sheet.top + top + lines - 0.07) / sheet.height
            sheet.figure.text(canvas.EDGE / sheet.width, base, name, size=canvas.LABEL, linespacing=1.25)
            marks.draw_key(sheet, (canvas.EDGE, top + lines, wide), scale, colours)
            axes = sheet.axes((left, top + head, room, tall))
            _draw_table(axes, table, scale, (column, CELL), colours)
            axes.set_xticks(range(len(columns)), heads, size=8.0)
            axes.set_yticks(range(len(rows)), names, size=canvas.LABEL, color=colours.ink)
            marks.outline(axes, boxes, colours)
            for lines_of_boxes in axes.collections:
                lines_of_boxes.set_clip_on(False)  # at the edge of the table too the whole line is seen
            top += head + tall + GAP
    return sheet.figure


def _draw_table(axes: Axes, table: Table, scale: marks.Scale, cell: tuple[float, float], colours: canvas.Palette) -> None:
    """Draw the cells of a table with their amounts."""
    edges = np.arange(table.values.shape[1] + 1) - 0.5, np.arange(len(table.values) + 1) - 0.5
    marks.draw_cells(axes, edges, table.values, scale, scale.colour_map(colours))
    marks.write_amounts(axes, np.round(table.values, 3) + 0.0, scale, cell, colours)  # no minus zero
    axes.set_ylim(len(table.values) - 0.5, -0.5)
    axes.xaxis.tick_top()
    canvas.bare(axes)
    axes.spines[:].set_visible(True)  # cells of zero look like the page
    axes.spines[:].set_color(colours.faint)


# --- Colours and legend ------------------------------------------------------------------------------------------------


def _tints(languages: Sequence[str], colours: canvas.Palette) -> dict[str, str]:
    """Return the colour of each language; beyond six they come again, with other signs."""
    return {name: colours.series[place % len(colours.series)] for place, name in enumerate(dict.fromkeys(languages))}


def _legend(names: Sequence[str], room: float) -> list[list[tuple[str, str, float]]]:
    """Break the names of languages into lines of a width in inches: each name, what is written, and its left edge."""
    lines: list[list[tuple[str, str, float]]] = [[]]
    used = 0.0
    for place, name in enumerate(names):
        text = f"{SIGNS[place % len(SIGNS)][1]} {canvas.shortened(canvas.drawable(name), canvas.LABEL, room - 0.3)}"
        wide = canvas.text_width(text, canvas.LABEL)
        if lines[-1] and used + wide > room:
            lines.append([])
            used = 0.0
        lines[-1].append((name, text, used))
        used += wide + 0.22
    return lines


def _write_legend(sheet: canvas.Sheet, lines: Sequence[Sequence[tuple[str, str, float]]], tints: Mapping[str, str]) -> None:
    """Write the names of the languages in their colours below the title."""
    for row, line in enumerate(lines):
        base = 1 - (sheet.top + 0.02 + LINE * (row + 0.7)) / sheet.height
        for name, text, left in line:
            sheet.figure.text((canvas.EDGE + left) / sheet.width, base, text, size=canvas.LABEL, color=tints[name])
