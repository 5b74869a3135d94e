"""Pictures of a benchmark's result: figures with their intervals, what a method costs and gives, and who is ahead in what.

Baselines have a colour of their own, and so has the truth itself; each is told by its sign too, for whom colours are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxray.types import OptionError
from voxray.views import canvas, marks
from voxray.views.bench.results import (
    ARROWS,
    Figure,
    Measure,
    Method,
    Place,
    Results,
    Table,
    decimals,
    number,
    provenance,
    unit_shown,
)
from voxray.views.page import Words, texts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

Float64Array = npt.NDArray[np.float64]
Draw = Callable[[canvas.Style], "Drawing"]

WIDTH = 5.2
"""Of a picture in inches: on a small screen too its letters can be read."""
ROW = 0.23
"""Height of a row in inches."""
NAME = 8.5
"""Size of methods' names in points."""
LONGEST = 2.0
"""Inches that a method's name may take."""
CHANCE = {"roc_auc": 0.5, "lift": 1.0}
"""What a map without knowledge reaches by definition; of other measures it is what the random map reached."""
CROWDED = 8.0
"""From this ratio of the largest to the smallest deletion area on their axis is logarithmic."""
FURTHEST = 16
"""Steps that a name may stand away from its point."""
SIGNS = {"method": "o", "baseline": "s", "oracle": "D"}
PICTURED = ("pointing", "deletion")
"""Measures that have a picture of their own."""


def draw_bars(table: Table, name: str, kind: str, measure: str, style: canvas.Style) -> Drawing:
    """Draw one measure: a dot for each method with its interval, the best on top, and a line where chance is.

    Args:
        table: of results.
        name: of the set.
        kind: of decision.
        measure: which.
        style: the look.

    Raises:
        OptionError: when there are no such figures.
    """
    results = Results(table)
    place = (name, kind)
    column = _measure(results, place, measure)
    figures = results.column(place, column)
    rows = sorted(
        (one for one in results.methods if one.name in figures),
        key=lambda one: figures[one.name].mean * (-1 if column.better == "higher" else 1),
    )
    names = _names(rows)
    width = style.width or WIDTH
    left = canvas.EDGE + 0.12 + max(canvas.text_width(one, NAME) for one in names)
    digits = decimals((one.mean for one in figures.values()), column)
    with canvas.drawing(style) as colours:
        sheet = canvas.sheet((width, ROW * len(rows) + 0.42), _title(place, column), _foot(table, figures.values()), colours)
        axes = sheet.axes((left, 0.1, width - left - canvas.EDGE - marks.NUMBER, ROW * len(rows)))
        _draw_dots(axes, rows, figures, column, colours)
        _draw_chance(axes, results, place, column, colours)
        axes.set_yticks(range(len(rows)), names, size=NAME)
        _colour_names(axes, rows, colours)
        right = 1 + marks.NUMBER / (axes.bbox.width / axes.figure.dpi)
        for row, one in enumerate(rows):
            look: dict[str, Any] = {"size": 8, "ha": "right", "va": "center_baseline", "transform": axes.get_yaxis_transform()}
            axes.text(right, row, number(figures[one.name].mean, column, digits), color=_shade(one, colours), **look)
    return sheet.figure


