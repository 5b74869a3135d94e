"""What the pictures of relevance share: the colour scale and its key, words on a clock, boxes, and lists of signed bars.

Amounts on both sides of zero get a scale that reaches as far to both sides, so that no colour means zero; amounts of one sign
get one that begins at zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from voxray.types import OptionError, Word
from voxray.views import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.image import AxesImage

KEY_BAR, KEY_LINE = 0.1, 0.15
"""Heights in inches: the strip of colours, and a line of its text."""
LINE, WORD = 0.19, 9.5
"""A line of words in inches, and their size in points."""
BAR = 0.2
"""Height of a row in a list of bars, inches."""
CELL = 6.5
"""Size of the amounts in cells, points."""
FIRST = 0.02
"""Seconds: cells that begin this early begin with the sound."""
COVER = 0.75
"""How opaque the strongest tint is."""
FRAME = 0.06
"""Seconds of a frame. **Source:** ``lfr_n: 6`` steps of 10 ms in SenseVoice's and Paraformer's ``config.yaml``."""
OUTLIERS = 0.99
"""Quantile at which a scale ends where a few cells would take it all."""
NUMBER = 0.58
"""Width in inches that a number beside a bar takes."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How amounts become colours.

    Attributes:
        norm: from amounts to 0..1.
        signed: whether zero lies in the middle.
        beyond: whether some amounts lie beyond the ends that are not zero.
        unit: of the amounts.
    """

    norm: Normalize
    signed: bool
    beyond: bool
    unit: str

    def colour_map(self, colours: canvas.Palette) -> Colormap:
        """Return the colours on a plain background."""
        return colours.signed if self.signed else colours.weights


def scale_of(values: npt.ArrayLike, unit: str) -> Scale:
    """Return the scale that fits some amounts; a few that tower over the rest lie beyond its ends."""
    from matplotlib.colors import Normalize

    cells = np.asarray(values, np.float64)
    size = np.abs(cells[np.isfinite(cells)])
    largest = float(size.max(initial=0.0))
    bound = float(np.quantile(size, OUTLIERS)) if size.size else 0.0
    reach = bound if 0 < 1.7 * bound < largest else largest or 1.0
    signed = bool((cells < 0).any())
    return Scale(Normalize(-reach if signed else 0.0, reach), signed, reach < largest, unit)


def tint(plain: Colormap, *, signed: bool) -> Colormap:
    """Return colours as clear as they can be made so that over the colour of zero they look as before.

    Laid over a grey spectrogram both are seen; even the strongest let it shine through. Over its empty parts the colour is that
    of a key drawn with the same colours.
    """
    from matplotlib.colors import ListedColormap

    solid = plain(np.linspace(0, 1, 511))[:, :3]
    ground = solid[255 if signed else 0]
    room = np.where(solid > ground, 1 - ground, np.maximum(ground, 1e-6))
    alpha = (np.abs(solid - ground) / room).max(axis=1, keepdims=True)
    pure = ground + (solid - ground) / np.maximum(alpha, 1e-6)
    return ListedColormap(np.hstack([pure.clip(0, 1), COVER * alpha.clip(0, 1)]), name=f"{plain.name} tint")


def one_clock(grids: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Return the time edges that several maps have in common.

    Raises:
        OptionError: when there is no map, or they differ.
    """
    if not grids:
        raise OptionError("There is nothing to draw: no target was explained; give at least one.")
    if any(one.shape != grids[0].shape or not np.allclose(one, grids[0], atol=1e-6) for one in grids):
        raise OptionError("The maps have different cells; explain all targets with one method and the same options.")
    return grids[0]


