"""How attention changes from one recognition to the next: small multiples of the last few, and the same over time.

All maps share one colour scale and one scale of seconds, so that they can be compared. Under them run a few figures of every step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxray.storage import whole_file
from voxray.types import FloatArray, OptionError, OutputError
from voxray.views import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

COLUMNS = 5
LEAST = 3  # columns that a sheet has room for, so that the curves under few maps have room too
MAP, LABELS, HEAD, CLOCK = (2.0, 1.35), 0.42, 0.4, 0.34
"""Inches: a map, the room for its tokens' names, for its title, for its clock."""
CURVE, ABOVE = 0.75, 0.42
"""Inches: height of the curves and of what stands above them."""
LARGE = (6.4, 2.9)
"""Inches: the map of a film."""
SHOWN_TOKENS = 14  # names beside a small map at most
PATIENCE = 0.7  # seconds that a frame of a film stands


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One recognition.

    Attributes:
        number: of the step.
        text: what was recognised.
        labels: texts of the tokens; fewer than rows where they are not known.
        weights: (U, T) float32.
        start: seconds.
        end: seconds; equal to the start where time is not known.
    """

    number: int
    text: str
    labels: tuple[str, ...]
    weights: FloatArray
    start: float
    end: float

    @property
    def heading(self) -> str:
        """Number and time."""
        return f"{self.number}" + (f" · {self.start:.1f}–{self.end:.1f} s" if self.end > self.start else "")


Curves = Mapping[str, npt.ArrayLike]
"""By a name with its unit, one figure a panel; NaN where it is not known."""


def draw_evolution(panels: Sequence[Panel], curves: Curves, style: canvas.Style, *, title: str, provenance: str) -> Any:
    """Draw some recognitions as small maps, oldest first, and their figures as curves.

    Args:
        panels: at least one.
        curves: what runs under the maps.
        style: the look.
        title: of the picture.
        provenance: of the picture.

    Returns:
        The figure.

    Raises:
        OptionError: when there is no panel.
    """
    _check(panels)
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    width = 2 * canvas.EDGE + max(columns, LEAST) * (LABELS + MAP[0])
    scale = (style.width or width) / width
    cell = (LABELS + MAP[0], HEAD + MAP[1] + CLOCK)
    with canvas.drawing(style) as colours:
        norm = _norm(panels)
        note = f"{provenance} · strongest colour: {norm.vmax:.2g} of a token's attention or more"
        sheet = canvas.sheet((width * scale, (rows * cell[1] + ABOVE + CURVE + 0.3) * scale), title, note, colours)
        for index, panel in enumerate(panels):
            left = canvas.EDGE + index % columns * cell[0] + LABELS
            top = index // columns * cell[1] + HEAD
            axes = sheet.axes((left * scale, top * scale, (MAP[0] - 0.12) * scale, MAP[1] * scale))
            _draw_map(axes, panel, norm, _longest(panels), colours)
            _name_rows(axes, panel, colours, SHOWN_TOKENS)
            heading = canvas.shortened(canvas.drawable(panel.text) or "(no words)", canvas.SMALL, (MAP[0] - 0.15) * scale)
            axes.set_title(f"{panel.heading}\n{heading}", size=canvas.SMALL, loc="left", pad=3.0, color=colours.ink)
        box = (canvas.EDGE * scale, (rows * cell[1] + ABOVE) * scale, (width - 2 * canvas.EDGE) * scale, CURVE * scale)
        _draw_curves(sheet, box, panels, curves, len(panels) - 1, colours)
    return sheet.figure


def write_film(
    panels: Sequence[Panel], curves: Curves, path: str | Path, style: canvas.Style, *, title: str, provenance: str
) -> Path:
    """Write the same as a film, one recognition a frame: GIF or MP4 by the path's ending.

    Args:
        panels: at least one.
        curves: what runs under the map, with a mark at the frame's step.
        path: ends in ``.gif`` or ``.mp4``. It appears whole or not at all.
        style: the look.
        title: of every frame, cut to one line.
        provenance: of every frame.

    Returns:
        The path.

    Raises:
        OptionError: when there is no panel, or the path ends otherwise.
        OutputError: when the file cannot be written.
    """
    _check(panels)
    target = Path(path)
    writers = {".gif": _write_gif, ".mp4": _write_mp4}
    if target.suffix.lower() not in writers:
        raise OptionError(f"A film cannot be written as {target.name!r}; end its name in {' or '.join(writers)}.")
    frames = (_frame(panels, curves, index, style, (title, provenance)) for index in range(len(panels)))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as stream:
            writers[target.suffix.lower()](frames, stream)
    except OSError as problem:
        reason = problem.strerror or type(problem).__name__
        raise OutputError(f"The film {target} cannot be written ({reason}); choose a folder that you may write.") from None
    return target


def _check(panels: Sequence[Panel]) -> None:
    if not panels:
        raise OptionError("There is nothing to draw: no recognition was taken in yet.")


def _norm(panels: Sequence[Panel]) -> Normalize:
    """Return one colour scale for all maps; a few extreme weights do not take it all."""
    values = np.concatenate([np.asarray(panel.weights, np.float64).ravel() for panel in panels])
    bound = float(np.quantile(values, 0.995)) if values.size else 0.0
    return canvas.colour_range(np.minimum(values, bound) if bound > 0 else values, None)


def _longest(panels: Sequence[Panel]) -> float:
    """Return how many seconds every map spans; 0 where time is not known."""
    return max(panel.end - panel.start for panel in panels)


def _draw_map(axes: Axes, panel: Panel, norm: Normalize, longest: float, colours: canvas.Palette) -> None:
    """Draw one map; seconds run from 0, the start of its sound, as far as in the longest."""
    timed = panel.end > panel.start
    right = panel.end - panel.start if timed else panel.weights.shape[1]
    count = len(panel.weights)
    if count:
        extent = (0.0, right, count - 0.5, -0.5)
        axes.imshow(panel.weights, extent=extent, aspect="auto", interpolation="nearest", cmap=colours.weights, norm=norm)
    else:
        axes.text(0.5, 0.5, "no tokens", size=canvas.SMALL, color=colours.muted, ha="center", va="center", transform=axes.transAxes)
    axes.set_yticks([])
    canvas.bare(axes)
    axes.spines[["left", "bottom"]].set_visible(True)
    axes.spines[["left", "bottom"]].set_color(colours.faint)
    if not count:
        axes.set_xticks([])
    elif timed:
        canvas.time_axis(axes, (0.0, longest))
        axes.xaxis.label.set_fontsize(canvas.SMALL)
        axes.tick_params(axis="x", labelsize=canvas.SMALL)
    else:
        axes.set_xlabel("frames", size=canvas.SMALL)
        axes.tick_params(axis="x", labelsize=canvas.SMALL)


def _name_rows(axes: Axes, panel: Panel, colours: canvas.Palette, most: int) -> None:
    """Write tokens beside their rows; of many, some."""
    if len(panel.labels) != len(panel.weights) or not panel.labels:
        return
    step = math.ceil(len(panel.labels) / most)
    places = range(0, len(panel.labels), step)
    names = [canvas.shortened(canvas.token_label(panel.labels[place]), 6.0, LABELS - 0.08) for place in places]
    axes.set_yticks(places, names, size=6.0, color=colours.ink)


def _draw_curves(
    sheet: canvas.Sheet,
    box: tuple[float, float, float, float],
    panels: Sequence[Panel],
    curves: Curves,
    at: int,
    colours: canvas.Palette,
) -> None:
    """Draw each curve over the steps in a part of the box, with a mark at one step."""
    numbers = [panel.number for panel in panels]
    share = box[2] / max(len(curves), 1)
    for index, (name, told) in enumerate(curves.items()):
        values = np.asarray(told, np.float64)
        left, room = min(0.36, 0.3 * share), share - min(0.5, 0.45 * share)
        axes = sheet.axes((box[0] + index * share + left, box[1], room, box[3]))
        colour = colours.series[index % len(colours.series)]
        axes.plot(numbers, values, color=colour, linewidth=1.3, marker="o", markersize=2.5)
        axes.plot(numbers[at : at + 1], values[at : at + 1], color=colour, marker="o", markersize=5.5, linestyle="")
        latest = "" if math.isnan(values[at]) else f"  {values[at]:.3g}"
        axes.set_title(f"{name}{latest}", size=canvas.SMALL, loc="left", pad=3.0, color=colours.muted)
        axes.tick_params(labelsize=6.0, length=2.0)
        axes.set_xlim(numbers[0] - 0.5, numbers[-1] + 0.5)
        axes.set_xlabel("step", size=canvas.SMALL, labelpad=1.0)
        axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]


def _frame(
    panels: Sequence[Panel], curves: Curves, index: int, style: canvas.Style, words: tuple[str, str]
) -> npt.NDArray[np.uint8]:
    """Return one frame of a film, (height, width, 3) uint8; all frames have one size, even both ways, as films need it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    panel = panels[index]
    width = 2 * canvas.EDGE + 0.75 + LARGE[0]
    with canvas.drawing(style) as colours:
        room = width - 2 * canvas.EDGE
        title = canvas.shortened(canvas.drawable(words[0]), canvas.TITLE, room)
        foot = canvas.shortened(canvas.drawable(words[1]), canvas.SMALL, room)
        sheet = canvas.sheet((width, 0.45 + LARGE[1] + 0.5 + ABOVE + CURVE + 0.3), title, foot, colours)
        axes = sheet.axes((canvas.EDGE + 0.75, 0.35, LARGE[0] - 0.1, LARGE[1]))
        _draw_map(axes, panel, _norm(panels), _longest(panels), colours)
        _name_rows(axes, panel, colours, 24)
        heading = canvas.shortened(f"{panel.heading} · {canvas.drawable(panel.text) or '(no words)'}", canvas.LABEL, LARGE[0])
        axes.set_title(heading, size=canvas.LABEL, loc="left", color=colours.ink)
        box = (canvas.EDGE, 0.35 + LARGE[1] + 0.5 + ABOVE, room, CURVE)
        _draw_curves(sheet, box, panels, curves, index, colours)
        sheet.figure.set_dpi(min(style.dpi, 150))
        drawn: Any = FigureCanvasAgg(sheet.figure)  # matplotlib's back ends carry no types
        drawn.draw()
        pixels: npt.NDArray[np.uint8] = np.array(drawn.buffer_rgba())[..., :3]
    return pixels[: len(pixels) // 2 * 2, : pixels.shape[1] // 2 * 2]


def _write_gif(frames: Iterator[npt.NDArray[np.uint8]], stream: Any) -> None:
    """Write frames that repeat for ever. matplotlib brings Pillow along."""
    from PIL import Image

    images = [Image.fromarray(frame).quantize(128) for frame in frames]
    images[0].save(stream, format="GIF", save_all=True, append_images=images[1:], duration=round(1000 * PATIENCE), loop=0)


def _write_mp4(frames: Iterator[npt.NDArray[np.uint8]], stream: Any) -> None:
    """Write frames as H.264, or as MPEG-4 where this FFmpeg has no encoder for that."""
    import av

    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(stream, mode="w", format="mp4") as container:
        track: Any = None
        for number, frame in enumerate(frames):
            if track is None:
                track = container.add_stream(codec, rate=10, width=frame.shape[1], height=frame.shape[0], pix_fmt="yuv420p")
            for repeat in range(round(10 * PATIENCE)):  # players dislike films of one frame a second
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                picture.pts = number * round(10 * PATIENCE) + repeat
                container.mux(track.encode(picture))
        container.mux(track.encode())