def draw_frontier(table: Table, name: str, style: canvas.Style, *, kind: str | None = None) -> Drawing:
    """Draw what each method costs in seconds against its deletion area: the lower left is best.

    Args:
        table: of results.
        name: of the set.
        style: the look.
        kind: of decision; None for the set's first.

    Raises:
        OptionError: when there are no such figures.
    """
    results = Results(table)
    place = next((one for one in results.places if one[0] == name and kind in (None, one[1])), (name, kind or ""))
    area, cost = (_measure(results, place, one) for one in ("deletion", "seconds"))
    areas, costs = results.column(place, area), results.column(place, cost)
    rows = [one for one in results.methods if one.name in areas and one.name in costs and not one.oracle]
    if not rows:
        raise OptionError(f"There is nothing to draw: no method of set {name} has both a deletion area and a cost.")
    width = style.width or WIDTH
    with canvas.drawing(style) as colours:
        title = f"{_place(place)}: what a map costs, and what it names"
        sheet = canvas.sheet((width, 4.9), title, _foot(table, [areas[one.name] for one in rows]), colours)
        axes = sheet.axes((canvas.EDGE + 0.55, 0.1, width - 2 * canvas.EDGE - 0.65, 4.25))
        points = np.array([[max(costs[one.name].mean, 1e-4), areas[one.name].mean] for one in rows])
        for one, (x, y) in zip(rows, points, strict=True):
            _draw_interval(axes, (x, areas[one.name]), colours.faint)
            axes.scatter(x, y, s=26, color=_shade(one, colours), marker=SIGNS[_role(one)], linewidths=0, zorder=3)
        axes.set_xscale("log")
        if points[:, 1].min() > 0 and points[:, 1].max() > CROWDED * points[:, 1].min():
            axes.set_yscale("log")  # else the good ones lie on top of one another
            axes.yaxis.set_minor_formatter("")
            axes.yaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("seconds for one decision")
        axes.set_ylabel("deletion area, lower is better")
        axes.grid(color=colours.faint, linewidth=0.5)
        axes.set_axisbelow(True)
        low, high = points[:, 0].min(), points[:, 0].max()
        axes.set_xlim(low / 2.2, high * 2.2)
        axes.margins(y=0.1)
        _draw_front(axes, points, colours)
        _write_names(axes, rows, points, colours)
    return sheet.figure


def draw_heat(table: Table, kind: str, style: canvas.Style) -> Drawing:
    """Draw the rank of every method in every measure that has a better and a worse, 1 for the best; ties share their mean rank.

    Args:
        table: of results.
        kind: of decision; of its sets the first.
        style: the look.

    Raises:
        OptionError: when nothing of this kind was measured.
    """
    results = Results(table)
    place = next((one for one in results.places if one[1] == kind), None)
    columns = [] if place is None else _ranked(results, place)
    if place is None or not columns:
        raise OptionError(f"There is nothing to draw: no decision of kind {kind!r} was measured with several methods.")
    rows = [one for one in results.rows(place, columns) if not one.oracle]
    values = _ranks(results, place, rows, columns)
    order = np.argsort(np.nan_to_num(np.nanmean(values, axis=1), nan=np.inf), kind="stable")
    rows, values = [rows[index] for index in order], values[order]
    names, heads = _names(rows), [_measure_name(one) for one in columns]
    left = canvas.EDGE + 0.12 + max(canvas.text_width(one, NAME) for one in names)
    slant = 0.75 * max(canvas.text_width(one, 8.0) for one in heads) + 0.15
    width = style.width or left + 0.36 * len(columns) + slant + canvas.EDGE
    cell = (width - left - slant - canvas.EDGE) / len(columns)
    with canvas.drawing(style) as colours:
        title, foot = f"{_place(place)}: ranks", f"1 is best · {' · '.join(provenance(table)[:3])}"
        sheet = canvas.sheet((width, slant + ROW * len(rows) + 0.1), title, foot, colours)
        axes = sheet.axes((left, slant, cell * len(columns), ROW * len(rows)))
        scale = marks.Scale(_rank_scale(len(rows)), False, False, "")  # noqa: FBT003 neither sign nor cells beyond the ends
        edges = np.arange(len(columns) + 1) - 0.5, np.arange(len(rows) + 1) - 0.5
        shades = colours.weights.reversed()
        marks.draw_cells(axes, edges, values, scale, shades)
        marks.write_amounts(axes, values, scale, (cell, ROW), colours, shades)
        axes.set_yticks(range(len(rows)), names, size=NAME)
        _colour_names(axes, rows, colours)
        axes.set_xticks(range(len(columns)), heads, size=8.0, rotation=45, ha="left", rotation_mode="anchor")
        axes.xaxis.tick_top()
        axes.set_ylim(len(rows) - 0.5, -0.5)
        canvas.bare(axes)
    return sheet.figure


def pictures(table: Table) -> Iterator[tuple[str, Draw]]:
    """Yield name and way to draw of each picture that there are figures for, place by place.

    The names are those of files: ``A-word-pointing``, ``A-word-deletion``, ``A-word-frontier``; ``word-ranks`` for each kind.
    """
    results = Results(table)
    for name, kind in results.places:
        there = {one.name for one in results.measures((name, kind))}
        for measure in (one for one in PICTURED if one in there):
            yield f"{name}-{kind}-{measure}", _bars_of(table, (name, kind), measure)
        if {"deletion", "seconds"} <= there:
            yield f"{name}-{kind}-frontier", _frontier_of(table, (name, kind))
    for kind in dict.fromkeys(kind for _, kind in results.places):
        place = next(one for one in results.places if one[1] == kind)
        if _ranked(results, place):
            yield f"{kind}-ranks", _heat_of(table, kind)


