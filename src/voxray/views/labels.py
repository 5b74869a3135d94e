"""The label x time map: which moments of the sound spoke for which emotion, event or language."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from voxray.types import OptionError, Relevance, Target, Word
from voxray.views import canvas, marks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.26
"""Height of a row in inches."""
POINTS = 8.5
"""Size of the labels in points."""


def draw_labels(
    relevances: Sequence[Relevance],
    style: canvas.Style,
    *,
    chosen: str | None = None,
    words: Sequence[Word] = (),
    title: str = "",
    provenance: str = "",
) -> Figure:
    """Draw the relevance of every label over time, the label with the highest score on top.

    Args:
        relevances: one a label, of one kind of tag, from one method with the same cells.
        style: the look.
        chosen: the label that the model decided for; None for the one with the highest score, empty for none of these.
        words: of the sound, written above the map; may be empty.
        title: what is shown.
        provenance: how the maps came about.

    Returns:
        The figure: labels down, seconds across, colours centred on 0, each label's score at its right. Cells finer than a
        frame of 60 ms are summed into frames.

    Raises:
        OptionError: when there is no map, the maps do not belong together, or none is of the chosen label.
    """
    times = marks.one_clock([one.grid.times for one in relevances])
    rows = sorted(_of_one_kind(relevances), key=lambda one: -one.score)
    names = [canvas.drawable(one.target.label) for one in rows]
    chosen = rows[0].target.label if chosen is None else chosen
    if chosen and chosen not in [one.target.label for one in rows]:
        raise OptionError(f"{chosen!r} is none of the labels that were explained: {', '.join(one.target.label for one in rows)}.")
    times, values = marks.pooled(times, np.array([one.over_time for one in rows], np.float64))
    scale = marks.scale_of(values, marks.per_cell(times, rows[0].unit))
    span = marks.clock_span(times)
    words = marks.words_within(words, span)
    width = float(np.clip((span[1] - span[0]) * 1.5, 8.0, 16.0)) if style.width is None else style.width
    names = [canvas.shortened(("▸ " if one.target.label == chosen else "") + name, POINTS, 0.34 * width)
             for one, name in zip(rows, names, strict=True)]  # fmt: skip
    left = canvas.EDGE + 0.1 + max(canvas.text_width(name, POINTS) for name in names)
    room, height = width - left - canvas.EDGE - marks.NUMBER, ROW * len(rows)
    with canvas.drawing(style) as colours:
        places = marks.place_words(words, span, room)
        key = (canvas.EDGE, 0.06, width - 2 * canvas.EDGE)
        top = key[1] + marks.key_height(scale, key[2]) + max(marks.lines_of(places), marks.LINE) + 0.06
        sheet = canvas.sheet((width, top + height + 0.5), title, provenance, colours)
        marks.draw_key(sheet, key, scale, colours)
        axes = sheet.axes((left, top, room, height))
        marks.draw_cells(axes, (times, np.arange(len(rows) + 1) - 0.5), values, scale, scale.colour_map(colours))
        _label_rows(axes, names, rows, chosen, colours)
        canvas.time_axis(axes, span)
        marks.draw_words([axes], words, places, colours)
        boxes = [(*span, row - 0.5, row + 0.5) for row, one in enumerate(rows) if one.target.label == chosen]
        marks.outline(axes, boxes, colours)
    return sheet.figure


def kind_of(target: Target) -> str:
    """Return the kind of tag that a target asks for: ``emotion`` of ``emotion``, ``emotion:SAD`` and ``emotion@1``."""
    return re.split("[:@]", target.name, maxsplit=1)[0]


def _of_one_kind(relevances: Sequence[Relevance]) -> Sequence[Relevance]:
    """Return the maps after checking that they are of one kind of tag, each of another label, in one unit.

    Raises:
        OptionError: when they are not.
    """
    if {one.target.kind for one in relevances} != {"tag"} or len({kind_of(one.target) for one in relevances}) > 1:
        told = ", ".join(dict.fromkeys(one.target.name for one in relevances))
        raise OptionError(f"A map of labels needs the labels of one kind of tag, such as emotion, got {told}.")
    labels = [one.target.label for one in relevances]
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise OptionError(f"The label {twice[0]!r} was explained more than once; give each label one map.")
    if len({one.unit for one in relevances}) > 1:
        raise OptionError("The maps are in different units; explain all labels with one method.")
    return relevances


def _label_rows(axes: Axes, names: Sequence[str], rows: Sequence[Relevance], chosen: str, colours: canvas.Palette) -> None:
    """Write the labels at the left and their scores at the right; the chosen one stands out."""
    inches = axes.bbox.width / axes.figure.dpi, axes.bbox.height / axes.figure.dpi
    axes.set_yticks(range(len(names)), list(names), size=POINTS)
    axes.set_ylim(len(names) - 0.5, -0.5)
    canvas.bare(axes)
    right, across = 1 + marks.NUMBER / inches[0], axes.get_yaxis_transform()
    for row, (one, text) in enumerate(zip(rows, axes.get_yticklabels(), strict=True)):
        shade = colours.ink if one.target.label == chosen else colours.muted
        text.set_color(shade)
        axes.text(right, row, marks.short(one.score), size=8, color=shade, ha="right", va="center_baseline", transform=across)
    look: dict[str, Any] = {"size": canvas.SMALL, "color": colours.muted, "ha": "right", "transform": axes.transAxes}
    axes.text(right, 1 + 0.07 / inches[1], "score", **look)