def clock_span(times: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the seconds that a picture covers: from the first edge to the last, or from 0 where it begins with the sound."""
    return (0.0 if times[0] < FIRST else float(times[0])), float(times[-1])


def pooled(
    times: npt.NDArray[np.float64], rows: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return rows over time (R, K) and their edges (K + 1,) with cells finer than a frame of the model summed into frames.

    Between the 10 ms cells of one frame relevance swings to and fro; in a thin row that is flicker, its sum is what counts.
    """
    widths = np.diff(times)
    count = round(FRAME / float(widths[0])) if np.ptp(widths) < 1e-6 else 1
    if count < 2:
        return times, rows
    starts = np.append(
        0, np.arange(count // 2, len(widths), count)
    )  # a frame's middle is a cell: the first has half of it before 0
    return np.append(times[:-1][starts], times[-1]), np.add.reduceat(rows, starts, axis=1)


def per_cell(times: npt.NDArray[np.float64], unit: str) -> str:
    """Return the unit of one cell's amount, with the cell's length where all are as long."""
    widths = np.diff(times)[1:-1] if len(times) > 3 else np.diff(times)  # the ends of the sound may cut the outer ones
    return f"{unit} per {1000 * widths[0]:.3g} ms" if np.ptp(widths) < 1e-6 else f"{unit} per stretch"


def short(value: float) -> str:
    """Return an amount in a few letters."""
    if abs(value) >= 1000:
        return f"{value:.0f}" if abs(value) < 1e6 else f"{value:.1e}".replace("e+0", "e")
    return f"{value:.3g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.1e}".replace("e-0", "e-")


# --- Key ---------------------------------------------------------------------------------------------------------------


def key_height(scale: Scale, room: float) -> float:
    """Return the height in inches that the key of a scale takes in a row of the given width."""
    return KEY_BAR + 0.12 + (0.0 if _fits(scale, room) else KEY_LINE)


def draw_key(
    sheet: canvas.Sheet,
    box: tuple[float, float, float],
    scale: Scale,
    colours: canvas.Palette,
    colour_map: Colormap | None = None,
) -> None:
    """Say what the colours mean: a strip of them at the right of a row, its ends and their unit.

    Args:
        sheet: to draw on.
        box: left, top and width of the row, inches.
        scale: the scale.
        colours: of the theme.
        colour_map: the colours where they are not those of the scale.
    """
    left, top, room = box
    lead, tail = _ends(scale)
    one_line = _fits(scale, room)
    before, after = _wide(lead) + 0.06, _wide(tail + (f" · {scale.unit}" if one_line else "")) + 0.06
    wide = float(np.clip(room - before - after, 0.25, 1.1))
    drop = 0.0 if one_line else KEY_LINE
    axes = sheet.axes((left + room - after - wide, top + drop, wide, KEY_BAR))
    axes.imshow(np.linspace(0, 1, 256)[None], extent=(0, 1, 0, 1), aspect="auto", cmap=colour_map or scale.colour_map(colours))
    canvas.bare(axes)
    axes.set_yticks([])
    axes.set_xticks([])
    look: dict[str, Any] = {"size": canvas.SMALL, "va": "center_baseline", "color": colours.muted}
    axes.text(-0.05 / wide, 0.5, lead, ha="right", **look)
    axes.text(1 + 0.05 / wide, 0.5, tail + (f" · {scale.unit}" if one_line else ""), ha="left", **look)
    if not one_line:
        unit = canvas.shortened(scale.unit, canvas.SMALL, room)
        axes.text(1 + after / wide, 0.5 + KEY_LINE / KEY_BAR, unit, ha="right", **look)


def _ends(scale: Scale) -> tuple[str, str]:
    """Return what stands before and after the strip of colours."""
    low, high = (short(float(end or 0.0)) for end in (scale.norm.vmin, scale.norm.vmax))
    less, more = ("≤ ", "≥ ") if scale.beyond else ("", "")
    if scale.signed:
        return f"against  {less}{low}", f"{more}{high}  for"
    return (less + low, high) if scale.norm.vmax == 0 else (low, more + high)


def _fits(scale: Scale, room: float) -> bool:
    lead, tail = _ends(scale)
    return _wide(lead) + _wide(f"{tail} · {scale.unit}") + 0.12 + 0.5 <= room


def _wide(text: str) -> float:
    return canvas.text_width(text, canvas.SMALL)


# --- Words on a clock --------------------------------------------------------------------------------------------------


def words_within(words: Sequence[Word], span: tuple[float, float]) -> list[Word]:
    """Return the words of which some part lies within a span of seconds."""
    return [word for word in words if word.start < span[1] and word.end > span[0]]


def place_words(words: Sequence[Word], span: tuple[float, float], room: float) -> list[tuple[float, int]]:
    """Return for each word the second that its text is centred on and its line, 0 or 1; -1 where there is no room."""
    scale = (span[1] - span[0]) / room
    widths = [canvas.text_width(canvas.drawable(word.text), WORD) * scale for word in words]
    middles = [(word.start + word.end) / 2 for word in words]
    middles = [max(min(x, span[1] - w / 2), span[0] + w / 2) for x, w in zip(middles, widths, strict=True)]
    spaced = [width + 0.06 * scale for width in widths]
    lines = canvas.staggered(middles, spaced, levels=1)
    return list(zip(middles, lines if -1 not in lines else canvas.staggered(middles, spaced, levels=2), strict=True))


def lines_of(places: Sequence[tuple[float, int]]) -> float:
    """Return the height in inches that placed words take."""
    return LINE * (1 + max(line for _, line in places)) if places else 0.0


def draw_words(
    panels: Sequence[Axes],
    words: Sequence[Word],
    places: Sequence[tuple[float, int]],
    colours: canvas.Palette,
    target: tuple[float, float] | None = None,
) -> None:
    """Mark where words begin and end in every panel, and write them over the first; words of the target stand out."""
    inches = panels[0].bbox.height / panels[0].figure.dpi
    across = panels[0].get_xaxis_transform()
    for word, (middle, line) in zip(words, places, strict=True):
        for axes in panels:
            for moment in (word.start, word.end):
                axes.axvline(moment, color=colours.ink, alpha=0.4, linewidth=0.5, dashes=(2, 2))
        if line >= 0:
            meant = target is None or (word.start < target[1] - 1e-6 and word.end > target[0] + 1e-6)
            shade = colours.ink if meant else colours.muted
            height = 1 + (0.07 + LINE * line) / inches
            panels[0].text(middle, height, canvas.drawable(word.text), size=WORD, color=shade, transform=across, ha="center")


def outline(axes: Axes, boxes: Sequence[tuple[float, float, float, float]], colours: canvas.Palette) -> None:
    """Draw thin boxes, each given as left, right, top and bottom; a line of the background lies under each."""
    from matplotlib.collections import PolyCollection

    corners = [[(left, top), (right, top), (right, low), (left, low)] for left, right, top, low in boxes]
    lines: tuple[tuple[str, float], ...] = ((colours.background, 2.6), (colours.ink, 1.1))
    for colour, width in lines:
        axes.add_collection(PolyCollection(corners, facecolors="none", edgecolors=colour, linewidths=width), autolim=False)


# --- Maps and bars -----------------------------------------------------------------------------------------------------


def draw_cells(
    axes: Axes,
    edges: tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.floating[Any]]],
    values: npt.NDArray[np.floating[Any]],
    scale: Scale,
    colour_map: Colormap,
) -> AxesImage:
    """Draw cells of any width and height, each in one colour.

    Args:
        axes: to draw on.
        edges: of the cells across (K + 1,) and up or down (M + 1,).
        values: (M, K).
        scale: gives the colours.
        colour_map: the colours.
    """
    return cast("AxesImage", axes.pcolorfast(*edges, np.asarray(values, np.float64), norm=scale.norm, cmap=colour_map))


