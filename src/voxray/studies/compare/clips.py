"""What two models make of one clip: texts, words, tags, and, where they share a vocabulary, every token.

Texts and words can be compared of any two models. ``first`` and ``second`` are the models throughout; a change is what the second
has more than the first. Times are seconds, margins logits, odds nats.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import numpy as np

from voxray import ctc
from voxray.edits import Comparison, Counts, Edit, align, compare
from voxray.measures.similarity import margins
from voxray.trace import Trace
from voxray.types import FloatArray, Tag, Token, Word, plain

Better = Literal["first", "second", "neither"]
LEAST = 1e-12
"""Probability that a posterior of 0 or 1 counts as, so that log odds stay finite."""


@dataclass(frozen=True, slots=True)
class TextFlip:
    """A stretch of the text that the two models write otherwise.

    Attributes:
        first: what the first model writes; empty where it writes nothing.
        second: what the second writes.
        start: of the stretch in the first model's text, s; None where no word has a time.
        end: likewise.
        better: whose version brings the text nearer to the reference; None without one.
    """

    first: str
    second: str
    start: float | None
    end: float | None
    better: Better | None


@dataclass(frozen=True, slots=True)
class WordShift:
    """A word that both models have.

    Attributes:
        text: as the first writes it.
        starts: with the first and with the second model, s.
        ends: likewise.
        confidences: likewise.
    """

    text: str
    starts: tuple[float, float]
    ends: tuple[float, float]
    confidences: tuple[float, float]


@dataclass(frozen=True, slots=True)
class TokenShift:
    """A token of the first model's text, under both models.

    Attributes:
        text: as printed.
        id: in the vocabulary.
        start: with the first model, s.
        rows: output rows at which it is emitted, counted in its piece; None where the second model has no place for it.
        margins: its lead over the best other token there, logits; below 0 another wins.
        shift: seconds by which the second model emits it later; None without a place.
    """

    text: str
    id: int
    start: float
    rows: tuple[int, int | None]
    margins: tuple[float, float | None]
    shift: float | None

    @property
    def change(self) -> float | None:
        """By how much the margin grew, logits."""
        return None if self.margins[1] is None else self.margins[1] - self.margins[0]

    @property
    def flips(self) -> bool:
        """Whether the second model prefers another token there, or none."""
        return self.margins[0] >= 0 and (self.margins[1] is None or self.margins[1] < 0)


@dataclass(frozen=True, slots=True)
class TagShift:
    """A tag of a piece of sound, under both models.

    Attributes:
        kind: language, emotion, event or textnorm.
        labels: of both models.
        log_odds: of the first model's label, under both, nats.
    """

    kind: str
    labels: tuple[str, str]
    log_odds: tuple[float, float]

    @property
    def flips(self) -> bool:
        """Whether the models differ."""
        return self.labels[0] != self.labels[1]


@dataclass(frozen=True, slots=True)
class Pair:
    """One clip under two models.

    Attributes:
        name: of the sound.
        duration: s.
        language: of the sound, where it was told or heard; else ``auto``.
        reference: the right text; None where it is not known.
        texts: of both.
        unit: in which texts are compared.
        edits: between the two texts.
        length: units of the first.
        flips: what they write otherwise.
        errors: of both against the reference; None without one.
        confidence: mean over words, of both; None for a text without words.
        words: that both have.
        tokens: of the first model's text; empty where the vocabularies differ.
        tags: of the pieces that both have.
    """

    name: str
    duration: float
    language: str
    reference: str | None
    texts: tuple[str, str]
    unit: str
    edits: int
    length: int
    flips: tuple[TextFlip, ...]
    errors: tuple[Counts, Counts] | None
    confidence: tuple[float | None, float | None]
    words: tuple[WordShift, ...]
    tokens: tuple[TokenShift, ...]
    tags: tuple[TagShift, ...]

    @property
    def changed(self) -> bool:
        """Whether the texts differ in what is compared: not in case, signs or width of letters."""
        return self.edits > 0

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        told: dict[str, Any] = plain(self)
        told |= {"changed": self.changed, "errors": None}
        if self.errors is not None:
            told["errors"] = [plain(one) | {"errors": one.errors, "length": one.length, "rate": one.rate} for one in self.errors]
        for name in ("tokens", "tags"):
            for place, one in enumerate(getattr(self, name)):
                told[name][place]["flips"] = one.flips
        return told


def pair_of(first: Trace, second: Trace, language: str | None, reference: str | None, *, tokens: bool) -> Pair:
    """Compare what two models made of one sound.

    Args:
        first: of the first model.
        second: of the second model, of the same sound.
        language: that the sound is in; None for what the first model heard.
        reference: the right text; None where it is not known.
        tokens: whether the models share a vocabulary.
    """
    heard = next((tag.label for trace in (first, second) for tag in trace.tags if tag.kind == "language"), "auto")
    spoken = language or heard
    between = compare(first.text, second.text, spoken)
    against = None
    if reference is not None:
        against = tuple(compare(reference, one.text, spoken) for one in (first, second))
    right = None if reference is None else compare(reference, first.text, spoken, unit=between.unit)
    pieces = min(len(first.pieces), len(second.pieces))
    return Pair(
        name=first.audio.name,
        duration=first.audio.duration,
        language=spoken,
        reference=reference,
        texts=(first.text, second.text),
        unit=between.unit,
        edits=between.errors,
        length=between.length,
        flips=tuple(_flips(between, first, right)),
        errors=None if against is None else (against[0].counts, against[1].counts),
        confidence=(_confidence(first), _confidence(second)),
        words=tuple(_words(first, second)),
        tokens=tuple(one for index in range(pieces) for one in _tokens(first, second, index)) if tokens else (),
        tags=tuple(_tags(first, second)),
    )


def _confidence(trace: Trace) -> float | None:
    return float(np.mean([word.confidence for word in trace.words])) if trace.words else None


# --- Texts and words -----------------------------------------------------------------------------------------------------


def _flips(between: Comparison, first: Trace, against: Comparison | None) -> Iterator[TextFlip]:
    """Yield the stretches that two texts differ in, with who is nearer to the reference."""
    units = [one.text for one in between.reference_units]
    right = None if against is None else [one.text for one in against.reference_units]
    own = 0 if right is None else _errors(right, units)
    places = _places(first)
    for _, run in groupby(_numbered(between.edits), key=lambda one: one[0]):
        edits = [edit for _, edit in run]
        if edits[0].kind == "hit":
            continue
        start, stop = _stretch(between.edits, edits)
        fresh = [edit.recognised for edit in edits if edit.recognised_place is not None]
        better: Better | None = None
        if right is not None:
            changed = _errors(right, [*units[:start], *fresh, *units[stop:]])
            better = "second" if changed < own else "first" if changed > own else "neither"
        begins, ends = _times(between, places, start, stop)
        joint = "" if between.unit == "character" else " "
        yield TextFlip(joint.join(units[start:stop]), joint.join(fresh), begins, ends, better)


def _numbered(edits: Sequence[Edit]) -> Iterator[tuple[int, Edit]]:
    """Yield each edit with the number of the hits before it, those that are hits with a number of their own."""
    hits = 0
    for edit in edits:
        hits += edit.kind == "hit"
        yield (-hits if edit.kind == "hit" else hits), edit


def _stretch(every: Sequence[Edit], edits: Sequence[Edit]) -> tuple[int, int]:
    """Return where in the first text an unbroken run of edits stands, [start, stop)."""
    places = [edit.reference_place for edit in edits if edit.reference_place is not None]
    if places:
        return places[0], places[-1] + 1
    before = [edit.reference_place for edit in every[: every.index(edits[0])] if edit.reference_place is not None]
    start = before[-1] + 1 if before else 0
    return start, start


def _errors(right: Sequence[str], units: Sequence[str]) -> int:
    return sum(edit.kind != "hit" for edit in align(right, units))


def _places(trace: Trace) -> list[tuple[int, int, Word]]:
    """Return where in the text each word stands, [first, stop), for those that are found there in order."""
    found, cursor = [], 0
    for word in trace.words:
        place = trace.text.find(word.text, cursor)
        if place >= 0:
            cursor = place + len(word.text)
            found.append((place, cursor, word))
    return found


def _times(
    between: Comparison, places: Sequence[tuple[int, int, Word]], start: int, stop: int
) -> tuple[float | None, float | None]:
    """Return start and end of some units of the first text in seconds; for an insertion the moment before the unit after it."""
    units = between.reference_units
    if not units or not places:
        return None, None
    chosen = units[start:stop] or units[min(start, len(units) - 1) : min(start, len(units) - 1) + 1]
    first, last = chosen[0].start, chosen[-1].stop
    words = [word for begins, ends, word in places if begins < last and ends > first]
    if not words:
        return None, None
    if start == stop:
        moment = words[0].start if start < len(units) else words[-1].end
        return moment, moment
    return words[0].start, words[-1].end


def _words(first: Trace, second: Trace) -> Iterator[WordShift]:
    """Yield the words that both have, with their times."""
    for edit in align([one.text.casefold() for one in first.words], [one.text.casefold() for one in second.words]):
        if edit.kind == "hit" and edit.reference_place is not None and edit.recognised_place is not None:
            a, b = first.words[edit.reference_place], second.words[edit.recognised_place]
            yield WordShift(a.text, (a.start, b.start), (a.end, b.end), (a.confidence, b.confidence))


def _tags(first: Trace, second: Trace) -> Iterator[TagShift]:
    """Yield the tags that both give to the same pieces of sound."""
    for one, other in zip(_by_kind(first), _by_kind(second), strict=False):
        if one.kind == other.kind and one.label in other.probabilities:
            odds = _log_odds(one.probabilities[one.label]), _log_odds(other.probabilities[one.label])
            yield TagShift(one.kind, (one.label, other.label), odds)


def _by_kind(trace: Trace) -> list[Tag]:
    return sorted(trace.tags, key=lambda tag: (tag.start, tag.kind))


def _log_odds(probability: float) -> float:
    held = min(max(probability, LEAST), 1 - LEAST)
    return math.log(held) - math.log1p(-held)


# --- Tokens --------------------------------------------------------------------------------------------------------------


def _tokens(first: Trace, second: Trace, index: int) -> Iterator[TokenShift]:
    """Yield the tokens of the first model's text in one piece, each at its own row of each model."""
    piece = first.pieces[index]
    tokens = first.tokens[slice(*piece.tokens)]
    own = [token.peak - piece.rows[0] for token in tokens]
    logits = first.evidence[index].logits(), second.evidence[index].logits()
    shifts: list[float | None]
    if first.decoder is None:
        theirs, hop = _aligned(tokens, logits[1], second, index), first.features[index].hop
        shifts = [None if row is None else (row - mine) * hop for row, mine in zip(theirs, own, strict=True)]
    else:
        theirs, shifts = _matched(tokens, second, index)
    leads = margins(logits[0], own, [token.id for token in tokens])
    there = [(row, token.id) for row, token in zip(theirs, tokens, strict=True) if row is not None]
    others = iter(margins(logits[1], [row for row, _ in there], [name for _, name in there]).tolist())
    for token, row, place, lead, shift in zip(tokens, own, theirs, leads.tolist(), shifts, strict=True):
        other = None if place is None else next(others)
        yield TokenShift(token.text, token.id, token.start, (row, place), (lead, other), shift)


