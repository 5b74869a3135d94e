"""What is wrong with a sound, and edits that put one thing right: pure functions on :class:`voxray.types.Audio`.

Detectors measure: how loud a stretch is against the noise inside it, where samples are clipped, lost or click, whether speech
touches the edges. Edits return a new sound at the same rate. Unless an edit says how it moves times, every sample outside the
edited span stays as it was, bit for bit; an edit of no strength returns the very samples. Levels are in dB re full scale (a square
wave between -1 and 1 has 0 dB) or re one another. All is made for speech at 16 kHz; other rates work, with windows in seconds kept.

**Source:** the noise estimate follows Martin, "Noise power spectral density estimation based on optimal smoothing and minimum
statistics", 2001, with a quantile over time and neighbouring bins in place of the minimum over time; the gate is Wiener's filter;
lost and clipped samples follow Janssen, Veldhuis and Vries, "Adaptive interpolation of discrete-time signals that can be modeled
as autoregressive processes", 1986; tempo is FFmpeg's ``atempo`` (waveform similarity overlap-add).
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.types import Audio, FloatArray, OptionError

Span = tuple[float, float]
"""[start, end) in seconds."""
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

SILENCE = -120.0  # dB; what digital silence counts as
HOP = 0.010  # s between frames of levels
FRAME = 0.025  # s of each
WINDOW = 0.032  # s of a spectrum: harmonics above 80 Hz leave valleys between them
BAND = 500.0  # Hz; wide enough to hold valleys of any voice, narrow enough to follow coloured noise
LOW = 0.1  # the quantile of the bins of a band that is taken for noise
CORE = 0.128  # s of the noisiest window, from which a stretch of noise is grown
EDGE_FRAMES = 5  # frames of 8 ms that are looked at in growing
STEADY = 7.0  # dB that the valleys of steady noise may sink
SHORTEST = 0.064  # s; a shorter span is widened before its noise is estimated
FADE = 0.005  # s; joins shorter than this click
EDGE = 0.060  # s at each end of a clip that are searched for speech
LOUD = 12.0  # dB under the loud frames of a clip: loud enough for noise that hides speech
BELOW_SPEECH = 25.0  # dB under the loud frames of a clip: still speech
LEAST_RUN = 3  # equal samples at an extreme: two can be chance
NEAR = 0.999  # of the largest sample of its sign: a file's rounding moves flat tops a little
LEAST_GAP = 0.004  # s of one constant value; 16-bit sound between words can hold still for less
STEEP = 0.2  # of the height within 60 ms that sound beside a gap reaches within 3 ms
CLICK = 60.0  # times the median of what interpolation misses nearby
CLICK_NEAR = 0.008  # s on each side: one period of a low voice, whose own pulses are to be no clicks
ORDER = 32  # of the linear prediction: four formants and a glottis at 16 kHz take about 18
SHORT_GAP = 0.005  # s; up to here prediction fills a gap, beyond it fades away
TAIL = 0.3  # s of silence behind a sound whose tempo is changed
MIRROR = 0.040  # s of sound on each side that a longer gap is filled from


# -- detectors -----------------------------------------------------------------------------------------------------------------


def levels(audio: Audio) -> Float64Array:
    """Return the level of each frame of 25 ms, one each 10 ms, frame k centred at ``10 k + 12.5`` ms; (F,) float64, dB.

    A sound shorter than a frame gives one level.
    """
    return np.asarray(_decibels(np.mean(_framed(audio, FRAME, HOP) ** 2, axis=1)), np.float64)


def level(audio: Audio, start: float = 0.0, end: float | None = None) -> float:
    """Return the level of a span (of the whole sound by default), dB re full scale; digital silence is -120."""
    part = audio.cut(start, audio.duration if end is None else end).samples.astype(np.float64)
    return float(_decibels(np.mean(part**2))) if len(part) else SILENCE


def speech_level(audio: Audio) -> float:
    """Return the level of the loud frames of a sound, the 90 % quantile, dB: speech where there is any."""
    return float(np.quantile(levels(audio), 0.9))


def activity(audio: Audio) -> BoolArray:
    """Return which frames of 10 ms hold speech or anything as loud: within 25 dB of the loud frames; (F,) bool."""
    found = levels(audio)
    return np.asarray((found > np.quantile(found, 0.9) - BELOW_SPEECH) & (found > SILENCE + 1), np.bool_)


def noise_floor(audio: Audio, start: float = 0.0, end: float | None = None) -> float:
    """Return the level of the noise inside a span, dB re full scale.

    In each band of 500 Hz the quietest tenth of all time-frequency bins tells the noise: speech leaves valleys between its
    harmonics and its sounds, and fills few bands at once, while noise leaves none. So a burst laid over one word is told from
    that word even though it lasts as long.
    """
    power = _power(audio.cut(*_widened(audio, start, end)))
    return float(_decibels(np.sum(_noise(power, audio.sample_rate))))


def local_snr(audio: Audio, start: float = 0.0, end: float | None = None) -> float:
    """Return by how much a span stands out of the noise inside it, dB, within -20 to 60; see :func:`noise_floor`.

    Clean speech has 10 dB or more even within one vowel, white noise alone about -10 or less.
    """
    power = _power(audio.cut(*_widened(audio, start, end)))
    noise, total = float(np.sum(_noise(power, audio.sample_rate))), float(np.sum(np.mean(power, axis=0)))
    if total < 10 ** (SILENCE / 10):
        return -20.0
    return float(np.clip(_decibels(max(total - noise, 0.0)) - _decibels(noise), -20.0, 60.0))


def noisy_span(audio: Audio, start: float = 0.0, end: float | None = None) -> Span | None:
    """Return the stretch of steady noise around the noisiest 128 ms within a span, in seconds; None where all is quiet.

    It grows from there on both sides while the valleys of the spectrum, those between and beside the sounds of speech, stay as high
    as they are inside it. The stretch may reach beyond the span; of clean speech it is some fricative, with a high local SNR.
    """
    stop, loud = audio.duration if end is None else min(end, audio.duration), speech_level(audio) - LOUD
    begins = np.arange(max(0.0, start), max(stop - CORE, 0.0, start) + 1e-9, WINDOW / 2).tolist()
    cores = [(begin, begin + CORE) for begin in begins if level(audio, begin, begin + CORE) > loud]
    if not cores:
        return None
    valleys = _valleys(audio)
    core = min(cores, key=lambda window: local_snr(audio, *window))
    first, last = (min(max(round((one - WINDOW / 2) / (WINDOW / 4)), 0), len(valleys)) for one in core)
    last = max(last, first + 1)
    inside = valleys[first:last].mean(axis=0)
    while first >= EDGE_FRAMES and _as_high(valleys[first - EDGE_FRAMES : first], inside):
        first -= 1
    while last + EDGE_FRAMES <= len(valleys) and _as_high(valleys[last : last + EDGE_FRAMES], inside):
        last += 1
    # Frames whose windows are half in the noise have valleys too low: the noise reaches about two frames further.
    return max(0.0, (first + 0.5) * WINDOW / 4), min(audio.duration, (last + 3.5) * WINDOW / 4)


def clipped_spans(audio: Audio) -> list[Span]:
    """Return the runs of three samples or more that stand at the sound's flat top or bottom, in seconds, in order.

    A top is flat if it holds several such samples in a row; a sound's one largest sample is no clipping, whatever its value.
    """
    found: list[Span] = []
    for values in (audio.samples, -audio.samples):
        top = float(values.max(initial=0.0))
        if top > 0.01:  # -40 dB: the rounding of near silence makes flat tops too
            found += _runs(values >= NEAR * top, LEAST_RUN, audio.sample_rate)
    return sorted(found)


def gaps(audio: Audio) -> list[Span]:
    """Return stretches inside speech where the sound stands still for 4 ms or more: lost packets, filled with a constant.

    Speech must lie within 60 ms on both sides. In a sound that begins or ends with a constant, whose pauses may be digital
    silence, it must also reach a fifth of its height there within 3 ms on one side: beside a pause, sound fades away.
    """
    samples, rate = audio.samples.astype(np.float64), audio.sample_rate
    still = np.concatenate([[False], np.diff(samples) == 0.0, [False]])
    runs = _runs(still[1:] | still[:-1], round(LEAST_GAP * rate), rate)
    silent = any(start <= 0 or end >= audio.duration for start, end in runs)
    return [run for run in runs if _is_torn(samples, rate, run, STEEP if silent else 0.0)]


def clicks(audio: Audio) -> list[Span]:
    """Return single samples that do not fit their neighbours, as spans of one sample, the worst first, at most ten.

    A sample is told from its four neighbours by a cubic; it is a click if it misses that by far more than the samples around.
    """
    samples, rate = audio.samples.astype(np.float64), audio.sample_rate
    if len(samples) < 16:
        return []
    from scipy.ndimage import median_filter

    miss = np.zeros(len(samples))
    miss[2:-2] = np.abs(samples[2:-2] - (4 * (samples[1:-3] + samples[3:-1]) - samples[:-4] - samples[4:]) / 6)
    usual = median_filter(miss, size=2 * round(CLICK_NEAR * rate) + 1, mode="nearest")
    score = miss / np.maximum(usual, 10 ** (-70 / 20))
    peaks = np.flatnonzero((score > CLICK) & (score == _spread(score, 3)))
    worst = peaks[np.argsort(-score[peaks], kind="stable")][:10]
    return [(int(at) / rate, (int(at) + 1) / rate) for at in worst]


def edge_levels(audio: Audio) -> tuple[float, float]:
    """Return the level of the loudest 25 ms within 60 ms of the start and of the end, dB re the loud frames of the sound.

    Near 0: somebody speaks right at the edge, so the clip was probably cut there. A clip that begins and ends in silence has
    -25 or less.
    """
    found, count = levels(audio), max(1, round((EDGE - FRAME) / HOP) + 1)
    return float(found[:count].max() - speech_level(audio)), float(found[-count:].max() - speech_level(audio))


# -- edits ---------------------------------------------------------------------------------------------------------------------


def louder(audio: Audio, decibels: float) -> Audio:
    """Return the sound louder (or, below 0, softer); nothing is clipped, samples may leave [-1, 1]."""
    return audio if decibels == 0 else _as(audio, audio.samples * np.float32(10 ** (decibels / 20)))


def muted(audio: Audio, start: float, end: float) -> Audio:
    """Return the sound with a span silenced, faded over 5 ms inside the span."""
    return _as(audio, audio.samples * (1 - _window(audio, start, end)))


def gated(audio: Audio, start: float, end: float, strength: float = 1.0) -> Audio:
    """Return the sound with the noise inside a span taken away by a Wiener filter.

    The noise is estimated inside the span as in :func:`noise_floor` and may be coloured. The change is faded in over 5 ms inside.

    Args:
        audio: any sound.
        start: s.
        end: s.
        strength: how many times the noise's power is subtracted: 0 nothing, 1 Wiener, more takes more of both.

    Raises:
        OptionError: when the strength is below 0.
    """
    if strength < 0:
        raise OptionError(f"the gate's strength must be 0 or more, got {strength}")
    first, last = _widened(audio, start, end)
    if strength == 0 or not len(audio.samples):
        return audio
    noise = _noise(_power(audio.cut(first, last)), audio.sample_rate)
    margin = 2 * WINDOW  # s of context, so that the frames that reach into the span are whole
    begin = max(0, round((first - margin) * audio.sample_rate))
    part = audio.cut(first - margin, last + margin)
    change = _filtered(part, noise, strength) - part.samples
    samples = audio.samples.astype(np.float64)
    samples[begin : begin + len(change)] += change * _window(audio, start, end)[begin : begin + len(change)]
    return _as(audio, samples)


def declipped(audio: Audio) -> Audio:
    """Return the sound with its clipped samples drawn anew by linear prediction from the samples around, beyond the flat top.

    Samples may leave [-1, 1]. Nothing else changes; a sound without clipping is returned as it is.
    """
    spans = clipped_spans(audio)
    if not spans:
        return audio
    missing = _mask(audio, spans)
    filled = _predicted(audio.samples.astype(np.float64), missing, audio.sample_rate)
    beyond = np.where(audio.samples > 0, np.maximum(filled, audio.samples), np.minimum(filled, audio.samples))
    return _as(audio, np.where(missing, beyond, audio.samples))


def bridged(audio: Audio, start: float, end: float) -> Audio:
    """Return the sound with a span drawn anew from the sound on both sides.

    Up to 5 ms by linear prediction; longer ones by the 40 ms on each side, mirrored into the span as often as it takes and faded
    into one another: this keeps pitch, colour and the value at both joins.
    """
    first, last = _indices(audio, start, end)
    missing = np.zeros(len(audio.samples), np.bool_)
    missing[first:last] = True
    if not missing.any() or missing.all():
        return audio
    samples = audio.samples.astype(np.float64)
    if last - first <= round(SHORT_GAP * audio.sample_rate):
        return _as(audio, np.where(missing, _predicted(samples, missing, audio.sample_rate), audio.samples))
    reach, count = round(MIRROR * audio.sample_rate), last - first
    left = _mirrored(samples[max(0, first - reach) : first][::-1], count)
    right = _mirrored(samples[last : last + reach], count)[::-1]
    if not len(left) or not len(right):  # a gap at the sound's own edge has one neighbour
        samples[first:last] = left if len(left) else right
        return _as(audio, samples)
    share = (np.arange(count) + 0.5) / count * (math.pi / 2)
    samples[first:last] = left * np.cos(share) + right * np.sin(share)  # equal power: the two sides are not in phase
    return _as(audio, samples)


def padded(audio: Audio, before: float, after: float) -> Audio:
    """Return the sound with more of its own quiet before and after it; all times move later by ``before``.

    The quiet has the spectrum and level of the sound's quietest frames; digital silence where those are.

    Raises:
        OptionError: when a length is below 0.
    """
    if before < 0 or after < 0:
        raise OptionError(f"padding must be 0 s or more, got {before} and {after}; trimmed takes sound away")
    if before == after == 0:
        return audio
    counts = [round(seconds * audio.sample_rate) for seconds in (before, after)]
    quiet = _quiet(audio, sum(counts))
    return _as(audio, np.concatenate([quiet[: counts[0]], audio.samples, quiet[counts[0] :]]))


def trimmed(audio: Audio, before: float, after: float) -> Audio:
    """Return the sound without its first and last seconds; all times move earlier by ``before``.

    Raises:
        OptionError: when nothing would be left or a length is below 0.
    """
    if before < 0 or after < 0 or before + after >= audio.duration:
        raise OptionError(f"{before} s and {after} s cannot be cut from {audio.duration:.2f} s; give less, and nothing below 0")
    return audio if before == after == 0 else audio.cut(before, audio.duration - after)


def stretched(audio: Audio, factor: float, start: float | None = None, end: float | None = None) -> Audio:
    """Return the sound slower (factor above 1: as many times as long) or faster, at its own pitch.

    Without a span every time t becomes ``t * factor``. With one, times before it stay, those inside become
    ``start + (t - start) * factor``, those after it move by ``(end - start) * (factor - 1)``; the joins are cross-faded over
    10 ms, centred at the edges of the span.

    Raises:
        OptionError: when the factor is not within 0.1 to 10.
    """
    if not 0.1 <= factor <= 10:
        raise OptionError(f"a sound is stretched by a factor within 0.1 to 10, got {factor}")
    if factor == 1 or not len(audio.samples):
        return audio
    slow = _tempo(audio, 1 / factor)
    if start is None and end is None:
        return _as(audio, slow)
    first, last = _indices(audio, start or 0.0, audio.duration if end is None else end)
    if last <= first:
        return audio
    begin, count = round(first * factor), round((last - first) * factor)
    head = _joined(audio.samples, first, slow, begin, audio.sample_rate)
    tail = _joined(slow, begin + count, audio.samples, last, audio.sample_rate)
    half = round(FADE * audio.sample_rate)
    result = np.concatenate([audio.samples[:first], slow[begin : begin + count], audio.samples[last:]]).astype(np.float64)
    for at, join in ((first, head), (first + count, tail)):
        low, high = max(at - half, 0), min(at + half, len(result))
        result[low:high] = join[low - at + half : high - at + half]
    return _as(audio, result)


def with_noise(audio: Audio, snr: float, seed: int, span: Span | None = None) -> Audio:
    """Return the sound with white noise over it.

    Args:
        audio: any sound.
        snr: dB of the sound over the noise: of the frames that hold speech or, with a span, of the whole span.
        seed: of the noise; equal seeds give equal samples.
        span: where, in seconds, faded over 5 ms inside; everywhere for None.
    """
    noise = np.random.default_rng(seed).standard_normal(len(audio.samples))
    if span is None:
        loud = levels(audio)[activity(audio)]
        height = float(_decibels(np.mean(10 ** (loud / 10)))) if len(loud) else SILENCE
        shape: FloatArray | Float64Array = np.ones(len(noise))
    else:
        height, shape = level(audio, *span), _window(audio, *span)
    return _as(audio, audio.samples + noise * shape * 10 ** ((height - snr) / 20))


def band_stopped(audio: Audio, low: float, high: float) -> Audio:
    """Return the sound without the frequencies between two, in Hz, without a shift in time (Butterworth, 4 poles, both ways).

    Raises:
        OptionError: when the band is empty or leaves 0 to half the sample rate.
    """
    from scipy.signal import butter, sosfiltfilt

    half = audio.sample_rate / 2
    if not 0 <= low < high <= half:
        raise OptionError(f"a band to stop needs 0 <= low < high <= {half:g} Hz, got {low:g} to {high:g}")
    if low <= 0 and high >= half:
        return _as(audio, np.zeros(len(audio.samples)))
    kind, edge = ("high", high) if low <= 0 else ("low", low) if high >= half else ("bandstop", (low, high))
    sections = butter(4, edge, kind, fs=audio.sample_rate, output="sos")
    padding = min(3 * (2 * len(sections) + 1), max(0, len(audio.samples) - 1))
    return _as(audio, sosfiltfilt(sections, audio.samples.astype(np.float64), padlen=padding))


# -- frames and spectra --------------------------------------------------------------------------------------------------------


def _as(audio: Audio, samples: npt.NDArray[Any]) -> Audio:
    return Audio(np.asarray(samples, np.float32), audio.sample_rate, audio.name)


def _decibels(power: Any) -> Any:
    return 10 * np.log10(np.maximum(power, 10 ** (SILENCE / 10)))


def _indices(audio: Audio, start: float, end: float) -> tuple[int, int]:
    count = len(audio.samples)
    return min(max(round(start * audio.sample_rate), 0), count), min(max(round(end * audio.sample_rate), 0), count)


def _window(audio: Audio, start: float, end: float) -> Float64Array:
    """Return 1 inside a span and 0 outside, with raised-cosine ramps of 5 ms inside the span; (S,) float64."""
    first, last = _indices(audio, start, end)
    window = np.zeros(len(audio.samples))
    ramp = min(round(FADE * audio.sample_rate), max(0, last - first) // 2)
    window[first:last] = 1.0
    if ramp:
        rise = 0.5 - 0.5 * np.cos(math.pi * (np.arange(ramp) + 0.5) / ramp)
        window[first : first + ramp] = rise
        window[last - ramp : last] = rise[::-1]
    return window


def _widened(audio: Audio, start: float, end: float | None) -> Span:
    """Return a span of at least 64 ms around the one given, within the sound where that is long enough."""
    stop = audio.duration if end is None else end
    more = max(0.0, SHORTEST - (stop - start)) / 2
    first = min(max(0.0, start - more), max(0.0, audio.duration - SHORTEST))
    return first, max(min(audio.duration, stop + more), min(first + SHORTEST, audio.duration))


def _framed(audio: Audio, length: float, hop: float) -> Float64Array:
    """Return overlapping frames, (F, n) float64; what is shorter than a frame is filled with zeros to one."""
    size, step = round(length * audio.sample_rate), max(1, round(hop * audio.sample_rate))
    samples = audio.samples.astype(np.float64)
    samples = np.pad(samples, (0, max(0, size - len(samples))))
    return np.lib.stride_tricks.sliding_window_view(samples, size)[::step]


def _power(audio: Audio) -> Float64Array:
    """Return the power of each bin of each frame, (F, bins) float64; a frame's bins sum to its mean square."""
    frames = _framed(audio, WINDOW, WINDOW / 4)
    window = np.hanning(frames.shape[1] + 1)[:-1]
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2 / (frames.shape[1] * np.sum(window**2))
    power[:, 1:-1] *= 2
    return np.asarray(power, np.float64)


