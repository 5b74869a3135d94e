"""A clip: speech with everything that lies over it, and the exact truth of both."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import oaconvolve

from voxray.truespeech import sounds
from voxray.truespeech.engine import Engine
from voxray.truespeech.lexicon import LANGUAGES, Entry, lexicon
from voxray.truespeech.spoken import RATE, TRIM, Rejected, Sound, Speaker, Spoken, Word, concat, sentence
from voxray.truespeech.voices import EMOTIONS, KNOWN, manner

NO_SPEECH, NO_EMOTION, NO_EVENT, SPEECH = "nospeech", "EMO_UNKNOWN", "Event_UNK", "Speech"
LEVEL = 0.06  # RMS of a neutral voice at no gain, full scale 1
HELD_OUT_ONE_IN = 10
TRIES = 40

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Span:
    """Where an event sounds: its label, and its first and last sample at 16 kHz."""

    label: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Clip:
    """A sound and its truth.

    Attributes:
        samples: (N,) float32 in -1 to 1, 16 kHz.
        language: tag, or ``nospeech``.
        emotion: tag, or ``EMO_UNKNOWN`` where nobody speaks.
        event: tag of what is mixed in, ``Speech`` for nothing, ``Event_UNK`` where there is neither.
        text: the transcript.
        words: with their times; empty where nobody speaks.
        events: where the event sounds.
        speaker: voice and manner; None where nobody speaks.
        mode: ``sentence``, ``concat`` or ``none``.
        conditions: what was done to the sound: ``snr`` in dB, ``room``, ``band``, ``gain`` in dB.
    """

    samples: Sound
    language: str
    emotion: str
    event: str
    text: str
    words: tuple[Word, ...]
    events: tuple[Span, ...]
    speaker: Speaker | None
    mode: str
    conditions: dict[str, float | bool]

    def truth(self) -> dict[str, Any]:
        """Return all but the samples as JSON values; times are samples at 16 kHz."""
        values = {name: getattr(self, name) for name in ("language", "emotion", "event", "text", "mode", "conditions")}
        values["rate"], values["length"] = RATE, len(self.samples)
        values["words"] = [asdict(word) for word in self.words]
        values["events"] = [asdict(span) for span in self.events]
        values["speaker"] = None if self.speaker is None else {"voice": self.speaker.voice, **asdict(self.speaker.manner)}
        return values

    def write(self, path: Path) -> None:
        """Write ``path`` as 16-bit WAV and the truth beside it as JSON."""
        import soundfile

        soundfile.write(path, self.samples, RATE, subtype="PCM_16")
        path.with_suffix(".json").write_text(json.dumps(self.truth(), ensure_ascii=False, indent=1), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What clips are drawn from. Shares are of all clips, 0 to 1; ranges are drawn from evenly.

    Attributes:
        languages, variants, emotions: drawn from evenly.
        emotional: share whose emotion is not neutral.
        events: labels of what may be mixed in, drawn from evenly; eventful: their share.
        silent: share without speech.
        concat: share of the spoken clips that are in concat mode.
        grammar: share of the sentences that follow a pattern; the others are words in open order.
        words: number of words of an open-order sentence, at least and at most.
        noisy: share with noise; snr: its range in dB.
        rooms, bands: shares with a room and with a band limit.
        gain: range in dB.
        held_out: whether only held-out sentences are drawn, or only the others.
    """

    languages: tuple[str, ...] = LANGUAGES
    variants: tuple[str, ...] = KNOWN
    emotions: tuple[str, ...] = tuple(emotion for emotion in EMOTIONS if emotion != "NEUTRAL")
    emotional: float = 0.6
    events: tuple[str, ...] = tuple(sounds.EVENTS)
    eventful: float = 0.3
    silent: float = 0.03
    concat: float = 0.4
    grammar: float = 0.4
    words: tuple[int, int] = (2, 7)
    noisy: float = 0.5
    snr: Range = (5.0, 35.0)
    rooms: float = 0.3
    bands: float = 0.2
    gain: Range = (-15.0, 6.0)
    held_out: bool = False


CLEAN = Recipe(eventful=0.0, silent=0.0, noisy=0.0, rooms=0.0, bands=0.0, gain=(0.0, 0.0))
"""Speech and nothing over it, at its own level."""


@dataclass
class _Mix:
    """A sound under construction: speech alone, all that lies over it, and the truth of both."""

    speech: Sound
    over: Sound
    words: tuple[Word, ...] = ()
    events: tuple[Span, ...] = ()
    conditions: dict[str, float | bool] = field(default_factory=dict)


def is_held_out(text: str) -> bool:
    """Whether a sentence is kept for evaluation: one in ten, by its own letters."""
    return zlib.crc32(text.encode()) % HELD_OUT_ONE_IN == 0


def make_clip(engine: Engine, recipe: Recipe, rng: np.random.Generator) -> Clip:
    """Draw a clip from a recipe and make its sound.

    Raises:
        Rejected: if no sentence of this recipe could be said with known word times in forty tries.
    """
    event = str(rng.choice(recipe.events)) if recipe.events and rng.random() < recipe.eventful else ""
    if rng.random() < recipe.silent:
        return _silent(recipe, event, rng)
    language = str(rng.choice(recipe.languages))
    emotion = str(rng.choice(recipe.emotions)) if rng.random() < recipe.emotional else "NEUTRAL"
    mode = "concat" if rng.random() < recipe.concat else "sentence"
    variant = str(rng.choice(recipe.variants))
    for _ in range(TRIES):
        speaker = Speaker(language, variant, manner(emotion, rng))
        entries = _entries(recipe, language, rng)
        try:
            spoken = _say(engine, entries, speaker, mode, rng)
        except Rejected:
            continue
        mix = _placed(spoken, emotion, event, rng)
        _worsen(mix, recipe, rng)
        return Clip(
            samples=mix.over,
            language=language,
            emotion=emotion,
            event=event or SPEECH,
            text=lexicon(language).written(entries),
            words=mix.words,
            events=mix.events,
            speaker=speaker,
            mode=mode,
            conditions=mix.conditions,
        )
    raise Rejected(f"no sentence with known word times in {language} by {variant}")


