"""What a recogniser got wrong: the edits between a reference and a recognised text, and their counts.

**Source:** Levenshtein 1966. Many alignments share the least number of edits; which of them is taken follows the character-aware
choice of texterrors (a wrong word is set against the right word that it resembles), but never at the price of one edit more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import isqrt
from typing import Literal

import numpy as np

from voxray.texts import Normalisation, TextUnit, Unit, normalisation_of, unit_of, units
from voxray.types import IntArray

Kind = Literal["hit", "substitution", "deletion", "insertion"]
Pair = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class Edit:
    """One step from the reference to what was recognised.

    Attributes:
        kind: hit, substitution, deletion or insertion.
        reference: the right unit; empty for an insertion.
        recognised: the recognised unit; empty for a deletion.
        reference_place: index of the right unit, None for an insertion.
        recognised_place: index of the recognised unit, None for a deletion.
    """

    kind: Kind
    reference: str
    recognised: str
    reference_place: int | None
    recognised_place: int | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How many units were right and wrong."""

    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def length(self) -> int:
        """Units of the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float | None:
        """Errors for each unit of the reference, above 1 where much was inserted; None where the reference is empty."""
        return self.errors / self.length if self.length else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A reference and a recognised text, unit by unit.

    Attributes:
        unit: what was counted.
        normalisation: what was made equal first.
        reference_units: of the reference, with their places in it.
        recognised_units: of the recognised text, with their places in it.
        edits: in order.
    """

    unit: Unit
    normalisation: Normalisation
    reference_units: tuple[TextUnit, ...]
    recognised_units: tuple[TextUnit, ...]
    edits: tuple[Edit, ...]

    @property
    def counts(self) -> Counts:
        """How many edits of each kind."""
        kinds = [edit.kind for edit in self.edits]
        return Counts(kinds.count("hit"), kinds.count("substitution"), kinds.count("deletion"), kinds.count("insertion"))

    @property
    def hits(self) -> int:
        """Units that were right."""
        return self.counts.hits

    @property
    def substitutions(self) -> int:
        """Units that were taken for others."""
        return self.counts.substitutions

    @property
    def deletions(self) -> int:
        """Units of the reference that are missing."""
        return self.counts.deletions

    @property
    def insertions(self) -> int:
        """Recognised units that stand for none of the reference."""
        return self.counts.insertions

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.counts.errors

    @property
    def length(self) -> int:
        """Units of the reference."""
        return len(self.reference_units)

    @property
    def rate(self) -> float | None:
        """Errors for each unit of the reference; None where it is empty."""
        return self.counts.rate


def compare(
    reference: str,
    recognised: str,
    language: str = "auto",
    *,
    unit: Unit | None = None,
    normalisation: Normalisation | None = None,
) -> Comparison:
    """Return where a recognised text differs from the right one.

    Args:
        reference: the right text; may be empty.
        recognised: the recognised text; may be empty.
        language: of both, or ``auto``.
        unit: None for what the language and both texts ask for, see :func:`voxray.texts.unit_of`.
        normalisation: what is made equal first; None for the language's usual one.

    Raises:
        OptionError: when there is no such unit, or the normalisation needs an extra that is not installed.
    """
    counted = unit or unit_of(language, reference + " " + recognised)
    equalled = normalisation or normalisation_of(language)
    right, found = units(reference, counted, equalled), units(recognised, counted, equalled)
    return Comparison(counted, equalled, right, found, align([one.text for one in right], [one.text for one in found]))


def total(comparisons: Iterable[Comparison | Counts]) -> Counts:
    """Return the counts of a whole corpus: its rate is that of all units together, not the mean of the clips' rates."""
    counts = [one.counts if isinstance(one, Comparison) else one for one in comparisons]
    return Counts(
        sum(one.hits for one in counts),
        sum(one.substitutions for one in counts),
        sum(one.deletions for one in counts),
        sum(one.insertions for one in counts),
    )


