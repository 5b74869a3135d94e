"""Groups tokens into words."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from voxray.types import Token, Word
from voxray.vocabulary import TAG

# Hanzi, kana and their punctuation are written without spaces: a piece of theirs is a word of its own.
SPACELESS = (
    (0x2E80, 0x303F), (0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0xFF00, 0xFF65),
    (0x20000, 0x3FFFF),
)  # fmt: skip


def group_words(tokens: Sequence[Token]) -> tuple[Word, ...]:
    """Return the words that tokens spell.

    A token begins a word when it begins with a space, or when it or the character before it is written without spaces (Hanzi,
    kana). Punctuation joins the word before it, but not that word's times. Tags are no words.

    Args:
        tokens: in order of time.
    """
    words: list[Word] = []
    first = 0
    while first < len(tokens):
        stop = first + 1
        while stop < len(tokens) and _continues_word(tokens[stop - 1].text, tokens[stop].text):
            stop += 1
        word = _word(tokens, first, stop)
        if word is not None:
            words.append(word)
        first = stop
    return tuple(words)


def _continues_word(before: str, text: str) -> bool:
    if TAG.fullmatch(before) or TAG.fullmatch(text) or text == " ":
        return False
    if before == " " or _is_punctuation(text):
        return True
    return not (text.startswith(" ") or _is_spaceless(text[:1]) or _is_spaceless(before[-1:]))


def _word(tokens: Sequence[Token], first: int, stop: int) -> Word | None:
    spoken = [token for token in tokens[first:stop] if token.text.strip() and not _is_punctuation(token.text)]
    text = "".join(token.text for token in tokens[first:stop]).strip()
    if not spoken or TAG.fullmatch(text):
        return None
    return Word(text, spoken[0].start, spoken[-1].end, (first, stop), min(token.log_prob for token in spoken))


def _is_punctuation(text: str) -> bool:
    """Tell whether a text holds only punctuation; an apostrophe is part of a word."""
    return all(unicodedata.category(letter)[0] in "PS" and letter not in "'’" for letter in text.strip())


def _is_spaceless(letter: str) -> bool:
    return any(low <= ord(letter) <= high for low, high in SPACELESS)
