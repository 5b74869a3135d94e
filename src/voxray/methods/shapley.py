"""Shapley values of words or segments: what each adds, averaged over every order in which they could be heard.

**Source:** Shapley 1953; sampling by permutations and their reverses, Mitchell et al. 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import ClassVar

import numpy as np

from voxray.case import Case
from voxray.masking import (
    BoolArray,
    Domain,
    Fill,
    Filling,
    Float64Array,
    Runs,
    Settling,
    Units,
    bands,
    equal,
    grid_of,
    tiles,
    words_and_pauses,
)
from voxray.methods import Found, Needs
from voxray.targets import ScoreName
from voxray.types import IntArray, OptionError

LOOKS = 3  # pairs of orders that must agree on the top segments; each is worth many runs


@dataclass(frozen=True, slots=True)
class Method:
    """Shapley values; they and the score of the hidden sound sum to the score.

    Attributes:
        units: words and the pauses between them, or segments of equal length.
        segments: how many segments of equal length.
        pairs: orders to draw, each with its reverse; where all subsets cost no more, all are run and nothing is drawn.
        stop_early: whether to end when the top three segments have settled.
        score: which score is shared out.
        fill: what takes the place of what is hidden.
        domain: whether features or samples are replaced.
        seed: of the orders and the fill.
    """

    name: ClassVar[str] = "shapley"
    title: ClassVar[str] = "Shapley values"
    answers: ClassVar[str] = "How is the decision shared out among the words (or segments), fairly where they work together?"
    cannot: ClassVar[str] = "It averages over sound that nobody would say; and it names no part of a segment."
    cost: ClassVar[str] = (
        "About 40 passes for each segment, fewer when the top three settle; 2^S for up to 8 segments. All targets share them."
    )
    source: ClassVar[str] = "Shapley 1953; antithetic permutations, Mitchell et al. 2022."
    needs: ClassVar[Needs] = "passes"
    adds_up: ClassVar[bool] = True

    units: Units = "words"
    segments: int = 12
    pairs: int = 20
    stop_early: bool = True
    score: ScoreName = "forced"
    fill: Fill = "noise_floor"
    domain: Domain = "features"
    seed: int = 0

    def __post_init__(self) -> None:
        Filling(self.fill, self.domain, self.seed)
        for option in ("segments", "pairs"):
            if getattr(self, option) < 1:
                raise OptionError(f"{option} is {getattr(self, option)}; expected at least 1")

    def explain(self, case: Case) -> list[Found]:
        """Explain every target of a case.

        Raises:
            OptionError: when words are asked for and nothing was said.
        """
        words = self.units == "words"
        edges = words_and_pauses(case.cells, case.trace.words) if words else equal(len(case.bank), self.segments)
        segments = tiles(edges, bands(1, case.front.mels))
        runs = Runs(case, segments, Filling(self.fill, self.domain, self.seed), self.score)
        count = len(segments)
        subsets, drawn = 2**count - 1, 1 + 2 * (count - 1) * self.pairs
        # A limit of time cannot be kept when everything hangs on the last subset.
        timed = case.meter.seconds is not None and count > 1
        if subsets <= drawn and not timed and case.meter.affordable(subsets) == subsets:
            case.affordable(subsets)
            values, empty, how = *_of_all_subsets(runs, count), f"exact: all {2**count} subsets of {count} segments"
        else:
            allowed = case.affordable(drawn, least=1 + 2 * (count - 1))
            values, empty, how = self._drawn(runs, count, (allowed - 1) // (2 * (count - 1)))
        grid = grid_of(case.cells, edges)
        notes = (runs.note, how)
        return [
            Found(one[None].astype(np.float32), grid, float(base), runs.unit, {"baseline": float(none)}, notes)
            for one, none, base in zip(values.T, empty, runs.base, strict=True)
        ]

    def _drawn(self, runs: Runs, count: int, pairs: int) -> tuple[Float64Array, Float64Array, str]:
        """Return the values (S, A) from random orders and their reverses, the score with all hidden (A,), and a note."""
        rng = np.random.default_rng([self.seed, 1])
        orders = np.array([rng.permutation(count) for _ in range(pairs)]).reshape(pairs, count)
        (empty,) = runs.all(np.ones((1, count), bool))
        hidden = np.concatenate([_beginnings(one) for order in orders for one in (order, order[::-1])])
        total, each, settling, ended = np.zeros((count, len(empty))), list[Float64Array](), Settling(LOOKS), ""
        for part in runs.each(hidden, 2 * (count - 1)):
            order = orders[len(each)]
            ways = zip((order, order[::-1]), np.split(part, 2), strict=True)
            each.append(np.mean([_steps(way, empty, some, runs.base) for way, some in ways], axis=0))
            total += each[-1]
            if self.stop_early and len(each) < pairs and settling.settled(len(each), total / len(each)):
                ended = ", where the top three had settled"
                break
        ended = ended or (", where the budget ended" if len(each) < self.pairs else "")
        told = f"{len(each)} of {self.pairs} pairs of orders of {count} segments{ended}"
        if len(each) > 1:
            error = (np.std(each, axis=0, ddof=1) / np.sqrt(len(each))).max()
            told += f"; standard error at most {error:.2g} {runs.unit}"
        return total / len(each), empty, told


def _beginnings(order: IntArray) -> BoolArray:
    """Return the masks (S - 1, S) under which the first 1, 2, ... S - 1 segments of an order are heard."""
    hidden = np.ones((len(order) - 1, len(order)), bool)
    for heard, one in enumerate(hidden, 1):
        one[order[:heard]] = False
    return hidden


def _steps(order: IntArray, empty: Float64Array, scores: Float64Array, whole: Float64Array) -> Float64Array:
    """Return what each segment added when its turn came, (S, A)."""
    result = np.empty((len(order), len(empty)))
    result[order] = np.diff(np.concatenate([empty[None], scores, whole[None]]), axis=0)
    return result


def _of_all_subsets(runs: Runs, count: int) -> tuple[Float64Array, Float64Array]:
    """Return the exact values (S, A) and the score with all hidden (A,); bit j of a subset's number says that j is heard."""
    subsets = np.arange(2**count)
    bits = (subsets[:, None] >> np.arange(count)) & 1
    worth = np.concatenate([runs.all(bits[:-1] == 0), runs.base[None]])
    weights = np.array([1 / (count * comb(count - 1, size)) for size in range(count)])
    values = np.empty((count, worth.shape[1]))
    for one in range(count):
        without = subsets[bits[:, one] == 0]
        values[one] = weights[bits[without].sum(axis=1)] @ (worth[without | (1 << one)] - worth[without])
    return values, worth[0]
