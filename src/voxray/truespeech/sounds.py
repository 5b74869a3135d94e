"""Sounds that are not speech, made by arithmetic: events, noises, rooms, channels.

Every sound is drawn anew from the generator that is handed in: the same state gives the same samples. Sounds are at
16 kHz, (N,) float32. Nothing here moves a sound in time: rooms start with their direct path, and filters of finished
sounds are gain curves without phase, so that the times of the words hold.

Slow courses (loudness, pitch) are made at a control rate of 500 Hz and joined by straight lines; tones are read from
tables of one period by a phase that wraps as 32-bit integers do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft, signal

RATE = 16000
SHORTEST = RATE // 10
"""An event below 0.1 s may hold nothing but its own attack."""

Array = npt.NDArray[np.float32]
Steps = npt.NDArray[np.uint32]
Generator = np.random.Generator

_CONTROL = 32  # samples between two points of a slow course: 2 ms, enough for a cough's onset
_TABLE_BITS = 12
_TOP = 7600.0  # Hz; partials stay below, since what is above 8 kHz folds back
_FRAME = 320  # 20 ms, the frames that activity is judged by
_ACTIVE = 1e-3  # a frame counts as active down to 30 dB under the loudest

_SCALES = np.array([[0, 2, 4, 5, 7, 9, 11], [0, 2, 3, 5, 7, 8, 10]])  # major, natural minor
_VOWELS = np.array([[730, 1090, 2440], [500, 1500, 2500], [530, 1840, 2480], [570, 840, 2410], [300, 2200, 2950]])
"""Formants of an adult man's a, schwa, e, o and i, in Hz.