def _bars_of(table: Table, place: Place, measure: str) -> Draw:
    return lambda style: draw_bars(table, *place, measure, style)


def _frontier_of(table: Table, place: Place) -> Draw:
    return lambda style: draw_frontier(table, place[0], style, kind=place[1])


def _heat_of(table: Table, kind: str) -> Draw:
    return lambda style: draw_heat(table, kind, style)


# --- Names and colours ---------------------------------------------------------------------------------------------------


def _measure(results: Results, place: Place, name: str) -> Measure:
    found = next((one for one in results.measures(place) if one.key == name), None)
    if found is None:
        raise OptionError(f"There is nothing to draw: {name!r} was not measured of set {place[0]}, {place[1]!r}.")
    return found


def _words() -> Words:
    return Words(texts("bench.{}.json")["en"])


def _measure_name(measure: Measure) -> str:
    name = canvas.drawable(_words().told(f"measure.{measure.name}", {}, measure.name.replace("_", " ")))
    return f"{name} {ARROWS[measure.better]}" if measure.better in ARROWS else name


def _place(place: Place) -> str:
    words = _words()
    return canvas.drawable(f"Set {place[0]}, {words.told(f'kind.{place[1]}', {}, place[1])}")


def _title(place: Place, measure: Measure) -> str:
    unit = unit_shown(measure)
    return f"{_place(place)}: {_measure_name(measure)}{f' ({unit})' if unit else ''}"


def _foot(table: Table, figures: Sequence[Figure] | Any) -> str:
    clips = max(one.clips for one in figures)
    quick = "quick run, no result · " if table["provenance"]["quick"] else ""
    return f"{quick}lines: 95 % intervals over {clips} clips · squares: baselines · " + " · ".join(provenance(table)[:4])


def _names(rows: Sequence[Method]) -> list[str]:
    return [canvas.shortened(canvas.drawable(one.title) or one.name, NAME, LONGEST) for one in rows]


def _role(method: Method) -> str:
    return "oracle" if method.oracle else "baseline" if method.baseline else "method"


def _shade(method: Method, colours: canvas.Palette) -> str:
    return {"oracle": colours.muted, "baseline": colours.contrast, "method": colours.accent}[_role(method)]


def _colour_names(axes: Axes, rows: Sequence[Method], colours: canvas.Palette) -> None:
    for one, label in zip(rows, axes.get_yticklabels(), strict=True):
        label.set_color(colours.ink if _role(one) == "method" else _shade(one, colours))


# --- Marks ---------------------------------------------------------------------------------------------------------------


