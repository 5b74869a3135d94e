"""eSpeak NG, called in this process: text in, samples and events out.

The engine keeps its state in C globals and now and then crashes the process on a rare voice or parameter set. Nothing
here defends against that: :mod:`voxray.truespeech.workers` runs engines in processes of their own and starts a crashed one again.

**Source:** the event structure and the constants are those of eSpeak NG 1.52's ``speak_lib.h``.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.types import OptionError

AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_PHONEME_EVENTS = 0x0001
INITIALIZE_DONT_EXIT = 0x8000
CHARS_UTF8 = 1
POS_CHARACTER = 1
RATE, VOLUME, PITCH, RANGE = 1, 2, 3, 4
WORD, PHONEME = 1, 7

Samples = npt.NDArray[np.int16]


class EngineError(RuntimeError):
    """The engine refused a voice or a text."""


class _Identity(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identity),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True, slots=True)
class Manner:
    """How a text is to be said.

    Attributes:
        rate: words a minute, 80 to 450 (above it the engine's event positions are wrong).
        pitch: 0 to 100; the voice's own is 50.
        range: of the pitch, 0 (monotone) to 100; the voice's own is 50.
    """

    rate: int = 175
    pitch: int = 50
    range: int = 50

    def __post_init__(self) -> None:
        """Refuse what the engine would say with wrong event times."""
        if not (80 <= self.rate <= 450 and 0 <= self.pitch <= 100 and 0 <= self.range <= 100):
            raise ValueError(f"{self}: rate must be 80 to 450, pitch and range 0 to 100")


@dataclass(frozen=True, slots=True)
class Event:
    """A word or a phoneme as the engine announces it.

    Attributes:
        kind: ``WORD`` or ``PHONEME``.
        sample: position in the sound.
        position: first character of the word in the text, from 0; 0 for phonemes.
        length: of the word, in characters; 0 for phonemes.
        phoneme: its name; empty for words, ``_`` and the like for pauses.
    """

    kind: int
    sample: int
    position: int
    length: int
    phoneme: str


@dataclass(frozen=True, slots=True)
class Utterance:
    """What the engine said: ``samples`` (N,) int16 at ``Engine.rate`` Hz, and its events in order."""

    samples: Samples
    events: tuple[Event, ...]


class Engine:
    """The engine of this process. Make it by :func:`engine`; a process can hold one only."""

    def __init__(self) -> None:
        path, data = files()
        self._library = ctypes.CDLL(path)
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        options = INITIALIZE_PHONEME_EVENTS | INITIALIZE_DONT_EXIT
        self.rate: int = self._library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data.encode(), options)
        if self.rate <= 0:
            raise EngineError("eSpeak NG did not start; reinstall espeakng-loader")
        self._pieces: list[Samples] = []
        self._events: list[Event] = []
        self._callback = _Callback(self._collect)  # the library keeps a bare pointer to it
        self._library.espeak_SetSynthCallback(self._callback)
        self._variants = Path(data, "voices", "!v")

    def say(self, text: str, voice: str, manner: Manner, seed: int = 0) -> Utterance:
        """Say a text.

        Args:
            text: in the writing that the voice's language reads.
            voice: a language, or ``language+variant``.
            manner: rate, pitch and range.
            seed: of the engine's noise.

        Raises:
            EngineError: if the engine does not know the voice or refuses the text.
        """
        self._choose(voice)
        for parameter, value in ((RATE, manner.rate), (VOLUME, 100), (PITCH, manner.pitch), (RANGE, manner.range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        self._pieces, self._events = [], []
        data = text.encode()
        status = self._library.espeak_Synth(
            data, ctypes.c_size_t(len(data) + 1), ctypes.c_uint(0), POS_CHARACTER, ctypes.c_uint(0), CHARS_UTF8, None, None
        )
        if status:
            raise EngineError(f"eSpeak NG refused {text!r} in the voice {voice!r} (status {status})")
        samples = np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.int16)
        return Utterance(samples, tuple(self._events))

    def phonemes(self, text: str, voice: str) -> str:
        """Return the phonemes that the engine reads a text as: equal for words that sound the same."""
        self._choose(voice)
        data = ctypes.c_char_p(text.encode())
        pointer = ctypes.cast(data, ctypes.c_void_p)
        said = []
        while pointer.value:
            said.append(self._library.espeak_TextToPhonemes(ctypes.byref(pointer), CHARS_UTF8, 0).decode())
        return " ".join(said)

    def _choose(self, voice: str) -> None:
        # Set each time: others in this process may have used the library, and chosen a voice of their own.
        _, plus, variant = voice.partition("+")
        # The engine itself says nothing when it lacks a variant: it speaks with the language's plain voice.
        if (plus and not (self._variants / variant).is_file()) or self._library.espeak_SetVoiceByName(voice.encode()):
            raise EngineError(f"eSpeak NG has no voice {voice!r}")

    def _collect(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        at = 0
        while events[at].type:
            event = events[at]
            if event.type == WORD:
                self._events.append(Event(WORD, event.sample, event.text_position - 1, event.length, ""))
            elif event.type == PHONEME:
                name = event.id.string.decode("utf-8", "replace")
                self._events.append(Event(PHONEME, event.sample, 0, 0, name))
            at += 1
        return 0


def files() -> tuple[str, str]:
    """Return where eSpeak NG's library and its data lie.

    Raises:
        OptionError: if it is not installed.
    """
    try:
        import espeakng_loader
    except ImportError:
        raise OptionError("speech is made by eSpeak NG, which is not installed; pip install 'voxray[speech]'") from None
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


@functools.cache
def engine() -> Engine:
    """Return this process's engine, started at the first call."""
    return Engine()
