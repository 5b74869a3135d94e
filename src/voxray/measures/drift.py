"""Whether figures of late are still those of a reference: how far two samples lie apart, and how far they may by chance.

Conventions: ``reference`` is (m,) and ``recent`` (n,), float64, finite, at least one each; probabilities are shares; random numbers
come from ``seed`` alone. The entries of a sample are taken as independent of one another.

The common limits of 0.1 and 0.25 for the population stability index have no formal basis: without any drift its mean is about
(bins - 1) (1/m + 1/n), more than 0.25 where few figures are compared. So limits come from the reference itself: samples are drawn
from it as if nothing had changed, and what is rare among those is drift.

**Source:** the mean without drift: Yurdakul 2018, "Statistical properties of population stability index"; Kolmogorov and Smirnov's
D; Lin 1991, "Divergence measures based on the Shannon entropy"; Efron and Tibshirani 1993 for the bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from voxray.measures import similarity
from voxray.types import OptionError, frozen

Float64Array = npt.NDArray[np.float64]

Indices = npt.NDArray[np.int32]
SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")

BINS = 10
EPSILON = 1e-4
"""Share that an empty bin counts with, so that the logarithm exists."""
_CELLS = 1 << 20  # random numbers at a time


def quantile_edges(reference: npt.ArrayLike, bins: int = BINS) -> Float64Array:
    """Return the inner edges of bins that each hold an equal share of the reference, (at most bins - 1,) float64, rising.

    Figures that occur often make edges fall together; there are then fewer bins.

    Raises:
        OptionError: when there are fewer than two bins.
    """
    if bins < 2:
        raise OptionError(f"bins must be at least 2, got {bins}; 10 is usual")
    edges: Float64Array = np.unique(np.quantile(_sample(reference, "reference"), np.arange(1, bins) / bins))
    return edges


def bin_shares(sample: npt.ArrayLike, edges: npt.ArrayLike) -> Float64Array:
    """Return the share of a sample in each bin, (edges + 1,) float64; a figure on an edge belongs to the bin below it.

    Args:
        sample: (..., n).
        edges: inner edges, rising; the outer bins reach to infinity.
    """
    values, inner = np.asarray(sample, np.float64), np.asarray(edges, np.float64)
    places = np.searchsorted(inner, values, side="left")
    bins = np.arange(len(inner) + 1)
    return np.asarray((places[..., None] == bins).mean(axis=-2), np.float64)


def psi_of_shares(expected: npt.ArrayLike, found: npt.ArrayLike) -> Float64Array:
    """Return the population stability index, sum of (q - p) ln(q / p), (...) float64, nats; shares below 1e-4 count as 1e-4.

    Args:
        expected: (B,) p, of the reference.
        found: (..., B) q.
    """
    p = np.maximum(np.asarray(expected, np.float64), EPSILON)
    q = np.maximum(np.asarray(found, np.float64), EPSILON)
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1), np.float64)


def psi(reference: npt.ArrayLike, recent: npt.ArrayLike, bins: int = BINS) -> float:
    """Return the population stability index of two samples, over bins that each hold an equal share of the reference, nats."""
    edges = quantile_edges(reference, bins)
    return float(psi_of_shares(bin_shares(_sample(reference, "reference"), edges), bin_shares(_sample(recent, "recent"), edges)))


def ks(reference: npt.ArrayLike, recent: npt.ArrayLike) -> float:
    """Return Kolmogorov and Smirnov's D, the largest difference of two cumulative distributions, 0 to 1."""
    return float(_distances(np.sort(_sample(reference, "reference")), _sample(recent, "recent")[None])[0])


def jensen_shannon(expected: npt.ArrayLike, found: npt.ArrayLike) -> Float64Array:
    """Return the divergence between shares of categories, 0 (alike) to 1 (nothing in common), (...) float64, bits.

    Args:
        expected: (B,) amounts of at least 0, not all 0; they are scaled to sum to 1.
        found: (..., B) likewise.
    """
    q = _shares(found, "found")
    return similarity.jensen_shannon(np.broadcast_to(_shares(expected, "expected"), q.shape), q)


def counts_of(categories: Mapping[str, float], names: list[str]) -> Float64Array:
    """Return how often each name occurred, (names,) float64."""
    return np.array([categories.get(name, 0.0) for name in names], np.float64)


def psi_by_chance(reference: npt.ArrayLike, recent: int, *, seed: int, rounds: int = 1000, bins: int = BINS) -> Float64Array:
    """Return the stability indices that samples of ``recent`` figures have where nothing has drifted, (rounds,) float64, sorted.

    Each round draws a reference from the reference and a recent sample from that one: so it holds both kinds of chance, that in the
    recent figures and that in which figures the reference happened to get.

    Raises:
        OptionError: when there are no rounds or no recent figures.
    """
    known = _sample(reference, "reference")
    edges = quantile_edges(known, bins)
    expected, places = bin_shares(known, edges), np.searchsorted(edges, known, side="left")
    inside = [np.asarray(places == one, np.float64) for one in range(len(expected))]

    def indices(drawn: Indices) -> Float64Array:
        return psi_of_shares(expected, np.stack([one[drawn].mean(axis=-1) for one in inside], axis=-1))

    return _by_chance(len(known), recent, rounds, seed, indices)