**Source:** Peterson and Barney, "Control methods used in a study of the vowels", 1952, table II; the schwa is that of
a uniform tube of 17 cm.
"""


def music(rng: Generator, count: int) -> Array:
    """Return background music: a chord progression with, at random, a melody, a bass and a beat.

    Args:
        rng: draws key, tempo, chords, instruments and parts.
        count: samples, at least ``SHORTEST``.

    Returns:
        (count,) float32, RMS 1.

    Raises:
        ValueError: if ``count`` is below ``SHORTEST``.
    """
    _check(count)
    beat = 4 * round(RATE * 15 / rng.uniform(66, 160))
    lead = int(rng.integers(beat))  # a clip seldom starts on a beat
    chord = beat * int(rng.choice([2, 2, 4]))
    needed = count + lead
    scale, key = _SCALES[rng.integers(2)], int(rng.integers(46, 60))
    progression = np.concatenate([[0], rng.integers(-2, 6, size=int(rng.integers(2, 4)))])
    roots = np.resize(progression, -(-needed // chord))
    tones = np.array([0, 2, 4, 6][: int(rng.integers(3, 5))])

    def part(degrees: npt.NDArray[Any], length: int, octave: int) -> Array:
        steps = scale[degrees % 7] + 12 * (degrees // 7) + key + 12 * octave
        return _line(rng, 440.0 * 2.0 ** ((steps - 69) / 12), length)[:needed]

    mixed = part(tones[:, None] + roots, chord, int(rng.integers(2))) * np.float32(rng.uniform(0.4, 1))
    if rng.random() < 0.75:
        length = beat // int(rng.choice([1, 2, 2, 4]))
        notes = -(-needed // length)
        picked = np.resize(rng.choice(tones, 8), notes) if rng.random() < 0.5 else rng.choice(tones, notes)
        mixed += part((roots[np.arange(notes) * length // chord] + picked)[None], length, 1) * np.float32(rng.uniform(0.5, 1.5))
    if rng.random() < 0.6:
        length = beat * int(rng.choice([1, 2]))
        mixed += part(roots[np.arange(-(-needed // length)) * length // chord][None], length, -1) * np.float32(
            rng.uniform(0.5, 1.5)
        )
    if rng.random() < 0.5:
        mixed += np.resize(_bar(rng, beat), needed) * np.float32(rng.uniform(0.3, 1.2))
    return _unit(mixed[lead:])


def applause(rng: Generator, count: int) -> Array:
    """Return applause: many short bursts of noise at random times, from hands of different sizes, swelling at the start.

    Args:
        rng: draws the size of the crowd, its hands and how it swells.
        count: samples, at least ``SHORTEST``.

    Returns:
        (count,) float32, RMS 1 over its active parts.

    Raises:
        ValueError: if ``count`` is below ``SHORTEST``.
    """
    _check(count)
    hands = 2  # sizes of hands: each has its band
    size = _length(count)
    density = np.exp(rng.uniform(np.log(30), np.log(250)))  # claps a second of one size of hand
    swell = RATE * rng.uniform(0.1, 1.5)
    claps = rng.poisson(density * count / RATE, hands)
    envelopes = np.zeros((hands, count), np.float32)
    for row, clap in zip(envelopes, claps, strict=True):
        times = rng.integers(count, size=clap + 1)  # one at least: a short clip is never silent
        rise = 0.15 + 0.85 * np.minimum(times / swell, 1)
        row[times] = rise * rng.lognormal(0, 0.5, clap + 1)
    decay = np.exp(-1 / (RATE * rng.uniform(0.003, 0.009)))
    bursts = signal.lfilter(np.ones(1, np.float32), np.array([1, -decay], np.float32), envelopes) * _white(rng, count)
    spectra = fft.rfft(bursts, size)
    frequencies = _frequencies(size)
    bands = [_bell(frequencies, centre, rng.uniform(0.6, 1.3)) for centre in rng.uniform(700, 2800, hands)]
    mixed = np.sum([spectrum * (band + np.float32(0.08)) for spectrum, band in zip(spectra, bands, strict=True)], axis=0)
    return _unit(fft.irfft(mixed, size)[:count])


def laughter(rng: Generator, count: int) -> Array:
    """Return laughter: bouts of four to six "ha" a second that fall in pitch and loudness, with breaths between them.

    **Source:** Bachorowski, Smoski and Owren, "The acoustic features of human laughter", 2001, for the rate of the
    calls, their pitch and the share of unvoiced ones.

    Args:
        rng: draws the person, the vowel, the bouts.
        count: samples, at least ``SHORTEST``.

    Returns:
        (count,) float32, RMS 1 over its active parts.

    Raises:
        ValueError: if ``count`` is below ``SHORTEST``.
    """
    _check(count)
    tract = rng.uniform(0.95, 1.45)  # 1 a man, 1.17 a woman, 1.4 a child
    base = 150 * 2 ** (2.4 * (tract - 0.95)) * np.exp(rng.normal(0.15, 0.2))
    onsets, places, periods, inhales = _bouts(rng, count / RATE)
    times = np.arange(_points(count)) * (_CONTROL / RATE)
    last = np.maximum(np.searchsorted(onsets, times, side="right") - 1, 0)
    within = (times - onsets[last]) / periods[last]  # of the current "ha": 0 to 1, beyond it the pause
    loudness = rng.uniform(0.78, 0.95) ** places * np.exp(rng.normal(0, 0.15, len(places)))
    opening = rng.uniform(0.2, 0.4)
    voiced = _bump(within, opening - 0.05, opening + rng.uniform(0.35, 0.5)) * loudness[last]
    breath = _bump(within, 0, opening + 0.12) * loudness[last] * rng.uniform(0.08, 0.4)
    inhaled = np.sum([_bump(times, start, end) for start, end in inhales], axis=0) * rng.uniform(0.03, 0.15)
    bend = rng.uniform(0.1, 0.5)
    pitch = base * (1 - bend * np.clip(within, 0, 1)) * rng.uniform(0.93, 1.0) ** places[last]
    pitch *= np.exp(rng.normal(0, 0.04, len(places)))[last]
    voicing = rng.uniform(0.6, 1) if rng.random() < 0.8 else rng.uniform(0, 0.12)  # some laugh without voice
    voice = _glottis(rng, _course(pitch, count)) * _course(voicing * voiced, count)
    source = voice + _white(rng, count) * _course(breath + 0.08 * voiced + inhaled, count)
    formants = np.concatenate([_VOWELS[rng.integers(len(_VOWELS))], [3500, 4500]]) * tract * np.exp(rng.normal(0, 0.05, 5))
    return _unit(_resonate(source, formants, rng.uniform(1, 2) * np.array([90.0, 110, 170, 250, 300])))


def cough(rng: Generator, count: int) -> Array:
    """Return one to three coughs: each a burst of noise, a breathy stretch, then a short voiced tail, with silence around.

    **Source:** Korpas, Sadlonova and Vrabec, "Analysis of the cough sound: an overview", 1996, for the three phases.

    Args:
        rng: draws the person, the number of coughs and their place.
        count: samples, at least ``SHORTEST``.

    Returns:
        (count,) float32, RMS 1 over its active parts.

    Raises:
        ValueError: if ``count`` is below ``SHORTEST``.
    """
    _check(count)
    seconds = count / RATE
    lengths = rng.uniform(0.22, 0.5, int(rng.integers(1, 4)))
    starts = np.concatenate([[0], np.cumsum(lengths + rng.uniform(0.08, 0.5, len(lengths)))[:-1]])
    starts += rng.uniform(0, 1) * max(0.0, seconds - starts[-1] - lengths[-1])
    times = np.arange(_points(count)) * (_CONTROL / RATE)
    tract = rng.uniform(0.9, 1.4)  # 1 a man, 1.17 a woman, 1.4 a child
    pitch = np.full_like(times, 130 * tract * tract * rng.uniform(0.7, 1.8))
    noisy, voiced = np.zeros_like(times), np.zeros_like(times)
    for start, length in zip(starts, lengths, strict=True):
        since = times - start
        level = rng.uniform(0.5, 1)
        attack = np.clip(since / 0.004, 0, 1)
        fade = np.clip((length - since) / (0.3 * length), 0, 1)
        burst = np.exp(-np.maximum(since, 0) / rng.uniform(0.012, 0.035))
        noisy += level * attack * fade * (burst + rng.uniform(0.08, 0.25))
        voiced += level * rng.uniform(0, 0.6) * _bump(since, rng.uniform(0.35, 0.55) * length, length)
        pitch *= np.where((since >= 0) & (since <= length), 1.1 - 0.4 * since / length, 1)
    voice = _glottis(rng, _course(pitch, count)) * _course(voiced, count)
    source = _white(rng, count) * _course(noisy, count)
    throat = tract * rng.uniform([350, 1000, 2100], [750, 1700, 3300])
    wide = rng.uniform([150, 250, 400], [400, 600, 900])
    resonant = _resonate(source + voice, throat, wide)
    direct = rng.uniform(0.2, 0.9) * _rms(resonant) / _rms(source)  # the lips' own turbulence, past the throat
    return _unit(resonant + np.float32(direct) * source)


EVENTS: dict[str, Callable[[Generator, int], Array]] = {
    "BGM": music,
    "Applause": applause,
    "Laughter": laughter,
    "Cough": cough,
}
"""What makes each event that SenseVoice has a label for, by the label."""


def noise(rng: Generator, count: int) -> Array:
    """Return a steady noise: white, pink, brown, speech-shaped, mains hum in hiss, or that of a street.

    Args:
        rng: draws the kind and its shape.
        count: samples, at least 1.

    Returns:
        (count,) float32, RMS 1.
    """
    frequencies = np.maximum(_frequencies(_length(count)), 20)
    kind = rng.integers(6)
    if kind < 3:
        sound = _shaped(rng, count, frequencies ** np.float32(-0.5 * kind))
    elif kind == 3:
        # Flat to a corner, then 9 dB an octave down: the long-term spectrum of talkers (Byrne and others, 1994).
        corner = rng.uniform(350, 700)
        sound = _shaped(rng, count, _shelf(frequencies, corner, 1.5) * _high_pass(frequencies, 90, 2))
    elif kind == 4:
        partials = rng.lognormal(0, 0.8, 24) / np.arange(1, 25) ** rng.uniform(0.6, 1.6)
        step = np.full(count, rng.choice([50, 60]) * rng.uniform(0.998, 1.002), np.float32)
        hum = _read(_table(rng, partials), _accumulate(step))
        sound = hum + np.float32(rng.uniform(0.03, 0.4)) * _white(rng, count)
    else:
        rumble = _shaped(rng, count, _shelf(frequencies, rng.uniform(80, 500), rng.uniform(0.6, 1.2)))
        depth, points = rng.uniform(0.3, 1.0), max(2, count // RATE * 2 + 2)
        slow = np.exp(depth * rng.standard_normal(points))
        sound = rumble * _course(np.interp(np.linspace(0, points - 1, _points(count)), np.arange(points), slow), count)
    result: Array = sound / np.float32(_rms(sound))
    return result


def room(rng: Generator) -> Array:
    """Return the impulse response of a room whose direct path comes at once.

    Convolve a sound with it and cut the result to the sound's length: what started at a time still starts there.

    Args:
        rng: draws the reverberation time (0.1 to 0.6 s for 60 dB) and the ratio of the direct sound's energy to all that
            follows (3 to 20 dB).

    Returns:
        (N,) float32: 1 at sample 0, which is its maximum, then early reflections and a diffuse tail that dies
        exponentially; N samples are the reverberation time.
    """
    seconds = rng.uniform(0.1, 0.6)
    energy = 10 ** (-rng.uniform(3, 20) / 10)
    count = int(RATE * seconds)
    times = np.arange(count, dtype=np.float32) / np.float32(RATE)
    colour = rng.uniform(0, 0.6)  # walls take the high tones first
    tail = signal.lfilter([1 - colour], [1, -colour], _white(rng, count)) * np.exp(np.float32(-3 * np.log(10) / seconds) * times)
    tail[: int(RATE * rng.uniform(0.002, 0.006))] = 0
    early = np.zeros(count)
    arrivals = rng.uniform(0.0015, 0.025, int(rng.integers(3, 9)))
    early[(RATE * arrivals).astype(int)] = rng.choice([1, 1, 1, -1], len(arrivals)) / (1 + 200 * arrivals)
    share = rng.uniform(0.2, 0.6)
    response = early * np.sqrt(share * energy / np.sum(early**2)) + tail * np.sqrt((1 - share) * energy / np.sum(tail**2))
    response[0] = 1
    return np.asarray(response, np.float32)


def band_limit(rng: Generator, sound: Array) -> Array:
    """Return a sound as a random channel passes it: a telephone, a 4 kHz limit, a bass cut, a shelf or a small speaker.

    Args:
        rng: draws the channel.
        sound: (N,) float32.

    Returns:
        (N,) float32, not shifted in time; its level is what the channel leaves.
    """

    def telephone(hertz: Array) -> Array:
        return _high_pass(hertz, rng.uniform(270, 330), 6) * _low_pass(hertz, rng.uniform(3200, 3500), 10)

    def narrow(hertz: Array) -> Array:
        return _low_pass(hertz, rng.uniform(3600, 4200), 10)

    def bass_cut(hertz: Array) -> Array:
        return _high_pass(hertz, rng.uniform(60, 250), rng.uniform(1, 2.5))

    def shelf(hertz: Array) -> Array:
        amount = 10 ** (rng.uniform(-12, 6) / 20)
        result: Array = np.float32(1) + np.float32(amount - 1) * _high_pass(hertz, rng.uniform(1000, 4000), 2)
        return result

    def speaker(hertz: Array) -> Array:
        peak = 1 + np.float32(rng.uniform(0.2, 1.5)) * _bell(hertz, rng.uniform(700, 3000), rng.uniform(0.3, 0.8))
        result: Array = _high_pass(hertz, rng.uniform(180, 500), 3) * _low_pass(hertz, rng.uniform(4500, 7500), 4) * peak
        return result

    channels = (telephone, narrow, bass_cut, shelf, speaker)
    return _weigh(sound, channels[rng.integers(len(channels))])


def tilt(sound: Array, decibels_per_octave: float) -> Array:
    """Return a sound with its spectrum tilted around 500 Hz: vocal effort, +3 as if pressed, -3 as if soft.

    Args:
        sound: (N,) float32.
        decibels_per_octave: slope of the gain from 50 Hz up; constant below.

    Returns:
        (N,) float32, not shifted in time, of the RMS that it had.
    """
    exponent = np.float32(decibels_per_octave / (20 * np.log10(2)))
    tilted = _weigh(sound, lambda hertz: (np.maximum(hertz, 50) / np.float32(500)) ** exponent)
    level = _rms(tilted)
    return tilted * np.float32(_rms(sound) / level) if level else tilted


def hiss(rng: Generator, count: int) -> Array:
    """Return the floor that keeps log filter banks finite: (count,) float32 white noise 60 dB under a full scale of 1."""
    result: Array = _white(rng, count) * np.float32(1e-3)
    return result


def _check(count: int) -> None:
    if count < SHORTEST:
        raise ValueError(f"an event of {count} samples is too short: ask for at least {SHORTEST} (0.1 s)")


def _white(rng: Generator, count: int) -> Array:
    return rng.standard_normal(count, dtype=np.float32)


def _rms(sound: Array) -> float:
    return float(np.sqrt(np.vdot(sound, sound) / max(len(sound), 1)))


def _unit(sound: npt.NDArray[Any]) -> Array:
    """Scale a sound to RMS 1 over the frames that are at most 30 dB below its loudest one."""
    sound = sound.astype(np.float32)
    starts = np.arange(0, len(sound), _FRAME)
    energy = np.add.reduceat(sound * sound, starts)
    sizes = np.diff(starts, append=len(sound))
    power = energy / sizes
    active = power >= _ACTIVE * power.max()
    scaled: Array = sound * np.float32(np.sqrt(sizes[active].sum() / energy[active].sum()))
    return scaled


def _length(count: int) -> int:
    """Return a length from ``count`` up that the Fourier transform is quick for."""
    return int(fft.next_fast_len(count, real=True))


def _frequencies(size: int) -> Array:
    """Return the frequencies, Hz, of the transform of ``size`` samples."""
    result: Array = np.arange(size // 2 + 1, dtype=np.float32) * np.float32(RATE / size)
    return result


def _shaped(rng: Generator, count: int, gain: Array) -> Array:
    """Return noise of a spectrum: ``gain`` is for ``_frequencies(_length(count))``; no constant part."""
    spectrum = rng.standard_normal(2 * len(gain), dtype=np.float32).view(np.complex64) * gain
    if count > 1:
        spectrum[0] = 0
    shaped: Array = fft.irfft(spectrum, _length(count))[:count]
    return shaped


def _weigh(sound: Array, gain: Callable[[Array], Array]) -> Array:
    """Multiply a sound's spectrum by a real gain; 64 ms of zeros keep its end from wrapping onto its start."""
    if not len(sound):
        return np.zeros(0, np.float32)
    size = _length(len(sound) + 1024)
    spectrum = fft.rfft(sound, size) * gain(_frequencies(size))
    weighed: Array = fft.irfft(spectrum, size)[: len(sound)].astype(np.float32, copy=False)
    return weighed


