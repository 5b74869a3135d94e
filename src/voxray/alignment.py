"""Groups tokens into words, and parts a stretch of time into words and pauses."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from voxray.types import Token, Word
from voxray.vocabulary import TAG, strip_tags

# Hanzi, kana and their punctuation are written without spaces: a piece of theirs is a word of its own.
SPACELESS = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF),  # Thai and Lao, Burmese, Khmer
    (0x2E80, 0x303F), (0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0xFF00, 0xFF9F),
    (0x20000, 0x3FFFF),
)  # fmt: skip


REACH = 0.03  # seconds that a word may reach beyond its times: half a frame of the models
SHORTEST = 0.06  # seconds; no word is said in less, though a decoder's time warping may give it none
NOTHING = 1e-6  # seconds; no pause is shorter


@dataclass(frozen=True, slots=True)
class Stretch:
    """A word or a pause with its share of the clock: its text (empty for a pause), start and end in seconds."""

    text: str
    start: float
    end: float


def stretches(words: Sequence[Word], start: float, end: float) -> list[Stretch]:
    """Part a span of seconds into words and pauses without rest.

    Sound of a word is heard in frames beside it too. So a word reaches half-way to its neighbours, but no more than 30 ms beyond
    its times; what is left over is a pause. A decoder may place words at one moment; each gets 60 ms of its neighbours' time.

    Args:
        words: in order of time; those outside the span are left out.
        start: of the span.
        end: of the span.
    """
    inside = [word for word in words if (word.start < end and word.end > start) or start <= word.start == word.end <= end]
    spans: list[tuple[float, float]] = []
    at = start
    for index, word in enumerate(inside):
        before = word.start - inside[index - 1].end if index else 2 * REACH
        after = inside[index + 1].start - word.end if index + 1 < len(inside) else 2 * REACH
        first = max(at, word.start - min(max(before, 0.0) / 2, REACH))
        spans.append((first, max(first, min(end, word.end + min(max(after, 0.0) / 2, REACH)))))
        at = spans[-1][1]
    found: list[Stretch] = []
    at = start
    for word, (first, last) in zip(inside, apart(spans, end, min(SHORTEST, (end - start) / max(len(inside), 1))), strict=True):
        if first - at > NOTHING:
            found.append(Stretch("", at, first))
        found.append(Stretch(word.text, first, last))
        at = last
    return [*found, Stretch("", at, end)] if end - at > NOTHING or not found else found


def apart(spans: Sequence[tuple[float, float]], end: float, least: float) -> list[tuple[float, float]]:
    """Return spans that do not overlap, each at least so long: shorter ones take of their neighbours.

    Args:
        spans: in order; none begins before the one before it ends.
        end: of the last one at the latest.
        least: how long each must be; all of them together must have room.
    """
    found: list[tuple[float, float]] = []
    for start, stop in spans:
        first = max(start, found[-1][1]) if found else start
        found.append((first, max(stop, first + least)))
    for at in reversed(range(len(found))):
        last = min(found[at][1], end)
        found[at], end = (min(found[at][0], last - least), last), min(found[at][0], last - least)
    return found


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
    return _is_punctuation(text) or not (is_spaceless(text[:1]) or is_spaceless(before[-1:]))


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


def is_spaceless(letter: str) -> bool:
    """Tell whether a character is of a script that is written without spaces."""
    return any(low <= ord(letter) <= high for low, high in SPACELESS)
