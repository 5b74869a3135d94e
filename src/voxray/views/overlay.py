"""The overlay: the sound, what the recogniser hears of it, and where the weight lies, one under the other on one clock.

The spectrogram is grey where nothing weighs, and glows in colour as the weight grows: its light and dark, which are the
speech, stay what they are. Weights below zero glow in the opposite colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from voxray.types import Audio, Features, OptionError, Word
from voxray.views import canvas, marks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from xarray import DataArray

WAVE, SPECTRUM, CURVE, GAP = 0.95, 1.9, 0.85, 0.14
"""Heights in inches: the three panels, and the room between them."""
COLUMNS = 3000
"""The wave form is drawn as the lowest and highest sample of so many stretches: finer than any page can show."""
MEL_RANGE = (20.0, 8000.0)
"""Lowest and highest frequency of the mel filters in Hz. **Source:** Kaldi's fbank at 16 kHz, which FunASR uses as it is."""
TICKS = (250.0, 500.0, 1000.0, 2000.0, 4000.0)


def draw_overlay(
    audio: Audio,
    log_mel: Features,
    weights: DataArray,
    words: Sequence[Word],
    style: canvas.Style,
    *,
    title: str,
    provenance: str,
    start: float = 0.0,
) -> Figure:
    """Draw weights over the sound and its spectrogram.

    Args:
        audio: the sound.
        log_mel: (T, M) log mel energies.
        weights: (frame,) float with ``time`` (seconds, centre of each frame) along ``frame``; ``attrs["unit"]`` names them.
        words: with their times; a word whose text has no room is drawn without it.
        style: the look.
        title: what is shown.
        provenance: how the weights came about.
        start: seconds at which the sound begins within a longer one; all other times count from the longer one's beginning.

    Returns:
        The figure with three panels: wave form, spectrogram, weights.

    Raises:
        OptionError: when there is no sound or no frame.
    """
    values = np.nan_to_num(canvas.arranged(weights, "frame"))
    if len(audio.samples) == 0 or len(log_mel.values) == 0:
        raise OptionError("There is nothing to draw: the sound is empty; use a longer recording.")
    width = float(np.clip(audio.duration * 1.5, 8.0, 16.0)) if style.width is None else style.width
    left, room = 0.72, width - 0.72 - 2 * canvas.EDGE
    with canvas.drawing(style) as colours:
        places = marks.place_words(words, (start, start + audio.duration), room)
        top = 0.12 + marks.LINE * (1 + max((line for _, line in places), default=0))
        tops = (top, top + WAVE + GAP, top + WAVE + SPECTRUM + 2 * GAP)
        sheet = canvas.sheet((width, tops[2] + CURVE + 0.55), title, provenance, colours)
        wave = sheet.axes((left, tops[0], room, WAVE))
        spectrum = sheet.axes((left, tops[1], room, SPECTRUM), sharex=wave)
        curve = sheet.axes((left, tops[2], room, CURVE), sharex=wave)
        _draw_wave(wave, audio, start, colours)
        _draw_spectrum(spectrum, log_mel, _at_times(weights, values, log_mel.times), colours)
        _draw_curve(curve, weights, values, colours)
        for axes in (wave, spectrum):
            axes.tick_params(axis="x", length=0, labelbottom=False)
        canvas.time_axis(curve, (start, start + audio.duration))
        _draw_words((wave, spectrum, curve), words, places, colours)
    return sheet.figure


def _draw_wave(axes: Axes, audio: Audio, start: float, colours: canvas.Palette) -> None:
    """Draw the samples."""
    edges = np.linspace(0, len(audio.samples), min(COLUMNS, len(audio.samples)) + 1).astype(np.int64)
    low = np.minimum.reduceat(audio.samples, edges[:-1])
    high = np.maximum.reduceat(audio.samples, edges[:-1])
    loudest = float(np.abs(audio.samples).max()) or 1.0
    times = start + (edges[:-1] + edges[1:]) / 2 / audio.sample_rate
    axes.fill_between(times, low, high, color=colours.muted, linewidth=0.4)
    axes.set_ylim(-1.08 * loudest, 1.08 * loudest)
    axes.set_yticks([])
    axes.set_ylabel("sound")
    axes.spines[:].set_visible(False)


