"""The tags: which language, emotion, event and text norm the model decided on, and how near the other labels came.

One piece of sound gives bars; several pieces give, for each kind, a map of label by time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from voxray.types import TAG_KINDS, OptionError, Tag
from voxray.views import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {"language": "Language", "emotion": "Emotion", "event": "Event", "textnorm": "Text norm"}
MOST = 8
"""How many labels of a kind are shown by name."""
OTHERS = "others"
ROW, HEADING, GAP = 0.2, 0.46, 0.22
"""Heights in inches: a label's row, a kind's heading, the room below a kind."""
LOW_MASS = 0.5
"""Below this mass the row mostly says something that is no label of its kind, and the note is set in the accent colour."""


def draw_tags(
    tags: Sequence[Tag],
    style: canvas.Style,
    *,
    title: str = "What the model decided about the sound",
    provenance: str = "",
) -> Figure:
    """Draw the probabilities of the labels of each kind.

    Args:
        tags: of one or more pieces of sound, in order of time.
        style: the look.
        title: what is shown.
        provenance: which model, which recording.

    Returns:
        The figure with one panel a kind: bars for one piece, a map of label by time for several.

    Raises:
        OptionError: when there is no tag.
    """
    if not tags:
        raise OptionError("There is nothing to draw: the model gave no tags; SenseVoice models do.")
    kinds = [[tag for tag in tags if tag.kind == kind] for kind in TAG_KINDS]
    kinds = [group for group in kinds if group]
    if max(len(group) for group in kinds) == 1:
        return _draw_bars([group[0] for group in kinds], style, title, provenance)
    return _draw_maps(kinds, style, title, provenance)


def ranked(tags: Sequence[Tag]) -> dict[str, list[float]]:
    """Return the labels that came nearest at any time, best first, each with its probability in every piece.

    Labels beyond the eight best are summed under ``others``, last.
    """
    names = list(dict.fromkeys(name for tag in tags for name in tag.probabilities))
    table = {name: [tag.probabilities.get(name, 0.0) for tag in tags] for name in names}
    order = sorted(table, key=lambda name: -max(table[name]))
    best = {name: table[name] for name in order[:MOST]}
    if len(order) > MOST:
        best[OTHERS] = [float(sum(column)) for column in zip(*(table[name] for name in order[MOST:]), strict=True)]
    return best


def _draw_bars(tags: Sequence[Tag], style: canvas.Style, title: str, provenance: str) -> Figure:
    """Draw one panel of bars a kind, two beside each other where there is room."""
    width = style.width or 8.0
    across = 2 if width >= 5.5 else 1
    tables = [ranked([tag]) for tag in tags]
    rows = [range(first, min(first + across, len(tags))) for first in range(0, len(tags), across)]
    heights = [max(len(tables[place]) for place in row) * ROW + HEADING + GAP for row in rows]
    names = max(canvas.text_width(canvas.drawable(name), 8.5) for table in tables for name in table) + 0.14
    column = (width - 2 * canvas.EDGE) / across
    with canvas.drawing(style) as colours:
        sheet = canvas.sheet((width, sum(heights)), title, provenance, colours)
        for line, row in enumerate(rows):
            for place in row:
                left = canvas.EDGE + column * (place - row[0]) + names
                box = (left, sum(heights[:line]) + HEADING, column - names - 0.6, len(tables[place]) * ROW)
                axes = sheet.axes(box)
                _fill_bars(axes, tags[place], tables[place], colours)
                _head(axes, tags[place].kind, _note([tags[place]]), names, colours)
    return sheet.figure


def _fill_bars(axes: Axes, tag: Tag, table: dict[str, list[float]], colours: canvas.Palette) -> None:
    """Draw the bars of one kind, the best on top."""
    for row, (name, (probability,)) in enumerate(table.items()):
        won = name == tag.label
        axes.barh(row, 1, height=0.62, color=colours.faint, alpha=0.6)
        axes.barh(row, probability, height=0.62, color=colours.accent if won else colours.muted, alpha=1 if won else 0.7)
        axes.text(1.03, row, percent(probability), size=8, va="center", color=colours.ink if won else colours.muted)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks(range(len(table)), [canvas.drawable(name) for name in table], size=8.5)
    for name, text in zip(table, axes.get_yticklabels(), strict=True):
        text.set_color(colours.ink if name == tag.label else colours.muted)
    canvas.bare(axes)


def percent(probability: float) -> str:
    """Return a probability as a reader takes it in: ``97 %``, ``0.4 %``, ``< 0.1 %``."""
    if probability < 0.001:
        return "< 0.1 %" if probability > 0 else "0 %"
    fine = probability < 0.0995 or 0.99 < probability < 0.9995
    return f"{100 * probability:.1f} %" if fine else f"{100 * probability:.0f} %"


def _note(tags: Sequence[Tag]) -> tuple[str, bool]:
    """Return what the rows really said, and whether that is a warning."""
    if len(tags) == 1:
        return f"emitted {canvas.drawable(tags[0].emitted)} · mass {percent(tags[0].mass)}", tags[0].mass < LOW_MASS
    low = sum(tag.mass < LOW_MASS for tag in tags)
    return f"{len(tags)} pieces" + (f", {low} with a mass below {percent(LOW_MASS)}" if low else ""), low > 0


def _head(axes: Axes, kind: str, note: tuple[str, bool], indent: float, colours: canvas.Palette) -> None:
    """Write the name of a kind and its note above a panel, flush with the labels."""
    inches = axes.bbox.width / axes.figure.dpi, axes.bbox.height / axes.figure.dpi
    left, text = 0.06 - indent, canvas.drawable(NAMES[kind])
    after = left + canvas.text_width(text, 10.5) + 0.12
    room = inches[0] + 0.6 - after
    high = 1 + 0.12 / inches[1]
    axes.text(left / inches[0], high, text, size=10.5, transform=axes.transAxes)
    axes.text(
        *(after / inches[0], high, canvas.shortened(note[0], canvas.SMALL, room)),
        size=canvas.SMALL,
        color=colours.accent if note[1] else colours.muted,
        transform=axes.transAxes,
    )


def _draw_maps(kinds: Sequence[Sequence[Tag]], style: canvas.Style, title: str, provenance: str) -> Figure:
    """Draw one map of label by time a kind, one under the other on one clock."""
    width = style.width or 9.0
    tables = [ranked(group) for group in kinds]
    heights = [len(table) * ROW + ROW * 2.4 for table in tables]
    names = max(canvas.text_width(canvas.drawable(name), 8.5) for table in tables for name in (*table, "emitted")) + 0.14
    left, room = canvas.EDGE + names, width - canvas.EDGE * 2 - names - 0.1
    span = (min(tag.start for group in kinds for tag in group), max(tag.end for group in kinds for tag in group))
    with canvas.drawing(style) as colours:
        body = sum(heights) + (HEADING + GAP) * len(kinds)
        sheet = canvas.sheet((width, body + 0.4), title, provenance, colours)
        top = 0.0
        for group, table, height in zip(kinds, tables, heights, strict=True):
            axes = sheet.axes((left, top + HEADING, room, height))
            _fill_map(axes, group, table, colours)
            canvas.time_axis(axes, span)
            if group is not kinds[-1]:
                axes.set_xlabel("")
                axes.tick_params(axis="x", labelbottom=False, length=0)
            _head(axes, group[0].kind, _note(group), names, colours)
            _write_emitted(axes, group, len(table) + 1.4, colours)
            top += HEADING + height + GAP
        _draw_key(sheet.axes((left + room - 1.0, 0.22, 1.0, 0.09)), colours)
    return sheet.figure


def _draw_key(axes: Axes, colours: canvas.Palette) -> None:
    """Say what the colours mean."""
    axes.imshow(np.linspace(0, 1, 256)[None], extent=(0, 1, 0, 1), aspect="auto", cmap=colours.weights)
    canvas.bare(axes)
    axes.set_yticks([])
    axes.set_xticks([])
    for place, side, text in ((-0.05, "right", "probability  0"), (1.03, "left", "1")):
        axes.text(place, 0.5, text, size=canvas.SMALL, ha=side, va="center_baseline", color=colours.muted)


def _fill_map(axes: Axes, tags: Sequence[Tag], table: dict[str, list[float]], colours: canvas.Palette) -> None:
    """Draw a cell for every label and piece, a dot on the winners, and below them the masses."""
    from matplotlib.collections import PolyCollection

    rows = [*table.items(), ("mass", [tag.mass for tag in tags])]
    places = [*range(len(table)), len(table) + 0.4]
    for (_, values), row in zip(rows, places, strict=True):
        cells = [[(t.start, row - 0.5), (t.end, row - 0.5), (t.end, row + 0.5), (t.start, row + 0.5)] for t in tags]
        colour_map = colours.speech if row > len(table) else colours.weights
        faces = colour_map(np.clip(values, 0, 1))
        axes.add_collection(PolyCollection(cells, facecolors=faces, edgecolors=colours.background, linewidths=0.7))
    winners = [(tag, list(table).index(tag.label)) for tag in tags if tag.label in table]
    middles = [(tag.start + tag.end) / 2 for tag, _ in winners]
    heights = [row for _, row in winners]
    axes.scatter(middles, heights, s=9, color=colours.background, linewidths=0.6, edgecolors=colours.ink)
    names = [canvas.drawable(name) for name, _ in rows]
    axes.set_ylim(len(table) + 1.9, -0.5)
    axes.set_yticks([*places, len(table) + 1.4], [*names, "emitted"], size=8.5)
    for text in axes.get_yticklabels()[: len(table)]:
        text.set_color(colours.ink)
    canvas.bare(axes)


def _write_emitted(axes: Axes, tags: Sequence[Tag], row: float, colours: canvas.Palette) -> None:
    """Write what each piece emitted into its column where there is room."""
    first, last = axes.get_xlim()
    scale = (last - first) / (axes.bbox.width / axes.figure.dpi)
    for tag in tags:
        text = canvas.drawable(tag.emitted)
        if canvas.text_width(text, 6.5) * scale < tag.end - tag.start:
            middle = (tag.start + tag.end) / 2
            axes.text(middle, row, text, size=6.5, ha="center", va="center", color=colours.muted)
