"""The bundled clips.

Each is the first draw of its kind, a held-out sentence in a held-out voice, that is of handy length and that the models
get right. In ``en_noise_burst`` white noise lies over one word, as loud as it takes to make just that word come out
wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from recipe.agreement import sounds
from voxray.truespeech.clip import CLEAN, Clip, Recipe, Span
from voxray.truespeech.spoken import RATE
from voxray.truespeech.voices import HELD_OUT
from voxray.truespeech.workers import clips
from voxray.types import Audio

SEED = 21
SECONDS = (2.0, 3.6)
WORDS = (4, 6)
DRAWS = 640
NOISY = "en_noise_burst"
LOUDER = range(-6, 25, 2)  # dB over the word


@dataclass(frozen=True, slots=True)
class Kind:
    """What a bundled clip shall hold; ``event`` is empty for nothing but speech."""

    language: str
    emotion: str
    event: str = ""

    @property
    def recipe(self) -> Recipe:
        """The recipe that draws such clips."""
        emotional = self.emotion != "NEUTRAL"
        return replace(
            CLEAN,
            languages=(self.language,),
            variants=HELD_OUT,
            emotions=(self.emotion,) if emotional else CLEAN.emotions,
            emotional=float(emotional),
            events=(self.event,) if self.event else (),
            eventful=float(bool(self.event)),
            concat=0.0,
            grammar=1.0,
            held_out=True,
        )


KINDS = {
    "zh_happy_speech": Kind("zh", "HAPPY"),
    "zh_sad_applause": Kind("zh", "SAD", "Applause"),
    "yue_neutral_speech": Kind("yue", "NEUTRAL"),
    "en_neutral_speech": Kind("en", "NEUTRAL"),
    "en_happy_bgm": Kind("en", "HAPPY", "BGM"),
    "ja_sad_speech": Kind("ja", "SAD"),
    "ko_angry_speech": Kind("ko", "ANGRY"),
}


def candidates(kind: Kind, models: list[Any], seed: int) -> Iterator[Clip]:
    """Draw clips of a kind that are of handy length and that every model gets right, tags included."""
    for clip in clips(kind.recipe, seed, DRAWS):
        handy = SECONDS[0] <= len(clip.samples) / RATE <= SECONDS[1] and WORDS[0] <= len(clip.words) <= WORDS[1]
        if handy and heard(clip, models) == (clip.text, clip.language, clip.emotion, clip.event):
            yield clip


def heard(clip: Clip, models: list[Any]) -> tuple[str, ...] | None:
    """Return text, language, emotion and event that every model finds, told the language or not; None if they differ."""
    (sound,) = sounds([clip])
    found = [model.transcribe(Audio(sound), language) for model in models for language in ("auto", clip.language)]
    answers = {(one.text, *(tag.label for tag in one.tags[:3])) for one in found}
    return answers.pop() if len(answers) == 1 else None


def with_burst(clip: Clip, place: int, decibels: float) -> Clip:
    """Lay white noise over one word of a clip, from its start to its end, some decibels louder than the word."""
    word = clip.words[place]
    said = clip.samples[word.start : word.end]
    level = float(np.sqrt(np.mean(said**2))) * 10 ** (decibels / 20)
    samples = clip.samples.copy()
    samples[word.start : word.end] += level * np.random.default_rng(SEED).standard_normal(len(said)).astype(np.float32)
    return replace(clip, samples=np.clip(samples, -1.0, 1.0), events=(Span("noise", word.start, word.end),))


def misheard(models: list[Any]) -> tuple[Clip, str, str]:
    """Return a clip whose burst makes one word come out as another in every model, and the text and event that are then found.

    A burst of noise may well be taken for an event; language and emotion stay right.

    Raises:
        ValueError: if no burst on any draw does so.
    """
    for clip in islice(candidates(Kind("en", "NEUTRAL"), models, SEED + 1), 60):
        for place in range(1, len(clip.words) - 1):
            for decibels in LOUDER:
                noisy = with_burst(clip, place, decibels)
                answer = heard(noisy, models)
                if answer is None or answer != heard(with_burst(clip, place, decibels + 1), models):
                    continue  # on an edge, where rounding decides
                text, language, emotion, event = answer
                words = text.split()
                others = [i for i, (one, word) in enumerate(zip(words, clip.words, strict=False)) if one != word.text]
                right = (language, emotion) == (clip.language, clip.emotion)
                if right and len(words) == len(clip.words) and others == [place]:
                    return noisy, text, event
    raise ValueError("no burst of noise makes exactly one word come out wrong")


def told(clip: Clip) -> dict[str, Any]:
    """Return a clip's truth as the demo reads it, times in seconds."""
    return {
        "language": clip.language,
        "emotion": clip.emotion,
        "event": clip.event,
        "text": clip.text,
        "words": [{"word": w.text, "start": w.start / RATE, "end": w.end / RATE, "exact": w.exact} for w in clip.words],
        "events": [{"label": span.label, "start": span.start / RATE, "end": span.end / RATE} for span in clip.events],
        "voice": clip.truth()["speaker"],
        "duration": len(clip.samples) / RATE,
    }


def draw(models: list[Any], out: Path) -> Iterator[str]:
    """Write the clips and ``truth.json`` to a folder, and say of each what it holds.

    Raises:
        ValueError: if the models get no clip of some kind right.
    """
    out.mkdir(parents=True, exist_ok=True)
    truth = {}
    for name, kind in KINDS.items():
        clip = next(candidates(kind, models, SEED), None)
        if clip is None:
            raise ValueError(f"the models get no clip right of the kind {name} in {DRAWS} draws")
        _write(clip, out / f"{name}.wav")
        truth[f"{name}.wav"] = told(clip)
        yield f"{name}: {clip.text}"
    clip, text, event = misheard(models)
    _write(clip, out / f"{NOISY}.wav")
    truth[f"{NOISY}.wav"] = {**told(clip), "heard": text, "heard_event": event}
    yield f"{NOISY}: {clip.text}, heard as: {text} ({event})"
    written = json.dumps(truth, ensure_ascii=False, indent=1, sort_keys=True)
    (out / "truth.json").write_text(written + "\n", encoding="utf-8")


def _write(clip: Clip, path: Path) -> None:
    import soundfile

    soundfile.write(path, clip.samples, RATE, subtype="PCM_16")