def write_amounts(
    axes: Axes,
    values: npt.NDArray[np.float64],
    scale: Scale,
    cell: tuple[float, float],
    colours: canvas.Palette,
    colour_map: Colormap | None = None,
) -> None:
    """Write each amount into its cell where all have room, dark on light cells and light on dark ones.

    Args:
        axes: whose cells lie at whole numbers.
        values: (rows, columns).
        scale: of the cells.
        cell: width and height of one in inches.
        colours: of the theme.
        colour_map: the colours where they are not those of the scale.
    """
    reach = max(abs(float(end or 0.0)) for end in (scale.norm.vmin, scale.norm.vmax))
    texts = [[short_cell(value, reach) for value in row] for row in values.tolist()]
    widest = max(canvas.text_width(text, CELL) for row in texts for text in row)
    if widest + 0.06 > cell[0] or cell[1] < CELL * 1.2 / 72:
        return
    faces = (colour_map or scale.colour_map(colours))(scale.norm(np.nan_to_num(values)))[..., :3]
    bright = faces @ np.array([0.2126, 0.7152, 0.0722])  # luminance, ITU-R BT.709
    for row, column in np.ndindex(*values.shape):
        shade = "#16191f" if bright[row, column] > 0.45 else "#ffffff"
        axes.text(column, row, texts[row][column], size=CELL, color=shade, ha="center", va="center_baseline")


def short_cell(value: float, reach: float) -> str:
    """Return an amount in two digits, 0 for less than a thousandth of the scale's reach.

    Whole numbers, such as ranks, are written as they are; what is not there is left empty.
    """
    if not np.isfinite(value):
        return ""
    if value == round(value):
        return f"{value:.0f}"
    if abs(value) < reach / 1000:
        return "0"
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}".replace("e-0", "e-")


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a list: its name, its amount, and how it stands out: plain, strong or weak."""

    name: str
    value: float
    weight: str = "plain"


def names_width(bars: Sequence[Bar]) -> float:
    """Return the width in inches of the widest name in a list of bars."""
    return max(canvas.text_width(bar.name, 8.5) for bar in bars) + 0.12


def draw_bars(axes: Axes, bars: Sequence[Bar], colours: canvas.Palette, reach: tuple[float, float] = (0.0, 0.0)) -> None:
    """Draw signed amounts as bars from one line of zero, the first on top, with their numbers at the right.

    Args:
        axes: as high as the rows, with ``NUMBER`` inches free at its right.
        bars: in order.
        colours: of the theme.
        reach: lowest and highest amount that must have room, so that several lists can have one scale.
    """
    inches = axes.bbox.width / axes.figure.dpi
    values = np.nan_to_num([bar.value for bar in bars])
    low, high = float(values.min(initial=reach[0])), float(values.max(initial=reach[1]))
    margin = 0.02 * ((high - low) or 1.0)
    axes.axvline(0, color=colours.muted, linewidth=0.7, zorder=3)
    right = 1 + NUMBER / inches
    look: dict[str, Any] = {"size": 8, "ha": "right", "va": "center_baseline", "transform": axes.get_yaxis_transform()}
    shades = {"plain": (colours.ink, 0.85), "strong": (colours.ink, 1.0), "weak": (colours.muted, 0.5)}
    for row, (bar, value) in enumerate(zip(bars, values, strict=True)):
        shade, alpha = shades[bar.weight]
        axes.barh(row, value, height=0.62, color=colours.accent if value > 0 else colours.contrast, alpha=alpha)
        axes.text(right, row, f"{'+' if value > 0 else ''}{short(float(value))}", color=shade, **look)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks(range(len(bars)), [bar.name for bar in bars], size=8.5)
    for bar, text in zip(bars, axes.get_yticklabels(), strict=True):
        text.set_color(shades[bar.weight][0])
    canvas.bare(axes)