def _at_times(weights: DataArray, values: npt.NDArray[np.float64], times: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the weight of the frame that each moment lies in, 0 outside all frames."""
    start, stop = canvas.time_range(weights)
    _, hop = canvas.frame_clock(weights)
    index = np.floor((times - start) / hop + 1e-9).astype(np.int64)
    inside = (times >= start) & (times < stop)
    return np.where(inside, values[np.clip(index, 0, len(values) - 1)], 0.0)


def _draw_spectrum(axes: Axes, log_mel: Features, weights: npt.NDArray[np.float64], colours: canvas.Palette) -> None:
    """Draw the spectrogram in grey and, over it, itself in glowing colours as opaque as the weight is large."""
    bins = log_mel.values.shape[1]
    low, high = np.percentile(log_mel.values, (4, 99.7))
    energy = np.clip((log_mel.values.T - low) / (high - low if high > low else 1.0), 0, 1)
    strength = np.abs(weights) / (np.abs(weights).max() or 1.0)
    warm, cold = colours.glow(energy), colours.chill(energy)
    picture = np.where((weights >= 0)[None, :, None], warm, cold)
    picture[..., 3] = strength[None, :]
    start = log_mel.start - log_mel.hop / 2
    extent = (start, start + log_mel.hop * len(log_mel.values), -0.5, bins - 0.5)
    for image in (colours.speech(energy), picture):
        axes.imshow(image, extent=extent, aspect="auto", origin="lower", interpolation="nearest")
    canvas.bare(axes)
    axes.set_yticks(mel_bin(np.array(TICKS), bins), [f"{hertz / 1000:g}" for hertz in TICKS])
    axes.tick_params(axis="y", length=2.0)
    axes.set_ylabel("kHz (mel)")


def mel_bin(hertz: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.float64]:
    """Return the place of frequencies among mel filters: 0 is the centre of the lowest one, ``bins - 1`` of the highest.

    **Source:** Kaldi ``feat/mel-computations.h``: mel = 1127 ln(1 + Hz / 700); the centres of ``bins`` filters cut the range
    into ``bins + 1`` equal parts.
    """
    low, high, mel = (1127 * np.log1p(np.asarray(value) / 700) for value in (*MEL_RANGE, hertz))
    return np.asarray((mel - low) / (high - low) * (bins + 1) - 1, dtype=np.float64)


def _draw_curve(axes: Axes, weights: DataArray, values: npt.NDArray[np.float64], colours: canvas.Palette) -> None:
    """Draw the weights as steps, one a frame."""
    times, hop = canvas.frame_clock(weights)
    edges = np.append(times - hop / 2, times[-1] + hop / 2)
    axes.axhline(0, color=colours.muted, linewidth=0.6)
    for part, colour in ((np.maximum(values, 0), colours.accent), (np.minimum(values, 0), colours.contrast)):
        if part.any():
            axes.stairs(part, edges, fill=True, color=colour, alpha=0.35, linewidth=0)
            axes.stairs(np.where(part == 0, np.nan, part), edges, color=colour, linewidth=1.1, baseline=0)
    reach = float(np.abs(values).max()) or 1.0
    axes.set_ylim(-1.15 * reach if values.min() < 0 else 0.0, 1.15 * reach)
    axes.locator_params(axis="y", nbins=3)
    axes.set_ylabel(canvas.wrapped(weights.attrs.get("unit", "weight"), canvas.LABEL, CURVE))


def _draw_words(
    panels: tuple[Axes, ...], words: Sequence[Word], places: Sequence[tuple[float, int]], colours: canvas.Palette
) -> None:
    """Mark where words begin and end in every panel, and write them over the first."""
    across = panels[0].get_xaxis_transform()
    for word, (middle, line) in zip(words, places, strict=True):
        panels[0].axvspan(word.start, word.end, color=colours.faint, alpha=0.55, linewidth=0, zorder=0)
        for axes in panels:
            for moment in (word.start, word.end):
                axes.axvline(moment, color=colours.ink, alpha=0.35, linewidth=0.5, dashes=(2, 2))
        if line >= 0:
            height = 1 + (0.08 + marks.LINE * line) / WAVE
            panels[0].text(middle, height, canvas.drawable(word.text), size=marks.WORD, transform=across, ha="center")
