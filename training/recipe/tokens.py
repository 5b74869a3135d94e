"""The model's tokens, and the sequences of them that it shall emit.

English words are whole pieces: at 60 ms a frame, letters or short pieces could not be emitted in time. Chinese,
Cantonese and Japanese are written in characters. Korean is written in syllables, of which a word's first carries the
mark ``▁`` as in SentencePiece, so that the spaces come back without tokens of their own.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import pairwise

from voxray.models.sensevoice import BLANK
from voxray.truespeech.clip import Clip
from voxray.truespeech.lexicon import LANGUAGES, SPACED, lexicon
from voxray.truespeech.spoken import RATE, Word

FIRST = ("<unk>", "<s>", "</s>")
STOP = {"zh": "。", "yue": "。", "ja": "。", "en": ".", "ko": "."}
TAGS = tuple(
    f"<|{name}|>"
    for name in (
        "zh en yue ja ko nospeech Speech /Speech BGM /BGM Laughter /Laughter Applause /Applause HAPPY SAD ANGRY NEUTRAL FEARFUL "
        "DISGUSTED SURPRISED OTHER EMO_UNKNOWN Cry Sneeze Breath Cough Sing Speech_Noise withitn woitn GBG Event_UNK"
    ).split()
)
FRAME = 0.06  # seconds between output frames


@dataclass(frozen=True, slots=True)
class Target:
    """What the model shall emit for a clip.

    Attributes:
        tags: ids of language, emotion and event.
        tokens: ids of the transcript without its full stop, (U,).
        spans: first and last output frame of each token (from 0, prompts not counted); a word's tokens share its time evenly.
        stop: id of the full stop; 0 where there is no text.
    """

    tags: tuple[int, int, int]
    tokens: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    stop: int

    @property
    def frames_needed(self) -> int:
        """Output frames that CTC needs at least: one a token, and a blank between equal neighbours."""
        repeats = sum(one == other for one, other in pairwise(self.tokens))
        return len(self.tokens) + repeats + bool(self.stop)


@functools.cache
def vocabulary() -> tuple[str, ...]:
    """Return every token, its id its place: special ones, English words, characters, syllables, full stops, tags."""
    pieces = dict.fromkeys(FIRST)
    for language in ("en", "zh", "yue", "ja", "ko"):
        for entry in lexicon(language).words:
            pieces.update(dict.fromkeys(pieces_of(entry.written, language)))
    pieces.update(dict.fromkeys(STOP[language] for language in LANGUAGES))
    return (*pieces, *TAGS)


@functools.cache
def _ids() -> dict[str, int]:
    return {token: index for index, token in enumerate(vocabulary())}


def pieces_of(word: str, language: str) -> tuple[str, ...]:
    """Return the tokens of one word."""
    if language == "en":
        return (f"▁{word}",)
    pieces = tuple(word)
    return (f"▁{pieces[0]}", *pieces[1:]) if language in SPACED else pieces


def tag(name: str) -> int:
    """Return the id of a tag, named without its brackets."""
    return _ids()[f"<|{name}|>"]


def target(clip: Clip) -> Target:
    """Return what the model shall emit for a clip."""
    tokens: list[int] = []
    spans: list[tuple[int, int]] = []
    for word in clip.words:
        pieces = pieces_of(word.text, clip.language)
        tokens += [_ids()[piece] for piece in pieces]
        spans += _spans(word, len(pieces))
    tags = (tag(clip.language), tag(clip.emotion), tag(clip.event))
    return Target(tags, tuple(tokens), tuple(spans), _ids()[STOP[clip.language]] if tokens else BLANK)


def _spans(word: Word, count: int) -> list[tuple[int, int]]:
    """Cut a word's output frames into ``count`` even parts of at least one frame."""
    edges = [(word.start + (word.end - word.start) * part / count) / RATE / FRAME for part in range(count + 1)]
    starts = [round(edge) for edge in edges]
    return [(start, max(start, end - 1)) for start, end in pairwise(starts)]
