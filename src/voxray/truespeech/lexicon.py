"""The words of each language, and the sentences that are made of them.

A language's file in ``lexicon/`` holds categories of words and, under ``[sentences]``, patterns of categories::

    [food]
    apple bread
    [sentences]
    person eat food

A word is written as the transcript shall show it. Where the engine must read something else it follows a slash:
``学校/がっこう``. Some sentences follow a pattern; the others are words in open order, drawn evenly from the
whole lexicon, so that a recogniser must hear each word and cannot guess it from its neighbours.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LANGUAGES = ("zh", "yue", "en", "ja", "ko")
FOLDER = Path(__file__).parent / "lexicon"
SPACED = ("en", "ko")  # written with spaces between words


@dataclass(frozen=True, slots=True)
class Entry:
    """A word of a lexicon: as it is ``written`` in a transcript and ``read`` by the engine."""

    written: str
    read: str


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The words and sentence patterns of a language.

    Attributes:
        language: its tag.
        categories: words by category.
        patterns: each a sequence of categories.
    """

    language: str
    categories: dict[str, tuple[Entry, ...]]
    patterns: tuple[tuple[str, ...], ...]

    @property
    def words(self) -> tuple[Entry, ...]:
        """Every word once, in the order of the file."""
        return tuple(dict.fromkeys(entry for entries in self.categories.values() for entry in entries))

    def written(self, entries: tuple[Entry, ...]) -> str:
        """Return the transcript of a sequence of words."""
        return (" " if self.language in SPACED else "").join(entry.written for entry in entries)

    def in_pattern(self, rng: np.random.Generator) -> tuple[Entry, ...]:
        """Draw a sentence that follows a pattern."""
        pattern = self.patterns[rng.integers(len(self.patterns))]
        return tuple(self.categories[name][rng.integers(len(self.categories[name]))] for name in pattern)

    def in_open_order(self, rng: np.random.Generator, count: int) -> tuple[Entry, ...]:
        """Draw ``count`` words of any kind, none twice in a row."""
        words = self.words
        drawn: list[Entry] = []
        while len(drawn) < count:
            entry = words[rng.integers(len(words))]
            if not drawn or drawn[-1] != entry:
                drawn.append(entry)
        return tuple(drawn)


@functools.cache
def lexicon(language: str) -> Lexicon:
    """Read a language's file.

    Raises:
        ValueError: if a pattern names a category that the file lacks, or a word has two readings.
    """
    categories: dict[str, tuple[Entry, ...]] = {}
    patterns: list[tuple[str, ...]] = []
    heading = ""
    for line in (FOLDER / f"{language}.txt").read_text(encoding="utf-8").splitlines():
        text = line.split("#")[0].strip()
        if text.startswith("["):
            heading = text.strip("[]")
        elif text and heading == "sentences":
            patterns.append(tuple(text.split()))
        elif text:
            categories[heading] = categories.get(heading, ()) + tuple(_entry(word) for word in text.split())
    unknown = {name for pattern in patterns for name in pattern} - set(categories)
    readings = {entry.written: entry.read for entries in categories.values() for entry in entries}
    twice = [e.written for entries in categories.values() for e in entries if readings[e.written] != e.read]
    if unknown or twice:
        raise ValueError(f"lexicon/{language}.txt: unknown categories {sorted(unknown)}, words with two readings {twice}")
    return Lexicon(language, categories, tuple(patterns))


def _entry(word: str) -> Entry:
    written, _, read = word.partition("/")
    return Entry(written, read or written)
