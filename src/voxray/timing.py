"""When words and tokens are said, finer than a CTC model's own frames.

CTC tells in which frame a token is emitted, not how long it sounds: between two emissions it mostly says "blank". But what it
holds of the other tokens meanwhile is not lost: with the blank left aside, a token stays the best one for about as long as it
sounds, and the moment at which the next one overtakes it lies near the seam of both. Where exactly a word ends, and whether a pause
follows, the sound tells at 10 ms; ``voxray.seams`` joins both and says how likely each moment is. Here the likeliest starts and
ends of all words together are chosen, in order and without overlap, and the tokens of a word part its time where they overtake each
other.

It costs no pass through the model. Where the sound's filter bank is not at hand, words meet where their tokens overtake each other.

Conventions: ``R`` = output rows of a piece, ``U`` = its tokens, ``F`` = rows of the bank (10 ms), ``W`` = words, ``L`` = rows of a
stretch. Places are in rows of the bank, whole numbers at their centres.

**Source:** ours; see ``docs/times.md``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from voxray.alignment import is_spaceless, is_spoken
from voxray.seams import FURTHEST, SIGHT, Seam, Side, network, view_of
from voxray.types import FloatArray, Token, Word

Float64Array = npt.NDArray[np.float64]
Span = tuple[float, float]
SHORTEST = 3  # rows that a word lasts at least, where emissions leave it so much
BEYOND = 15  # rows that a word lasts at most after its last token's emission, or before its first, where only the odds are known
# A character whose name tells how it sounds: LATIN SMALL LETTER E WITH ACUTE, HANGUL SYLLABLE HAN, HIRAGANA LETTER SMALL TU.
NAMED = re.compile(
    r"(?:LATIN (?:SMALL|CAPITAL) LETTER|HANGUL SYLLABLE|(?:HIRAGANA|KATAKANA) LETTER)(?: SMALL)? ([A-Z]+)(?: WITH .*)?$"
)


@dataclass(frozen=True, slots=True)
class Clock:
    """How places, seconds and output rows go together.

    Attributes:
        start: seconds at place 0.
        hop: seconds from place to place.
        first: place of the first output row of the sound.
        step: places from output row to output row.
    """

    start: float
    hop: float
    first: float
    step: float

    def place(self, row: float) -> float:
        """Return the place of an output row."""
        return self.first + self.step * row

    def seconds(self, place: float) -> float:
        """Return the time of a place."""
        return self.start + self.hop * place


@dataclass(frozen=True, slots=True, eq=False)
class Odds:
    """How the tokens of a text stand beside the others in every output row of the sound, the blank left aside.

    Attributes:
        own: (R, U) float32, nats: log-odds of each token against the row's best one that is no blank, at most 0.
        blank: (R,) float32, nats: log-odds of the blank against the same.
        peaks: (U,) the row that emits each token.
        clock: of the rows.
    """

    own: FloatArray
    blank: FloatArray
    peaks: tuple[int, ...]
    clock: Clock

    def emitted(self, token: int) -> float:
        """Return the place at which a token is emitted."""
        return self.clock.place(self.peaks[token])

    def at(self, values: FloatArray, places: FloatArray) -> FloatArray:
        """Return values given for the output rows, (R,), at places, (L,): straight lines between rows."""
        rows = (places - self.clock.first) / self.clock.step
        return np.asarray(np.interp(rows, np.arange(len(values)), np.clip(values, -FURTHEST, FURTHEST)), np.float32)

    def crossing(self, left: int, right: int) -> float:
        """Return the place between the emissions of two tokens at which the right one overtakes the left one."""
        first, last = self.peaks[left], self.peaks[right]
        ahead = np.clip(self.own[first : last + 1, left] - self.own[first : last + 1, right], -FURTHEST, FURTHEST)
        behind = np.flatnonzero(ahead < 0)
        if not len(behind) or not behind[0]:  # the same token twice, or two that are as likely throughout
            return self.clock.place((first + last) / 2)
        at = int(behind[0])
        return self.clock.place(first + at - 1 + float(ahead[at - 1] / (ahead[at - 1] - ahead[at])))


def odds_of(logits: FloatArray, tokens: Sequence[Token], blank: int, prompts: int, clock: Clock) -> Odds:
    """Return the odds of a piece's tokens.

    Args:
        logits: (N, V) output rows, logits or log-probabilities.
        tokens: of the piece.
        blank: id of the blank.
        prompts: how many rows come before those of the sound.
        clock: of the rows of the sound.
    """
    rows = logits[prompts:]
    best = np.maximum(rows[:, :blank].max(axis=1, initial=-np.inf), rows[:, blank + 1 :].max(axis=1, initial=-np.inf))
    own = rows[:, [token.id for token in tokens]] - best[:, None]
    peaks = tuple(token.peak - prompts for token in tokens)
    return Odds(own.astype(np.float32), (rows[:, blank] - best).astype(np.float32), peaks, clock)


@dataclass(frozen=True, slots=True)
class Heard:
    """A word's tokens that are heard: those of one character are a unit.

    Attributes:
        text: of the word.
        units: (first, stop) of the tokens of each unit, in order.
    """

    text: str
    units: tuple[tuple[int, int], ...]

    @property
    def first(self) -> int:
        """Its first token."""
        return self.units[0][0]

    @property
    def last(self) -> int:
        """Its last token."""
        return self.units[-1][1] - 1

    @property
    def tokens(self) -> list[int]:
        """All of them."""
        return [index for unit in self.units for index in range(*unit)]


def retimed(tokens: Sequence[Token], words: Sequence[Word], odds: Odds, bank: FloatArray | None) -> tuple[Token, ...]:
    """Return tokens with the times at which they are said.

    What is not heard, such as punctuation, keeps its time as far as its neighbours leave it that.

    Args:
        tokens: of one piece, in order.
        words: that they make up.
        odds: of the tokens.
        bank: (F, 80) log mel energies of the piece, nats, a row for each place of the odds' clock; None where there are none.
    """
    heard = [heard_of(tokens, word) for word in words]
    spans = None if bank is None or not words else by_sound(heard, odds, bank)
    times: dict[int, Span] = {}
    for word, span in zip(heard, by_odds(heard, odds) if spans is None else spans, strict=True):
        times |= shares(word, span, odds)
    result: list[Token] = []
    following = _following(times, len(tokens))
    for index, token in enumerate(tokens):
        last = result[-1].end if result else 0.0
        start, end = (odds.clock.seconds(place) for place in times.get(index, (-np.inf, -np.inf)))
        if index not in times:
            limit = max(odds.clock.seconds(following[index]), last)
            start = min(max(token.start, last), limit)
            end = min(max(token.end, start), limit)
        result.append(replace(token, start=max(start, last), end=max(end, last)))
    return tuple(result)


def _following(times: Mapping[int, Span], count: int) -> list[float]:
    """Return, for each token, the place at which the next one that is heard begins; infinity after the last."""
    following, places = np.inf, []
    for index in reversed(range(count)):
        places.append(following)
        following = times[index][0] if index in times else following
    return places[::-1]


def heard_of(tokens: Sequence[Token], word: Word) -> Heard:
    """Return the part of a word that is heard."""
    units, first = [], word.tokens[0]
    for index in range(*word.tokens):
        if tokens[index].text:
            if is_spoken(tokens[index].text):
                units.append((first, index + 1))
            first = index + 1
    return Heard(word.text, tuple(units))


# --- Words by the odds alone -----------------------------------------------------------------------------------------------------


def by_odds(words: Sequence[Heard], odds: Odds) -> list[Span]:
    """Return start and end of each word where tokens overtake each other, but no more than 150 ms from its emissions."""
    meets = [odds.crossing(one.last, other.first) for one, other in pairwise(words)]
    half = odds.clock.step / 2
    starts = [max(meet, odds.emitted(word.first) - BEYOND) for word, meet in zip(words[1:], meets, strict=True)]
    ends = [min(meet, odds.emitted(word.last) + BEYOND) for word, meet in zip(words, meets, strict=False)]
    first = [odds.emitted(word.first) - half for word in words[:1]]
    last = [odds.emitted(word.last) + half for word in words[-1:]]
    return list(zip([*first, *starts], [*ends, *last], strict=True))


def shares(word: Heard, span: Span, odds: Odds) -> dict[int, Span]:
    """Return the places of a word's tokens: they part its span where they overtake each other, a unit's tokens evenly.

    Each unit is given one place at least, where the span has so many.
    """
    start, end = span
    least = min(1.0, (end - start) / len(word.units))
    edges = [start]
    for at, (one, other) in enumerate(pairwise(word.units), start=1):
        meet = max(odds.crossing(one[1] - 1, other[0]), edges[-1] + least)
        edges.append(min(meet, end - (len(word.units) - at) * least))
    edges.append(end)
    found: dict[int, Span] = {}
    for (first, stop), (left, right) in zip(word.units, pairwise(edges), strict=True):
        parts = np.linspace(left, right, stop - first + 1).tolist()
        found |= dict(zip(range(first, stop), pairwise(parts), strict=True))
    return found


# --- Words by the sound ----------------------------------------------------------------------------------------------------------


def by_sound(words: Sequence[Heard], odds: Odds, bank: FloatArray) -> list[Span] | None:
    """Return the likeliest starts and ends of all words, from the odds and the sound; None where the sound has no room for them.

    Args:
        words: at least one.
        odds: of their tokens.
        bank: (F, 80) log mel energies, nats, a row for each place.
    """
    net = network()
    sound = net.hear(view_of(bank))
    judged = [(seam.first, net.judge(sound, seam)) for seam in seams_of(words, odds, len(bank))]
    return likeliest_spans(judged, len(bank), max(1, min(SHORTEST, int(odds.clock.step))))


def seams_of(words: Sequence[Heard], odds: Odds, rows: int) -> list[Seam]:
    """Return the seams of words, one more than there are words, in a bank of so many rows."""
    return [_seam(before, after, odds, rows) for before, after in pairwise([None, *words, None])]


def _seam(before: Heard | None, after: Heard | None, odds: Odds, rows: int) -> Seam:
    emitted = [odds.emitted(token) for token in ([before.last] if before else []) + ([after.first] if after else [])]
    first = min(max(int(emitted[0]) - SIGHT, 0), rows - 1)
    places = np.arange(first, max(min(int(emitted[-1]) + SIGHT + 1, rows), first + 1), dtype=np.float32)
    return Seam(
        first=first,
        blank=odds.at(odds.blank, places),
        before=_side(before, odds, places, before.last) if before else None,
        after=_side(after, odds, places, after.first) if after else None,
    )


def _side(word: Heard, odds: Odds, places: FloatArray, token: int) -> Side:
    """Return a word beside a seam, by which one of its tokens lies."""
    said = _latin(word.text)
    return Side(
        near=odds.at(odds.own[:, token], places),
        nearest=odds.at(odds.own[:, word.tokens].max(axis=1), places),
        emitted=odds.emitted(token),
        lasted=odds.emitted(word.last) - odds.emitted(word.first),
        letters=sum(letter.isalnum() for letter in word.text),
        tokens=len(word.tokens),
        wide=any(is_spaceless(letter) for letter in word.text if letter.isalnum()),
        edge=said if token == word.first else said[::-1],
    )


def _latin(text: str) -> str:
    """Return a word as Unicode's names of its characters spell it; what they do not spell is left out."""
    found = [NAMED.match(unicodedata.name(letter, "")) for letter in text]
    return "".join(name[1] for name in found if name)