def _aligned(tokens: Sequence[Token], logits: FloatArray, trace: Trace, index: int) -> list[int | None]:
    """Return at which row a CTC model emits each of some tokens on the likeliest path that has them all.

    **Source:** Viterbi, as in :func:`voxray.ctc.forced_alignment`; the row is the token's likeliest one on that path.
    """
    ids, prompts = [token.id for token in tokens], trace.pieces[index].prompts
    columns = [trace.blank, *sorted(set(ids) - {trace.blank})]
    rows = logits[prompts:]
    norms = np.zeros(len(rows), np.float32) if trace.logits_are_log_probs else ctc.log_normaliser(rows)
    chosen = rows[:, columns] - norms[:, None]
    try:
        path = ctc.forced_alignment(chosen, [columns.index(one) for one in ids], blank=0)
    except ValueError:  # the second model has fewer rows than this text needs
        return [None] * len(ids)
    return [prompts + run.first + int(chosen[run.first : run.stop, run.id].argmax()) for run in ctc.runs(path, 0)]


def _matched(tokens: Sequence[Token], trace: Trace, index: int) -> tuple[list[int | None], list[float | None]]:
    """Return at which row of its own text a model with a decoder decides on each of some tokens, or on what stands in its place."""
    piece = trace.pieces[index]
    others = trace.tokens[slice(*piece.tokens)]
    places: list[int | None] = [None] * len(tokens)
    shifts: list[float | None] = [None] * len(tokens)
    for edit in align([str(one.id) for one in tokens], [str(one.id) for one in others]):
        if edit.reference_place is not None and edit.recognised_place is not None:
            other = others[edit.recognised_place]
            places[edit.reference_place] = other.peak - piece.rows[0]
            shifts[edit.reference_place] = other.start - tokens[edit.reference_place].start
    return places, shifts