def _noise(power: Float64Array, rate: int) -> Float64Array:
    """Return the noise's power in each bin, (bins,) float64.

    The bins of noise are distributed exponentially about their mean, so a tenth of them lies below ``-log(0.9)`` of it.
    """
    size = max(1, round(BAND * 2 * (power.shape[1] - 1) / rate))
    edges = np.append(np.arange(0, power.shape[1] - size // 2, size), power.shape[1])
    centres, found = (edges[1:] + edges[:-1] - 1) / 2, []
    for first, last in itertools.pairwise(edges):
        found.append(np.quantile(power[:, first:last], LOW) / -math.log(1 - LOW))
    heights = np.log(np.maximum(found, 10 ** (SILENCE / 10 - 3)))
    noise = np.exp(np.interp(np.arange(power.shape[1]), centres, heights))
    noise[[0, -1]] /= 2  # the bins at both ends have no mirror image that is counted with them
    return np.asarray(noise, np.float64)


def _valleys(audio: Audio) -> Float64Array:
    """Return the level of the valleys of each frame in bands of 500 Hz, (F, bands) float64, dB."""
    power = _power(audio)
    size = max(1, round(BAND * 2 * (power.shape[1] - 1) / audio.sample_rate))
    bands = power[:, : power.shape[1] // size * size].reshape(len(power), -1, size)
    return np.asarray(_decibels(np.quantile(bands, 0.25, axis=2)), np.float64)


def _as_high(edge: Float64Array, inside: Float64Array) -> bool:
    """Tell whether valleys at an edge are as high as those inside, up to 7 dB on the mean over bands."""
    return bool(np.minimum(edge.mean(axis=0) - inside, 0.0).mean() > -STEADY)


def _filtered(audio: Audio, noise: Float64Array, strength: float) -> Float64Array:
    """Return a sound after a Wiener filter against a noise of known power, (S,) float64."""
    size = round(WINDOW * audio.sample_rate)
    hop, count = size // 4, len(audio.samples)
    window = np.sqrt(np.hanning(size + 1)[:-1])
    padded_samples = np.pad(audio.samples.astype(np.float64), (size, size + (-count) % hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded_samples, size)[::hop]
    spectrum = np.fft.rfft(frames * window, axis=1)
    weight = np.full(len(noise), 2.0)
    weight[[0, -1]] = 1.0
    power = np.abs(spectrum) ** 2 * weight / (size * np.sum(window**2))
    smooth = _smoothed(power)
    gain = np.maximum(1 - strength * noise / np.maximum(smooth, 1e-20), 0.05)  # -26 dB: less would whistle
    parts = np.fft.irfft(spectrum * gain, size, axis=1) * window
    result = np.zeros(len(padded_samples))
    for index, part in enumerate(parts):
        result[index * hop : index * hop + size] += part
    return np.asarray(result[size : size + count] / 2, np.float64)  # four windows of Hann over one another sum to 2


def _smoothed(power: Float64Array) -> Float64Array:
    """Return power averaged over three frames and three bins: single bins of noise stand out by chance and would whistle."""
    padded_power = np.pad(power, 1, mode="edge")
    rows = padded_power[:-2] + padded_power[1:-1] + padded_power[2:]
    return np.asarray((rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9, np.float64)


def _quiet(audio: Audio, count: int) -> Float64Array:
    """Return noise with the spectrum of the quietest tenth of the frames, (count,) float64; the same for the same sound."""
    power = _power(audio)
    loudness = power.sum(axis=1)
    quiet = power[loudness <= np.quantile(loudness, 0.1)].mean(axis=0)
    if quiet.sum() < 10 ** (SILENCE / 10):
        return np.zeros(count)
    noise = np.fft.rfft(np.random.default_rng(0).standard_normal(count))
    shape = np.sqrt(np.interp(np.linspace(0, 1, len(noise)), np.linspace(0, 1, len(quiet)), quiet))
    shaped = np.fft.irfft(noise * shape, count)
    return np.asarray(shaped * math.sqrt(quiet.sum() / max(np.mean(shaped**2), 1e-30)), np.float64)


# -- samples -------------------------------------------------------------------------------------------------------------------


def _runs(flags: BoolArray, least: int, rate: int) -> list[Span]:
    """Return the runs of True of at least so many samples as spans in seconds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(a) / rate, int(b) / rate) for a, b in edges.reshape(-1, 2) if b - a >= least]


def _mask(audio: Audio, spans: list[Span]) -> BoolArray:
    missing = np.zeros(len(audio.samples), np.bool_)
    for start, end in spans:
        missing[slice(*_indices(audio, start, end))] = True
    return missing


def _is_torn(samples: Float64Array, rate: int, gap: Span, steep: float) -> bool:
    """Tell whether speech stands on both sides of a gap, and on one of them begins so steeply."""
    first, last = (round(seconds * rate) for seconds in gap)
    near, far = round(0.003 * rate), round(0.06 * rate)
    sides = [np.abs(side - samples[first]) for side in (samples[max(0, first - far) : first][::-1], samples[last : last + far])]
    heights = [float(side.max(initial=0.0)) for side in sides]
    torn = any(side[:near].max(initial=0.0) >= steep * height for side, height in zip(sides, heights, strict=True))
    return torn and min(heights) > 10 ** (-40 / 20)


def _spread(values: Float64Array, reach: int) -> Float64Array:
    """Return the largest value within some samples on each side, (S,) float64."""
    from scipy.ndimage import maximum_filter1d

    return np.asarray(maximum_filter1d(values, 2 * reach + 1, mode="nearest"), np.float64)


def _mirrored(side: Float64Array, count: int) -> Float64Array:
    """Return samples read to and fro until there are enough, (count,) float64; none from none."""
    if not len(side):
        return side
    there_and_back = np.concatenate([side, side[::-1]])
    return np.resize(there_and_back, count)


def _predicted(samples: Float64Array, missing: BoolArray, rate: int) -> Float64Array:
    """Return samples with the missing ones as linear prediction has them, (S,) float64.

    Missing samples less than 4 ms apart are found together, with 20 ms of sound around them.
    """
    result = samples.copy()
    at = np.flatnonzero(missing)
    around = round(0.020 * rate)
    for block in np.split(at, np.flatnonzero(np.diff(at) > round(0.004 * rate)) + 1):
        for part in np.split(block, range(512, len(block), 512)):  # a system of more unknowns takes too long
            first, last = max(0, part[0] - around), min(len(samples), part[-1] + 1 + around)
            result[part] = _interpolated(result[first:last], part - first)
    return np.asarray(result, np.float64)


def _interpolated(samples: Float64Array, unknown: IntArray) -> Float64Array:
    """Return the unknown samples that leave the least for linear prediction to explain, (u,) float64.

    Three rounds: coefficients from the samples, samples from the coefficients; the start is a straight line.
    """
    from scipy.linalg import solve_toeplitz

    known = np.setdiff1d(np.arange(len(samples)), unknown)
    values = samples.copy()
    values[unknown] = np.interp(unknown, known, samples[known])
    order = min(ORDER, len(known) // 3)
    for _ in range(3):
        spectrum = np.abs(np.fft.rfft(values, 2 * len(values))) ** 2
        correlation = np.fft.irfft(spectrum)[: order + 1]
        if correlation[0] <= 0:
            break
        correlation[0] *= 1 + 1e-9
        filters = np.concatenate([[1.0], -solve_toeplitz(correlation[:-1], correlation[1:])])
        weights = np.correlate(filters, filters, "full")[order:]
        distance = np.abs(unknown[:, None] - unknown)
        matrix = np.where(distance <= order, weights[np.minimum(distance, order)], 0.0)
        silent = values.copy()
        silent[unknown] = 0.0
        pull = np.convolve(silent, np.concatenate([weights[:0:-1], weights]), "same")[unknown]
        values[unknown] = np.linalg.solve(matrix, -pull)
    return np.asarray(values[unknown], np.float64)


# -- tempo ---------------------------------------------------------------------------------------------------------------------


def _tempo(audio: Audio, speed: float) -> FloatArray:
    """Return the samples of a sound at another speed and its own pitch, by FFmpeg; exactly ``round(S / speed)`` of them.

    Silence is put behind the sound before, since ``atempo`` keeps back what does not fill its last window.
    """
    import av

    graph, rate = av.filter.Graph(), audio.sample_rate
    nodes = [graph.add_abuffer(sample_rate=rate, format="flt", layout="mono", time_base=Fraction(1, rate))]
    stages = math.ceil(max(1.0, -math.log2(speed)) - 1e-9)  # one atempo goes no lower than half
    nodes += [graph.add("atempo", f"{speed ** (1 / stages):.9f}") for _ in range(stages)]
    nodes.append(graph.add("abuffersink"))
    graph.link_nodes(*nodes).configure()
    samples = np.pad(audio.samples, (0, round(TAIL * rate)))
    frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
    frame.sample_rate, frame.pts = rate, 0
    graph.push(frame)
    graph.push(None)
    parts: list[FloatArray] = []
    try:
        while True:
            parts.append(graph.pull().to_ndarray()[0])
    except av.error.EOFError:
        wanted = round(len(audio.samples) / speed)
        return np.asarray(np.concatenate([*parts, np.zeros(wanted, np.float32)])[:wanted], np.float32)


def _joined(before: FloatArray, stop: int, after: FloatArray, start: int, rate: int) -> Float64Array:
    """Return 10 ms in which one sound, up to a sample, goes over into another, from a sample on; (2 half,) float64."""
    half = round(FADE * rate)
    rise = 0.5 - 0.5 * np.cos(math.pi * (np.arange(2 * half) + 0.5) / (2 * half))
    parts = []
    for samples, at in ((before, stop), (after, start)):
        wide = np.pad(samples.astype(np.float64), half)
        parts.append(wide[at : at + 2 * half])
    parts = [np.pad(part, (0, 2 * half - len(part))) for part in parts]
    return np.asarray(parts[0] * (1 - rise) + parts[1] * rise, np.float64)
