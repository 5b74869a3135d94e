"""From takes and plants to clips of a set: what is asked about each, and where the truth lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from voxray.truespeech.engine import Engine
from voxray.truespeech.sets.plants import CAUSES, Planted, cause, event
from voxray.truespeech.sets.takes import LEAD_IN, Generator, Pcm, Span, Take, fluent, listed, pair, shifted, splice, swapped
from voxray.truespeech.sounds import EVENTS
from voxray.truespeech.spoken import RATE, Rejected, Speaker

EVENT_SECONDS = (4.0, 5.4)  # of a take before hiss is added for an event
TRIES = 40


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip of a set.

    Attributes:
        name: of the set.
        number: in the set, from 1.
        take: the words, and the sound where nothing is planted.
        planted: (N,) int16, the sound with what is planted; the take is the clean one then.
        fields: of the line, beyond those of every clip: ``aims``, ``moved`` and so on.
    """

    name: str
    number: int
    take: Take
    planted: Pcm | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Set and number, such as ``A-0001``."""
        return named(self.name, self.number)

    def line(self, split: str) -> dict[str, Any]:
        """Return the clip's line of the manifest, times in seconds."""
        path, manner = f"{self.name}/{self.number:04}", self.take.speaker.manner
        words = [{"word": w.text, "start": w.start / RATE, "end": w.end / RATE, "exact": w.exact} for w in self.take.words]
        line: dict[str, Any] = {
            "id": self.id,
            "audio": f"{path}.wav",
            "set": self.name,
            "split": split,
            "language": self.take.speaker.language,
            "text": self.take.text,
            "mode": self.take.mode,
            "voice": self.take.speaker.voice,
            "rate": manner.rate,
            "snr": None,
            "words": words,
        }
        return line | ({} if self.planted is None else {"clean": f"{path}-clean.wav"}) | dict(self.fields)


def named(name: str, number: int) -> str:
    """Return the id of a clip."""
    return f"{name}-{number:04}"


def aim(kind: str, span: Span, *, word: int | None = None, label: str | None = None, against: str | None = None) -> dict[str, Any]:
    """Return one question as the manifest writes it; ``span`` in samples is where its evidence lies."""
    return {"kind": kind, "word": word, "label": label, "against": against, "span": [at / RATE for at in span]}


def _lists(engine: Engine, speaker: Speaker, number: int, rng: Generator) -> list[Clip]:
    """Set A, and set G from the same takes: every other one is shifted, every other one has two words swapped."""
    take = listed(engine, speaker, rng)
    original = Clip("A", number + 1, take)
    how: dict[str, Any]
    if number % 2:
        one, other = _different(take, rng)
        moved, how = swapped(take, one, other), {"kind": "swap", "words": [one, other]}
    else:
        moved, how = shifted(take, rng), {"kind": "shift", "seconds": LEAD_IN}
    return [original, Clip("G", number + 1, moved, fields={"pair": original.id, "moved": how})]


def _sentences(engine: Engine, speaker: Speaker, number: int, rng: Generator) -> list[Clip]:
    """Set B."""
    return [Clip("B", number + 1, fluent(engine, speaker, rng))]


def _pairs(engine: Engine, speaker: Speaker, number: int, rng: Generator) -> list[Clip]:
    """Set C."""
    one, two, place = pair(engine, speaker, rng)
    numbers = 2 * number + 1, 2 * number + 2

    def clip(at: int, take: Take, rival: Take) -> Clip:
        asked = aim("contrast", take.span(place), word=place, against=rival.text)
        return Clip("C", numbers[at], take, fields={"aims": [asked], "pair": named("C", numbers[1 - at])})

    return [clip(0, one, two), clip(1, two, one)]


def _causes(engine: Engine, speaker: Speaker, number: int, rng: Generator) -> list[Clip]:
    """Set D: the three causes in turn, on lists and on sentences."""
    kind = CAUSES[number // 3 % len(CAUSES)]  # not number % 3: that is the rate
    for _ in range(TRIES):
        take = (listed if number // 9 % 2 else fluent)(engine, speaker, rng)
        try:
            planted, word = cause(engine, take, kind, rng)
        except Rejected:
            continue
        asked = aim("planted", planted.span, word=word, against=take.text)
        return [_planted("D", number, planted, {"aims": [asked], "plant": {"kind": kind, "level": planted.level}})]
    raise Rejected(f"no {kind} fits")


def _splices(engine: Engine, speaker: Speaker, number: int, rng: Generator) -> list[Clip]:
    """Set E."""
    take, other, span = splice(engine, speaker, rng)
    asked = aim("language", span, label=speaker.language, against=other)
    return [Clip("E", number + 1, take, fields={"aims": [asked]})]


def _events(engine: Engine, speaker: Speaker, number: int, rng: Generator) -> list[Clip]:
    """Set F: the four events in turn, beside the speech and over it."""
    labels = tuple(EVENTS)
    label, beside = labels[number // 2 % len(labels)], not number % 2
    take = (listed if number // 8 % 2 else fluent)(engine, speaker, rng, EVENT_SECONDS)
    planted = event(take, label, rng, beside=beside)
    asked = aim("event", planted.span, label=label, against="Speech")
    how = {"kind": label, "level": planted.level, "beside": beside}
    return [_planted("F", number, planted, {"aims": [asked], "plant": how})]


MAKERS: Mapping[str, Callable[[Engine, Speaker, int, Generator], list[Clip]]] = {
    "A": _lists,
    "B": _sentences,
    "C": _pairs,
    "D": _causes,
    "E": _splices,
    "F": _events,
}
"""What makes the clips of one place of a set, by its name; set G is made with A."""


def _planted(name: str, number: int, planted: Planted, fields: Mapping[str, Any]) -> Clip:
    return Clip(name, number + 1, planted.clean, planted.samples, fields)


def _different(take: Take, rng: Generator) -> tuple[int, int]:
    """Draw two places in order whose words differ."""
    while True:
        one, other = sorted(int(place) for place in rng.choice(len(take.words), 2, replace=False))
        if take.words[one].text != take.words[other].text:
            return one, other
