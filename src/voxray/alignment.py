"""Groups tokens into words, and parts a stretch of time into words and pauses."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from voxray.types import Token, Word
from voxray.vocabulary import TAG, strip_tags

# Hanzi, kana and their punctuation are written without spaces: a piece of theirs is a word of its own.
SPACELESS = (
    (0x2E80, 0x303F), (0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0xFF00, 0xFF9F),
    (0x20000, 0x3FFFF),
)  # fmt: skip


REACH = 0.15  # seconds that a word may reach beyond the frames that emitted it


@dataclass(frozen=True, slots=True)
class Stretch:
    """A word or a pause with its share of the clock: its text (empty for a pause), start and end in seconds."""

    text: str
    start: float
    end: float


def stretches(words: Sequence[Word], start: float, end: float) -> list[Stretch]:
    """Part a span of seconds into words and pauses without rest.

    CTC emits a word in fewer frames than it sounds. So a word reaches half-way to its neighbours, but no more than 150 ms beyond
    its frames; what is left over is a pause.

    Args:
        words: in order of time; those outside the span are left out.
        start: of the span.
        end: of the span.
    """
    inside = [word for word in words if word.start < end and word.end > start]
    found: list[Stretch] = []
    at = start
    for index, word in enumerate(inside):
        before = word.start - inside[index - 1].end if index else 2 * REACH
        after = inside[index + 1].start - word.end if index + 1 < len(inside) else 2 * REACH
        first = max(at, word.start - min(max(before, 0.0) / 2, REACH))
        last = min(end, word.end + min(max(after, 0.0) / 2, REACH))
        if first - at > 1e-6:
            found.append(Stretch("", at, first))
        if last > first:
            found.append(Stretch(word.text, first, last))
        at = max(first, last)
    return [*found, Stretch("", at, end)] if end - at > 1e-6 or not found else found


def group_words(tokens: Sequence[Token]) -> tuple[Word, ...]:
    """Return the words that tokens spell.

    A token begins a word when it begins with a space, or when it or the character before it is written without spaces (Hanzi,
    kana). Punctuation joins the word before it, but not that word's times. Tags are no words and part what they stand between.

    Args:
        tokens: in order of time.
    """
    words: list[Word] = []
    first = 0
    while first < len(tokens):
        stop = first + 1
        while stop < len(tokens) and _continues_word(tokens[stop - 1].text, tokens[stop].text):
            stop += 1
        part = tokens[first:stop]
        if any(is_spoken(token.text) for token in part):
            words.append(_word(part, first))
        elif words and words[-1].tokens[1] == first and _spelling(part):
            before = words[-1]
            words[-1] = replace(before, text=_spelling(tokens[before.tokens[0] : stop]), tokens=(before.tokens[0], stop))
        first = stop
    return tuple(words)


def _continues_word(before: str, text: str) -> bool:
    """Tell whether a token belongs to the stretch of the token before it, a word or what may yet join the word before."""
    if TAG.fullmatch(before) or TAG.fullmatch(text):
        return False
    if not before.strip():
        return True
    if text.startswith(" "):
        return False
    return _is_punctuation(text) or not (_is_spaceless(text[:1]) or _is_spaceless(before[-1:]))


def _word(part: Sequence[Token], first: int) -> Word:
    spoken = [token for token in part if is_spoken(token.text)]
    log_prob = min(token.log_prob for token in spoken)
    return Word(_spelling(part), spoken[0].start, spoken[-1].end, (first, first + len(part)), log_prob)


def _spelling(part: Sequence[Token]) -> str:
    return strip_tags("".join(token.text for token in part)).strip()


def is_spoken(text: str) -> bool:
    """Tell whether a token's text is heard: no tag and more than punctuation."""
    return not TAG.fullmatch(text) and not _is_punctuation(text)


def _is_punctuation(text: str) -> bool:
    """Tell whether a text holds only punctuation and space; an apostrophe is part of a word."""
    return all(unicodedata.category(letter)[0] in "PS" and letter not in "'’" for letter in text.strip())


def _is_spaceless(letter: str) -> bool:
    return any(low <= ord(letter) <= high for low, high in SPACELESS)