def _low_pass(hertz: Array, corner: float, order: float) -> Array:
    """Return Butterworth's gain: 3 dB down at the corner, then 6 dB an octave times the order."""
    gain: Array = 1 / np.sqrt(np.float32(1) + (hertz / np.float32(corner)) ** np.float32(2 * order))
    return gain


def _high_pass(hertz: Array, corner: float, order: float) -> Array:
    return _low_pass(np.float32(corner) / np.maximum(hertz, 1), 1.0, order)


def _shelf(hertz: Array, corner: float, power: float) -> Array:
    """Return a gain that is flat below the corner and falls by 6 dB an octave times ``power`` above."""
    result: Array = (np.float32(1) + (hertz / np.float32(corner)) ** 2) ** np.float32(-power / 2)
    return result


def _bell(hertz: Array, centre: float, octaves: float) -> Array:
    """Return a gain of 1 at the centre that is ``exp(-1/2)`` at so many octaves from it."""
    away = np.log2(np.maximum(hertz, 1) / np.float32(centre)) / np.float32(octaves)
    gain: Array = np.exp(np.float32(-0.5) * away * away)
    return gain


def _points(count: int) -> int:
    return -(-count // _CONTROL) + 1


def _course(values: npt.NDArray[Any], count: int) -> Array:
    """Join ``_points(count)`` values, one each 2 ms, by straight lines: (count,)."""
    values = values.astype(np.float32)
    ramp = np.arange(_CONTROL, dtype=np.float32) / np.float32(_CONTROL)
    joined: Array = (values[:-1, None] + np.diff(values)[:, None] * ramp).reshape(-1)[:count]
    return joined


def _bump(times: npt.NDArray[Any], start: float, end: float) -> npt.NDArray[Any]:
    """Return a hill of one half sine wave from start to end, 0 outside."""
    hill: npt.NDArray[Any] = np.sin(np.pi * np.clip((times - start) / (end - start), 0, 1))
    return hill


def _table(rng: Generator, partials: npt.NDArray[Any]) -> Array:
    """Return one period, RMS 1, with the amplitudes of its partials, at random phases."""
    size = 1 << _TABLE_BITS
    spectrum = np.zeros(size // 2 + 1, np.complex128)
    spectrum[1 : len(partials) + 1] = partials * np.exp(2j * np.pi * rng.random(len(partials)))
    period: Array = fft.irfft(spectrum, size).astype(np.float32)
    period /= np.float32(_rms(period))
    return period


def _steps(hertz: npt.NDArray[Any]) -> Steps:
    """Return what the phase gains in a sample; a whole period is 2**32."""
    steps: Steps = (hertz * (2.0**32 / RATE)).astype(np.uint32)
    return steps


def _accumulate(hertz: npt.NDArray[Any]) -> Steps:
    return np.cumsum(_steps(hertz), dtype=np.uint32)


def _read(table: Array, phases: Steps) -> Array:
    tone: Array = table[phases >> np.uint32(32 - _TABLE_BITS)]
    return tone


def _glottis(rng: Generator, pitch: Array) -> Array:
    """Return a voice's source before its tract: partials that fall by 4 to 9 dB an octave, the radiation of the lips included."""
    partials = np.arange(1, 1 + int(_TOP / pitch.max())) ** -rng.uniform(0.7, 1.5)
    return _read(_table(rng, partials), _accumulate(pitch))


def _resonate(source: Array, formants: npt.NDArray[Any], widths: npt.NDArray[Any]) -> Array:
    """Pass a source through resonances in a row, each with a gain of 1 at 0 Hz.

    **Source:** Klatt, "Software for a cascade/parallel formant synthesizer", 1980, equations 1 and 2.
    """
    radius = np.exp(-np.pi * widths / RATE)
    first, second = -2 * radius * np.cos(2 * np.pi * formants / RATE), radius * radius
    nought = np.zeros_like(first)
    sections = np.stack([1 + first + second, nought, nought, nought + 1, first, second], axis=1)
    passed: Array = signal.sosfilt(sections, source).astype(np.float32)
    return passed


def _bouts(rng: Generator, seconds: float) -> tuple[npt.NDArray[Any], ...]:
    """Return when the calls of laughter start and breath is drawn.

    Returns:
        For each call: its start (s), its place in the bout from 0, the time to the next (s); for each breath: (B, 2) its
        start and end (s).
    """
    rate = rng.uniform(4, 6)
    at = rng.uniform(0, min(0.3, 0.2 * seconds))
    onsets, places, periods, inhales = [], [], [], []
    while at < seconds:
        calls = int(rng.integers(3, 13))
        lengths = np.linspace(1, rng.uniform(1, 1.15), calls) / rate * rng.uniform(0.96, 1.04, calls)
        onsets.append(at + np.concatenate([[0], np.cumsum(lengths)[:-1]]))
        places.append(np.arange(calls))
        periods.append(lengths)
        end = at + float(lengths.sum())
        at = end + rng.uniform(0.3, 1.0)
        inhales.append((end, end + rng.uniform(0.6, 0.95) * (at - end)))
    return np.concatenate(onsets), np.concatenate(places), np.concatenate(periods), np.array(inhales)


def _line(rng: Generator, hertz: npt.NDArray[Any], length: int) -> Array:
    """Play notes one after another on an instrument of its own.

    Args:
        rng: draws the instrument: its partials, its attack and how its tones die away.
        hertz: (V, N) of V voices that play together.
        length: samples of a note.

    Returns:
        (N * length,) float32, of an RMS of about 1.
    """
    many = max(2, min(int(_TOP / hertz.max()), int(rng.integers(3, 20))))
    ranks = np.arange(1, many + 1)
    partials = ranks ** -rng.uniform(0.7, 2.5) * rng.lognormal(0, 0.5, many)
    partials[1::2] *= rng.choice([1.0, 1.0, 0.15])  # reeds such as the clarinet have weak even partials
    times = np.arange(length, dtype=np.float32)
    attack = RATE * np.exp(rng.uniform(np.log(0.002), np.log(0.1)))
    release = np.minimum(1, (length - times) / np.float32(min(320, length / 4)))
    decay = length * np.exp(rng.uniform(np.log(0.3), np.log(4)))
    envelope = np.minimum(1, times / np.float32(min(attack, length / 3))) * np.exp(-times / np.float32(decay)) * release
    phases: Steps = (_steps(hertz)[:, :, None] * np.arange(length, dtype=np.uint32)).astype(np.uint32, copy=False)
    notes = _read(_table(rng, partials), phases).sum(axis=0) * envelope
    notes *= rng.uniform(0.6, 1, (hertz.shape[1], 1)).astype(np.float32) / np.float32(_rms(envelope) * np.sqrt(len(hertz)))
    line: Array = notes.reshape(-1)
    return line


def _bar(rng: Generator, beat: int) -> Array:
    """Return a bar of four beats of a drum kit: kick, snare and hats, RMS 1."""
    times = np.arange(beat, dtype=np.float32) / np.float32(RATE)
    fall, low = rng.uniform(20, 50), rng.uniform(45, 65)
    kick = np.sin(2 * np.pi * (low * times + rng.uniform(1, 3) * (1 - np.exp(-fall * times)))) * np.exp(-times * rng.uniform(8, 20))
    snare = _white(rng, beat) * np.exp(-times * rng.uniform(15, 40)) * rng.uniform(0.2, 0.7)
    hat = np.diff(_white(rng, beat + 1)) * np.exp(-times * rng.uniform(40, 120)) * rng.uniform(0.05, 0.3)
    half = beat // 2
    hats = hat.copy()
    hats[half:] += hat[: beat - half]
    strokes = np.stack([kick, snare, kick, snare]) + hats
    if rng.random() < 0.4:
        strokes[2, half:] += kick[: beat - half]
    bar: Array = strokes.reshape(-1).astype(np.float32)
    result: Array = bar / np.float32(_rms(bar))
    return result
