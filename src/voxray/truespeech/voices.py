"""Who speaks, and how: the engine's voice variants, and the prosody and vocal effort of each emotion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voxray.truespeech.engine import Manner

ENGINE_LANGUAGE = {"zh": "cmn", "yue": "yue", "en": "en-us", "ja": "ja", "ko": "ko"}

# Left out: whispers (no pitch to carry a tone), effects (Demonic, croak, robots that clip), and copies of other voices.
_KNOWN = (
    "Alex Alicia Andrea Andy Annie Denis Diogo Gene Henrique Hugo Jacky Lee Marco Mario Mike Nguyen Reed Storm adam anika "
    "announcer antonio aunty belinda benjamin david ed edward f1 f2 f3 f5 grandma grandpa gustave ian iven2 iven4 john "
    "kaukovalta klatt klatt2 klatt3 klatt6 m1 m2 m3 m4 m7 m8 max michel miguel mike2 pablo paul pedro quincy rob robosoft4 "
    "sandro shelby steph steph3 travis zac"
)
_HELD_OUT = "Michael UniRobot edward2 f4 klatt4 linda m6 marcelo norbert steph2 victor Gene2"
KNOWN = tuple(_KNOWN.split())
HELD_OUT = tuple(_HELD_OUT.split())


@dataclass(frozen=True, slots=True)
class Prosody:
    """The ranges that an emotion's manner is drawn from, evenly.

    Attributes:
        rate: words a minute.
        pitch, range: as in :class:`~voxray.truespeech.engine.Manner`.
        effort: spectral tilt in dB an octave; a pressed voice is brighter, a soft one darker.
        level: dB relative to a neutral voice.
    """

    rate: tuple[int, int]
    pitch: tuple[int, int]
    range: tuple[int, int]
    effort: tuple[float, float]
    level: tuple[float, float]


EMOTIONS = {
    "NEUTRAL": Prosody((150, 182), (44, 54), (40, 58), (-0.6, 0.6), (-2.0, 2.0)),
    "HAPPY": Prosody((190, 235), (72, 88), (82, 100), (0.8, 1.8), (0.0, 4.0)),
    "SAD": Prosody((105, 138), (22, 36), (15, 30), (-3.5, -2.0), (-9.0, -4.0)),
    "ANGRY": Prosody((220, 270), (46, 60), (62, 80), (2.8, 4.2), (4.0, 9.0)),
}


def manner(emotion: str, rng: np.random.Generator) -> Manner:
    """Draw a rate, a pitch and a range for an emotion."""
    prosody = EMOTIONS[emotion]
    rate, pitch, width = (int(rng.integers(low, high + 1)) for low, high in (prosody.rate, prosody.pitch, prosody.range))
    return Manner(rate, pitch, width)