def ks_by_chance(reference: npt.ArrayLike, recent: int, *, seed: int, rounds: int = 1000) -> Float64Array:
    """Return the distances D that samples of ``recent`` figures have where nothing has drifted, (rounds,) float64, sorted.

    Drawn as by :func:`psi_by_chance`.

    Raises:
        OptionError: when there are no rounds or no recent figures.
    """
    known = np.sort(_sample(reference, "reference"))
    below, upto = (np.searchsorted(known, known, side=side) / len(known) for side in SIDES)

    def distances(drawn: Indices) -> Float64Array:
        order = np.sort(drawn, axis=-1)
        return _largest_gap(known[order], below[order], upto[order])

    return _by_chance(len(known), recent, rounds, seed, distances)


def jensen_shannon_by_chance(expected: npt.ArrayLike, recent: int, *, seed: int, rounds: int = 1000) -> Float64Array:
    """Return the divergences that ``recent`` categories have where nothing has drifted, (rounds,) float64, sorted.

    Args:
        expected: (B,) how often each category occurred in the reference, whole numbers.
        recent: how many are drawn.
        seed: of the random numbers.
        rounds: how often.

    Raises:
        OptionError: when there are no rounds or nothing is drawn.
    """
    counts = np.asarray(expected, np.int64)
    known = np.repeat(np.arange(len(counts)), counts)
    bins = np.arange(len(counts))

    def divergences(drawn: Indices) -> Float64Array:
        return jensen_shannon(counts, (known[drawn][..., None] == bins).sum(axis=-2))

    return _by_chance(len(known), recent, rounds, seed, divergences)


def p_value(found: float, by_chance: npt.ArrayLike) -> float:
    """Return how often chance reaches what was found, (1 + reached) / (1 + rounds): never 0, which no drawing could show.

    Args:
        found: the figure.
        by_chance: (rounds,) sorted.

    **Source:** Phipson and Smyth 2010, "Permutation p-values should never be zero".
    """
    drawn = np.asarray(by_chance, np.float64)
    below = int(np.searchsorted(drawn, found - 1e-12 * max(abs(found), 1.0), side="left"))  # sums differ in their last digits
    return (1 + len(drawn) - below) / (1 + len(drawn))


def _by_chance(count: int, recent: int, rounds: int, seed: int, statistic: Callable[[Indices], Float64Array]) -> Float64Array:
    """Return the sorted statistic of samples (rounds, recent) of places, each drawn from a fresh drawing of ``count`` figures."""
    if rounds < 1 or recent < 1:
        raise OptionError(f"rounds and figures must be at least 1, got {rounds} rounds of {recent} figures")
    if not count:
        raise ValueError("the reference holds nothing to draw from")

    def parts() -> Iterator[Float64Array]:
        generator = np.random.default_rng(seed)
        at_once = max(1, _CELLS // recent)
        for first in range(0, rounds, at_once):
            yield statistic(_redrawn(count, (min(at_once, rounds - first), recent), generator))

    return np.sort(np.concatenate(list(parts())))


def _redrawn(count: int, shape: tuple[int, int], generator: np.random.Generator) -> Indices:
    """Return which figures (rounds, recent) are drawn from a drawing, with replacement both times.

    Only the places of the first drawing that the second one hits are drawn at all; a place that is hit twice holds one figure.
    """
    places = np.sort(generator.integers(count, size=shape, dtype=np.int32), axis=1)
    distinct = np.zeros_like(places)
    distinct[:, 1:] = np.cumsum(places[:, 1:] != places[:, :-1], axis=1)
    held: Indices = generator.integers(count, size=shape, dtype=np.int32)
    return np.take_along_axis(held, distinct, axis=1)


def _distances(reference: Float64Array, samples: Float64Array) -> Float64Array:
    """Return D of each sample (rounds, n) from a sorted reference (m,)."""
    values = np.sort(samples, axis=-1)
    return _largest_gap(values, *(np.searchsorted(reference, values, side=side) / len(reference) for side in SIDES))


def _largest_gap(values: Float64Array, below: Float64Array, upto: Float64Array) -> Float64Array:
    """Return D of sorted samples (rounds, n), given which share of the reference lies below each figure, and up to it.

    Both distributions are steps; the largest difference stands at or just below a figure of the recent sample.
    """
    size = values.shape[-1]
    steps = np.arange(1, size + 1) / size
    rising, edge = values[..., 1:] > values[..., :-1], np.ones((*values.shape[:-1], 1), np.bool_)
    last, first = np.concatenate([rising, edge], axis=-1), np.concatenate([edge, rising], axis=-1)
    above = np.where(last, np.abs(steps - upto), 0.0)
    under = np.where(first, np.abs(steps - 1 / size - below), 0.0)
    return np.asarray(np.maximum(above, under).max(axis=-1), np.float64)


def _shares(amounts: npt.ArrayLike, name: str) -> Float64Array:
    values = np.asarray(amounts, np.float64)
    total = values.sum(axis=-1, keepdims=True)
    if not np.isfinite(values).all() or (values < 0).any() or not (total > 0).all():
        raise ValueError(f"{name} must be amounts of 0 or more, not all 0")
    return np.asarray(values / total, np.float64)


def _sample(values: npt.ArrayLike, name: str) -> Float64Array:
    """Return one axis of finite figures, at least one."""
    checked: Float64Array = frozen(values, np.float64, "n", name)
    if not len(checked) or not np.isfinite(checked).all():
        raise ValueError(f"{name} must be at least one figure, all of them finite")
    return checked