def _entries(recipe: Recipe, language: str, rng: np.random.Generator) -> tuple[Entry, ...]:
    words = lexicon(language)
    while True:
        if rng.random() < recipe.grammar:
            entries = words.in_pattern(rng)
        else:
            entries = words.in_open_order(rng, int(rng.integers(recipe.words[0], recipe.words[1] + 1)))
        if is_held_out(words.written(entries)) == recipe.held_out:
            return entries


def _say(engine: Engine, entries: tuple[Entry, ...], speaker: Speaker, mode: str, rng: np.random.Generator) -> Spoken:
    if mode == "concat":
        return concat(engine, entries, speaker, rng)
    return sentence(engine, entries, speaker, int(rng.integers(2**31)))


def _silent(recipe: Recipe, event: str, rng: np.random.Generator) -> Clip:
    count = int(rng.uniform(0.6, 4.0) * RATE)
    mix = _Mix(np.zeros(count, np.float32), np.zeros(count, np.float32))
    if event:
        level = LEVEL * 10 ** (rng.uniform(-15.0, 3.0) / 20)
        _add_event(mix, event, Span(event, 0, count), level, rng)
    _worsen(mix, recipe, rng)
    return Clip(mix.over, NO_SPEECH, NO_EMOTION, event or NO_EVENT, "", (), mix.events, None, "none", mix.conditions)


def _placed(spoken: Spoken, emotion: str, event: str, rng: np.random.Generator) -> _Mix:
    """Give the speech its effort and level, silence around it, and the event over it."""
    prosody = EMOTIONS[emotion]
    speech = sounds.tilt(spoken.samples, rng.uniform(*prosody.effort))
    speech *= LEVEL * 10 ** (rng.uniform(*prosody.level) / 20) / rms(speech)
    space = {"Laughter": 1.5, "Cough": 1.0}.get(event, 0.0) if rng.random() < 0.7 else 0.0
    before = rng.random() < 0.5
    lead = rng.uniform(0.1, 0.5) + space * before
    tail = rng.uniform(0.1, 0.5) + space * (not before)
    padded = np.pad(speech, (round(lead * RATE), round(tail * RATE)))
    mix = _Mix(padded, padded.copy(), tuple(word.moved(round(lead * RATE)) for word in spoken.words))
    if event:
        whole = Span(event, 0, len(padded))
        aside = Span(event, 0, round(space * RATE)) if before else Span(event, len(padded) - round(space * RATE), len(padded))
        span = aside if space else _part(whole, rng)
        decibels = rng.uniform(-8.0, 3.0) if space else rng.uniform(-13.0, -4.0)
        _add_event(mix, event, span, rms(speech) * 10 ** (decibels / 20), rng)
    return mix


def _part(whole: Span, rng: np.random.Generator) -> Span:
    """Return a stretch of at least 1.2 s (or all), half of the time the whole."""
    if rng.random() < 0.5:
        return whole
    length = min(whole.end, round(max(1.2, rng.uniform(0.4, 1.0) * whole.end / RATE) * RATE))
    start = int(rng.integers(whole.end - length + 1))
    return Span(whole.label, start, start + length)


def _add_event(mix: _Mix, event: str, span: Span, level: float, rng: np.random.Generator) -> None:
    sound = sounds.EVENTS[event](rng, span.end - span.start)
    mix.over[span.start : span.end] += level * sound
    heard = np.flatnonzero(np.abs(sound) > TRIM * np.abs(sound).max())  # a cough is shorter than its span
    mix.events += (Span(event, span.start + int(heard[0]), span.start + int(heard[-1]) + 1),)


def _worsen(mix: _Mix, recipe: Recipe, rng: np.random.Generator) -> None:
    """Put the sound into a room, noise, a narrow band and a gain, as the recipe says."""
    level = rms(mix.speech[mix.speech != 0]) if mix.words else LEVEL
    in_room, in_noise, in_band = (bool(rng.random() < share) for share in (recipe.rooms, recipe.noisy, recipe.bands))
    if in_room:
        mix.over = oaconvolve(mix.over, sounds.room(rng))[: len(mix.over)].astype(np.float32)
    if in_noise:
        snr = rng.uniform(*recipe.snr)
        mix.over += level * 10 ** (-snr / 20) * sounds.noise(rng, len(mix.over))
        mix.conditions["snr"] = round(snr, 2)
    if in_band:
        mix.over = sounds.band_limit(rng, mix.over)
    gain = rng.uniform(*recipe.gain)
    mix.over = np.clip(mix.over * 10 ** (gain / 20) + sounds.hiss(rng, len(mix.over)), -1.0, 1.0).astype(np.float32)
    mix.conditions |= {"room": in_room, "band": in_band, "gain": round(gain, 2)}


def rms(sound: Sound) -> float:
    """Return the root mean square of a sound."""
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) if len(sound) else 0.0
