"""What is planted into a take: a burst, a gap or another word on one of its words, or an event beside or over the speech."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from voxray.truespeech import sounds
from voxray.truespeech.clip import Range, rms
from voxray.truespeech.engine import Engine
from voxray.truespeech.sets.takes import PEAK, Generator, Pcm, Span, Take, pcm, unlike
from voxray.truespeech.spoken import RATE, TRIM, Rejected, Sound, concat

CAUSES = ("burst", "gap", "word")
BURST = 0.15  # seconds
GAP_SHARE: Range = (0.5, 0.8)  # of the word
BURST_LEVEL: Range = (0.0, 10.0)  # dB over the word; quieter ones seldom change what is heard
WORD_LEVEL: Range = (0.0, 6.0)
FADE = 0.005  # seconds, at both ends of what is planted: a click would be a plant of its own
EVENT: Range = (0.6, 1.5)  # seconds
EVENT_LEVEL: Range = (-3.0, 6.0)  # dB over the speech
MARGIN = 0.1  # seconds between an event and what is beside it


@dataclass(frozen=True, slots=True)
class Planted:
    """A take without and with what is planted in it.

    Attributes:
        clean: without it.
        samples: (N,) int16, with it; outside of the span equal to the clean take's.
        span: where it is.
        level: dB of the plant over the word, or of the event over the speech; None for a gap.
    """

    clean: Take
    samples: Pcm
    span: Span
    level: float | None


def cause(engine: Engine, take: Take, kind: str, rng: Generator) -> tuple[Planted, int]:
    """Plant a cause of error inside one word of a take.

    Args:
        engine: says the other word.
        take: the sound as it was.
        kind: ``burst`` of white noise, ``gap`` that leaves the hiss alone, or another ``word`` by the same voice.
        rng: draws the word and what is planted.

    Returns:
        What was planted, and the index of the word.

    Raises:
        Rejected: if no word is long enough, or none is unlike it.
    """
    long = [place for place, word in enumerate(take.words) if word.end - word.start >= (BURST + 2 * FADE) * RATE]
    if not long:
        raise Rejected("no word is long enough")
    place = int(rng.choice(long))
    start, end = take.span(place)
    own = take.samples[start:end]
    if kind == "gap":
        count = max(round(BURST * RATE), round(rng.uniform(*GAP_SHARE) * len(own)))
        span = _inside(start, end, count, rng)
        window = _window(count)
        kept = take.samples[slice(*span)] * (1 - window) + pcm(sounds.hiss(rng, count)) * window
        return Planted(take, _with(take, span, kept), span, None), place
    if kind == "burst":
        sound, decibels = sounds.hiss(rng, round(BURST * RATE)), rng.uniform(*BURST_LEVEL)
    else:
        sound, decibels = _spoken(engine, take, place, rng)[: len(own)], rng.uniform(*WORD_LEVEL)
    span = _inside(start, end, len(sound), rng)
    louder = rms(own.astype(np.float32)) / rms(sound) * 10 ** (decibels / 20)
    mixed = take.samples[slice(*span)] + sound * louder * _window(len(sound))
    return Planted(take, _with(take, span, mixed), span, round(float(decibels), 2)), place


def event(take: Take, label: str, rng: Generator, *, beside: bool) -> Planted:
    """Plant an event: beside the speech, in hiss that is put before or after it, or over it."""
    count = round(rng.uniform(*EVENT) * RATE)
    decibels = rng.uniform(*EVENT_LEVEL)
    speech = rms(take.samples[take.words[0].start : take.words[-1].end].astype(np.float32))
    if beside:
        take, at = _with_room(take, count + round(MARGIN * RATE), rng)
    else:
        at = int(rng.integers(len(take.samples) - count + 1))
    sound = sounds.EVENTS[label](rng, count)
    sound *= _window(count)
    heard = np.flatnonzero(np.abs(sound) > TRIM * np.abs(sound).max())  # a cough is shorter than its stretch
    first, last = int(heard[0]), int(heard[-1]) + 1
    span = at + first, at + last
    mixed = take.samples[slice(*span)] + sound[first:last] * speech * 10 ** (decibels / 20)
    return Planted(take, _with(take, span, mixed), span, round(float(decibels), 2))


def _spoken(engine: Engine, take: Take, place: int, rng: Generator) -> Sound:
    """Return another word, unlike one of the take, by its speaker."""
    from voxray.truespeech.lexicon import lexicon

    entries = {entry.written: entry for entry in lexicon(take.speaker.language).words}
    other = unlike(engine, entries[take.words[place].text], take.speaker, rng)
    if other is None:
        raise Rejected(f"no word is unlike {take.words[place].text}")
    return concat(engine, (other,), take.speaker, rng).samples


def _with_room(take: Take, count: int, rng: Generator) -> tuple[Take, int]:
    """Put hiss before or after a take, and return where its outer end begins: there the event has its margin to the speech."""
    hiss = pcm(sounds.hiss(rng, count))
    if rng.random() < 0.5:
        moved = tuple(word.moved(count) for word in take.words)
        return replace(take, samples=np.concatenate([hiss, take.samples]), words=moved), 0
    at = len(take.samples) + round(MARGIN * RATE)
    return replace(take, samples=np.concatenate([take.samples, hiss])), at


def _inside(start: int, end: int, count: int, rng: Generator) -> Span:
    """Draw a stretch of ``count`` samples between two places."""
    at = start + int(rng.integers(end - start - count + 1))
    return at, at + count


def _window(count: int) -> npt.NDArray[np.float32]:
    """Return 1 with half cosines at both ends."""
    window = np.ones(count, np.float32)
    ramp = np.sin(np.linspace(0, np.pi / 2, round(FADE * RATE), dtype=np.float32)) ** 2
    window[: len(ramp)], window[-len(ramp) :] = ramp, ramp[::-1]
    return window


def _with(take: Take, span: Span, part: npt.NDArray[np.float32]) -> Pcm:
    samples: Pcm = take.samples.copy()
    samples[slice(*span)] = np.round(np.clip(part, -PEAK, PEAK))
    return samples
