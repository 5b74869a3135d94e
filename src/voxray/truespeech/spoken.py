"""Words said by the engine, with the sample at which each begins and ends.

Two modes. ``sentence``: the engine says the whole sentence and the word times come from its events; fluent, and exact
where the rules below hold. ``concat``: every word is said alone, trimmed, and joined with gaps; no coarticulation, but
the times are exact by construction.

**Source:** the acceptance rules for events are written out in the project's specification of methods, section 10.1:
a WORD event precedes its sound, so a word starts at its first PHONEME; merged and dropped words lose events, so a
sentence counts only if every word has its own; a vowel after a nasal or liquid is announced late, so such a start is
marked as not exact. A plosive is announced at its burst: the closure of 20 to 55 ms before it counts to the word before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from voxray.truespeech.engine import PHONEME, WORD, Engine, Event, Manner
from voxray.truespeech.lexicon import Entry
from voxray.truespeech.voices import ENGINE_LANGUAGE

RATE = 16_000
TRIM = 0.01  # of the peak: where a word alone begins and ends
GAP = (0.04, 0.20)  # seconds between the words of concat mode
SONORANT = re.compile(r"^[,']*[nmNlLr]")
VOWEL = re.compile(r"^[,']*[aeiouyAEIOUV@036]")
FULL_SCALE = 32768.0

Sound = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Word:
    """A spoken word.

    Attributes:
        text: as the transcript writes it.
        start, end: samples at 16 kHz.
        exact: whether the start is known to a frame; False for a vowel that follows a nasal or liquid in sentence mode.
    """

    text: str
    start: int
    end: int
    exact: bool = True

    def moved(self, samples: int) -> Word:
        """Return the word later by a number of samples."""
        return replace(self, start=self.start + samples, end=self.end + samples)


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence as sound: ``samples`` (N,) float32 in -1 to 1 at 16 kHz, and its words in order."""

    samples: Sound
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who says it and how: a language's tag, the engine's voice variant, and the manner."""

    language: str
    variant: str
    manner: Manner

    @property
    def voice(self) -> str:
        """The engine's name of the voice."""
        return f"{ENGINE_LANGUAGE[self.language]}+{self.variant}"


class Rejected(Exception):  # noqa: N818 - no error: the sentence is drawn again
    """The engine's events do not tell where every word is; draw another sentence."""


def sentence(engine: Engine, entries: tuple[Entry, ...], speaker: Speaker, seed: int) -> Spoken:
    """Say words as one sentence.

    Raises:
        Rejected: if a word has no event of its own, or no sound.
    """
    text = " ".join(entry.read for entry in entries)
    said = engine.say(text, speaker.voice, speaker.manner, seed)
    spans = _spans(entries, said.events)
    words = []
    for entry, (start, end, exact) in zip(entries, spans, strict=True):
        begin, stop = (round(at * RATE / engine.rate) for at in (start, end))
        words.append(Word(entry.written, begin, stop, exact))
    return Spoken(resampled(said.samples, engine.rate), tuple(words))


def concat(engine: Engine, entries: tuple[Entry, ...], speaker: Speaker, rng: np.random.Generator) -> Spoken:
    """Say words one by one and join them with gaps of silence.

    Raises:
        Rejected: if a word makes no sound.
    """
    pieces: list[Sound] = []
    words: list[Word] = []
    at = 0
    for entry in entries:
        seed = int(rng.integers(2**31))
        piece = _trimmed(resampled(engine.say(entry.read, speaker.voice, speaker.manner, seed).samples, engine.rate))
        gap = np.zeros(round(rng.uniform(*GAP) * RATE), np.float32)
        words.append(Word(entry.written, at, at + len(piece)))
        pieces += [piece, gap]
        at += len(piece) + len(gap)
    return Spoken(np.concatenate(pieces[:-1]), tuple(words))


def resampled(samples: npt.NDArray[np.int16], rate: int) -> Sound:
    """Return int16 samples of any rate as float32 at 16 kHz, filtered without phase shift."""
    if not len(samples):
        raise Rejected("no sound")
    import soxr

    result: Sound = soxr.resample(samples.astype(np.float32) / FULL_SCALE, rate, RATE)
    return result


def _trimmed(sound: Sound) -> Sound:
    loud = np.flatnonzero(np.abs(sound) > TRIM * np.abs(sound).max(initial=0.0))
    if not len(loud):
        raise Rejected("a word without sound")
    return sound[loud[0] : loud[-1] + 1]


def _spans(entries: tuple[Entry, ...], events: tuple[Event, ...]) -> list[tuple[int, int, bool]]:
    """Return (start, end, exact) of each word, at the engine's rate."""
    begins, at = [], 0
    for entry in entries:
        begins.append(at)
        at += len(entry.read) + 1
    marks: list[int] = []  # index of each word's event
    for index, event in enumerate(events):
        if event.kind != WORD or not event.length:
            continue
        inside = int(np.searchsorted(begins, event.position, side="right")) - 1
        if event.position + event.length > begins[inside] + len(entries[inside].read):
            raise Rejected("an event spans two words")
        if event.position == begins[inside]:
            if inside != len(marks):
                raise Rejected("a word without an event")
            marks.append(index)
    if len(marks) != len(entries):
        raise Rejected("a word without an event")
    spans, before = [], ""
    for first, last in pairwise((*marks, len(events))):
        spans.append(_span(events[first:last], events[last:], before))
        before = [event.phoneme for event in events[first:last] if _voiced(event)][-1]
    return spans


def _span(events: tuple[Event, ...], rest: tuple[Event, ...], before: str) -> tuple[int, int, bool]:
    """Return (start, end, exact) of the word whose events these are; ``before`` is the phoneme that precedes it."""
    sounding = [index for index, event in enumerate(events) if _voiced(event)]
    if not sounding:
        raise Rejected("a word without sound")
    after = [event for event in (*events[sounding[-1] + 1 :], *rest) if event.kind == PHONEME]
    if not after:
        raise Rejected("the last word has no end")
    start, end = events[sounding[0]].sample, after[0].sample
    if end <= start:
        raise Rejected("a word without length")
    exact = not (SONORANT.match(before) and VOWEL.match(events[sounding[0]].phoneme))
    return start, end, exact


def _voiced(event: Event) -> bool:
    return event.kind == PHONEME and not event.phoneme.startswith("_")