def align(reference: Sequence[str], recognised: Sequence[str]) -> tuple[Edit, ...]:
    """Return the fewest edits that make the recognised units of the reference.

    Among alignments with as few edits it takes one whose substitutions change the fewest characters, then one with the fewest
    substitutions (and so the most hits), which settles every count; of those that remain, one with its insertions and
    deletions late. Time grows with the product of the lengths, memory with the longer length times the root of the other.

    Args:
        reference: the right units.
        recognised: the recognised units.
    """
    shortest = min(len(reference), len(recognised))
    first = _shared(reference, recognised)
    last = min(_shared(reference[::-1], recognised[::-1]), shortest - first)
    inner = _pairs(reference[first : len(reference) - last], recognised[first : len(recognised) - last])
    pairs: list[Pair] = [
        *((place, place) for place in range(first)),
        *((None if one is None else first + one, None if other is None else first + other) for one, other in inner),
        *((len(reference) - place, len(recognised) - place) for place in range(last, 0, -1)),
    ]
    return tuple(_edit(reference, recognised, pair) for pair in pairs)


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many units two rows have in common at their beginning; some best alignment always pairs them."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _edit(reference: Sequence[str], recognised: Sequence[str], pair: Pair) -> Edit:
    right = "" if pair[0] is None else reference[pair[0]]
    found = "" if pair[1] is None else recognised[pair[1]]
    if pair[0] is None:
        return Edit("insertion", right, found, *pair)
    if pair[1] is None:
        return Edit("deletion", right, found, *pair)
    return Edit("hit" if right == found else "substitution", right, found, *pair)


def _pairs(reference: Sequence[str], recognised: Sequence[str]) -> list[Pair]:
    """Return the pairs of a best alignment: blocks of rows from the last to the first, each computed again from its first row."""
    if not reference or not recognised:
        return [*((place, None) for place in range(len(reference))), *((None, place) for place in range(len(recognised)))]
    costs = _Costs.of(reference, recognised)
    block = isqrt(len(reference)) + 1
    starts = list(range(0, len(reference), block))
    row = costs.first_row()
    kept = []
    for place in range(len(reference)):
        if place % block == 0:
            kept.append(row)
        row = costs.next_row(row, place)
    pairs: list[Pair] = []
    column = len(recognised)
    for start, above in zip(reversed(starts), reversed(kept), strict=True):
        rows = [above]
        for place in range(start, min(start + block, len(reference))):
            rows.append(costs.next_row(rows[-1], place))
        column = costs.walk_back(rows, start, column, pairs)
    pairs += [(None, place) for place in range(column - 1, -1, -1)]
    return pairs[::-1]


@dataclass(frozen=True, slots=True, eq=False)
class _Costs:
    """What edits cost: one number in which edits, changed characters and substitutions count in this order.

    Attributes:
        reference: units, at least one.
        recognised: units, at least one.
        distinct: the recognised units, each once.
        ids: (M,) int64, the index in ``distinct`` of each recognised unit.
        edit: more than all changed characters and substitutions of any alignment together.
        letter: more than all substitutions of any alignment.
    """

    reference: Sequence[str]
    recognised: Sequence[str]
    distinct: list[str]
    ids: IntArray
    edit: int
    letter: int

    @classmethod
    def of(cls, reference: Sequence[str], recognised: Sequence[str]) -> _Costs:
        """Return the costs for two rows of units."""
        distinct = {unit: place for place, unit in enumerate(dict.fromkeys(recognised))}
        letter = min(len(reference), len(recognised)) + 1
        edit = (sum(map(len, reference)) + sum(map(len, recognised)) + 1) * letter
        return cls(reference, recognised, list(distinct), np.array([distinct[unit] for unit in recognised], np.int64), edit, letter)

    def first_row(self) -> IntArray:
        """Return the costs of inserting the first 0, 1, ... recognised units, (M+1,) int64."""
        return self.edit * np.arange(len(self.recognised) + 1, dtype=np.int64)

    def next_row(self, above: IntArray, place: int) -> IntArray:
        """Return the least costs after one more unit of the reference, (M+1,) int64."""
        row = above + self.edit
        np.minimum(row[1:], above[:-1] + self.pairings(place), out=row[1:])
        ramp = self.first_row()
        # Every insertion costs the same, so the best row of them is a running minimum on a slope.
        return np.minimum.accumulate(row - ramp) + ramp

    def pairings(self, place: int) -> IntArray:
        """Return what it costs to set one unit of the reference against each recognised one, (M,) int64."""
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import cdist

        changed = cdist([self.reference[place]], self.distinct, scorer=Levenshtein.distance, dtype=np.int64)[0]
        priced: IntArray = np.where(changed > 0, self.edit + self.letter * changed + 1, 0)[self.ids]
        return priced

    def walk_back(self, rows: Sequence[IntArray], start: int, column: int, pairs: list[Pair]) -> int:
        """Append the pairs of a block of rows, last to first, and return the column that the block is entered at."""
        place = len(rows) - 1
        while place:
            cost = rows[place][column]
            if cost == rows[place - 1][column] + self.edit:
                place -= 1
                pairs.append((start + place, None))
            elif column and cost == rows[place][column - 1] + self.edit:
                column -= 1
                pairs.append((None, column))
            else:
                place, column = place - 1, column - 1
                pairs.append((start + place, column))
        return column