def likeliest_spans(judged: Sequence[tuple[int, FloatArray]], rows: int, least: int) -> list[Span] | None:
    """Return the likeliest start and end of each word, in order and without overlap; None where there is no such choice.

    Args:
        judged: for each seam the first row of its stretch, and (2, L) log-probabilities that the word after it starts, and the
            word before it ends, in each row.
        rows: of the bank.
        least: rows that a word lasts at least.
    """
    steps = [step for pair in pairwise(judged) for step in ((*_of(pair[0], 0), 0), (*_of(pair[1], 1), least))]
    best, origins = np.zeros(rows), []
    for first, scores, gap in steps:
        gain, origin = _best_so_far(_later(best, gap))
        origins.append(origin - gap)
        best = np.full(rows, -np.inf)
        best[first : first + len(scores)] = scores + gain[first : first + len(scores)]
    places = [int(best.argmax())]
    if best[places[0]] == -np.inf:
        return None
    for origin in reversed(origins[1:]):
        places.append(int(origin[places[-1]]))
    path = [float(place) for place in reversed(places)]
    return list(zip(path[::2], path[1::2], strict=True))


def _of(judged: tuple[int, FloatArray], kind: int) -> tuple[int, FloatArray]:
    """Return the first row of a seam's stretch and its scores of a kind: 0 the start after it, 1 the end before it."""
    return judged[0], judged[1][kind]


def _later(scores: Float64Array, by: int) -> Float64Array:
    """Return scores moved to later rows."""
    return np.asarray(np.concatenate([np.full(by, -np.inf), scores])[: len(scores)])


def _best_so_far(scores: Float64Array) -> tuple[Float64Array, npt.NDArray[np.int64]]:
    """Return the best score up to each row, and in which row it is."""
    best = np.maximum.accumulate(scores)
    return best, np.maximum.accumulate(np.where(scores == best, np.arange(len(scores)), 0))