def _draw_dots(axes: Axes, rows: Sequence[Method], figures: dict[str, Figure], measure: Measure, colours: canvas.Palette) -> None:
    """Draw a dot for each row with a line over its interval."""
    scale = 100 if measure.percent else 1
    for row, one in enumerate(rows):
        figure, shade = figures[one.name], _shade(one, colours)
        if figure.low is not None and figure.high is not None:
            axes.hlines(row, scale * figure.low, scale * figure.high, color=shade, linewidth=1.4, alpha=0.6)
        axes.scatter(scale * figure.mean, row, s=24, color=shade, marker=SIGNS[_role(one)], linewidths=0, zorder=3)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.margins(x=0.03)
    axes.locator_params(axis="x", nbins=6)
    axes.grid(axis="x", color=colours.faint, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _draw_chance(axes: Axes, results: Results, place: Place, measure: Measure, colours: canvas.Palette) -> None:
    """Draw a dashed line where chance is: by definition, or where the random map came to."""
    found = results.column(place, measure).get("random")
    chance = CHANCE.get(measure.name, None if found is None else found.mean)
    if chance is not None and measure.better in ARROWS:
        axes.axvline((100 if measure.percent else 1) * chance, color=colours.muted, linewidth=0.8, dashes=(4, 3), zorder=0)


def _draw_interval(axes: Axes, point: tuple[float, Figure], shade: str) -> None:
    x, figure = point
    if figure.low is not None and figure.high is not None:
        axes.vlines(x, figure.low, figure.high, color=shade, linewidth=1.4)


def _draw_front(axes: Axes, points: Float64Array, colours: canvas.Palette) -> None:
    """Draw the steps of the points that nothing cheaper beats."""
    front: list[Float64Array] = []
    for point in points[np.lexsort((points[:, 1], points[:, 0]))]:
        if not front or point[1] < front[-1][1]:
            front.append(point)
    x, y = np.array(front).T
    axes.step([*x, axes.get_xlim()[1]], [*y, y[-1]], where="post", color=colours.muted, linewidth=0.8, dashes=(4, 3), zorder=1)


def _write_names(axes: Axes, rows: Sequence[Method], points: Float64Array, colours: canvas.Palette) -> None:
    """Write each name beside its point, where it hides no other name and no other point; else further off, with a line to it."""
    axes.figure.canvas.draw()
    places = np.asarray(axes.transData.transform(points)) / axes.figure.dpi * 72  # points, 1/72 inch
    (left, low), (right, high) = np.asarray(axes.transAxes.transform([(0, 0), (1, 1)])) / axes.figure.dpi * 72
    taken = [(x - 4, x + 4, y - 4, y + 4) for x, y in places]
    for index in np.argsort(-places[:, 1], kind="stable"):
        name = canvas.shortened(canvas.drawable(rows[index].title) or rows[index].name, 7.5, 1.9)
        wide, tall = canvas.text_width(name, 7.5) * 72, 9.0
        x, y = places[index]
        shifts = [
            (dx, dy) for far in range(FURTHEST) for dy in (0, far * 5.0, far * -5.0) for dx in (7 + far * 2, -7 - far * 2 - wide)
        ]
        shifts += [(-wide / 2, sign * (11 + far * 5.0)) for far in range(FURTHEST) for sign in (1, -1)]
        shifts.sort(key=lambda one: abs(one[1]) + min(abs(one[0]), abs(one[0] + wide)))
        boxes = [(x + dx, x + dx + wide, y + dy - tall / 2, y + dy + tall / 2) for dx, dy in shifts]
        fits = [
            n
            for n, box in enumerate(boxes)
            if box[0] >= left and box[1] <= right and box[2] >= low and box[3] <= high and not any(_meet(box, one) for one in taken)
        ]
        if not fits:
            continue  # a crowd that no name fits into; the bars beside name every method
        dx, dy = shifts[fits[0]]
        taken.append(boxes[fits[0]])
        shade = colours.ink if _role(rows[index]) == "method" else _shade(rows[index], colours)
        ground = {"facecolor": colours.background, "edgecolor": "none", "pad": 0.6}
        line: dict[str, Any] = {"arrowstyle": "-", "color": colours.muted, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
        look: dict[str, Any] = {"textcoords": "offset points", "size": 7.5, "va": "center", "color": shade, "bbox": ground}
        axes.annotate(name, points[index], xytext=(dx, dy), arrowprops=line if abs(dy) > 8 else None, **look)


def _meet(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]


# --- Ranks ---------------------------------------------------------------------------------------------------------------


def _ranked(results: Results, place: Place) -> list[Measure]:
    """Return the measures by which methods can be ranked: those with a better and a worse that several methods have."""
    every = (one for one in results.measures(place) if one.better in ARROWS and not one.fill)
    return [one for one in every if len(results.column(place, one)) > 1]


def _ranks(results: Results, place: Place, rows: Sequence[Method], columns: Sequence[Measure]) -> Float64Array:
    """Return the rank of each row in each column, (rows, columns), 1 for the best; NaN where nothing was measured."""
    found = np.full((len(rows), len(columns)), np.nan)
    for index, measure in enumerate(columns):
        figures = results.column(place, measure)
        told = np.array([figures[one.name].mean if one.name in figures else np.nan for one in rows])
        told = -told if measure.better == "higher" else told
        there = np.flatnonzero(np.isfinite(told))
        ahead = told[there][None] < told[there][:, None]
        level = told[there][None] == told[there][:, None]
        found[there, index] = ahead.sum(axis=1) + (level.sum(axis=1) + 1) / 2
    return found


def _rank_scale(count: int) -> Any:
    from matplotlib.colors import Normalize

    return Normalize(1, max(count, 2))
