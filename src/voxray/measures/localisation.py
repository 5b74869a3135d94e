"""Does a map point at the right place: a map of relevance over time against the stretch of sound that is known to be the cause.

Conventions: scores are (..., K), one a cell of time, positive where the cell speaks for the decision; ``edges`` (K + 1,) are the
cells' edges in seconds, rising; a ``span`` is (start, stop) in seconds. A cell counts as inside by the share of it that lies in the
span, so cells of any width can be compared. Only positive relevance points; what speaks against a decision is no cause of it.

Each function takes any number of maps of one grid and returns one figure for each; NaN where a map has no positive part, for which
there is no right answer.

**Source:** names and definitions as in Quantus 0.6 (``quantus.metrics.localisation``): Pointing Game (Zhang et al. 2018), Relevance
Mass Accuracy (Arras et al. 2022), Top-K Intersection, AUC. :func:`lift` divides the mass by what a map without knowledge has.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
SLACK = 0.06  # seconds: one frame of the models
STEP = 0.01  # seconds from window to window


@dataclass(frozen=True, slots=True, eq=False)
class Localisation:
    """How well one map finds one stretch of sound.

    Attributes:
        pointing: whether its largest cell touches the stretch, with :data:`SLACK` on either side.
        top_three: whether one of its three largest segments does.
        mass: share of the positive relevance inside.
        lift: that share over the stretch's share of the sound.
        roc_auc: chance that a moment inside has more relevance than one outside.
        distance: seconds from the centre of mass to the middle of the stretch.
    """

    pointing: bool
    top_three: bool
    mass: float
    lift: float
    roc_auc: float
    distance: float


def evaluate(scores: npt.ArrayLike, edges: npt.ArrayLike, span: tuple[float, float]) -> Localisation:
    """Return every figure of one map.

    Args:
        scores: (K,).
        edges: (K + 1,) seconds.
        span: seconds.

    Raises:
        ValueError: when the shapes do not fit or the span is empty.
    """
    return Localisation(
        bool(pointing(scores, edges, span)),
        bool(top_hit(scores, edges, span)),
        float(mass(scores, edges, span)),
        float(lift(scores, edges, span)),
        float(roc_auc(scores, edges, span)),
        float(distance(scores, edges, span)),
    )


def pointing(scores: npt.ArrayLike, edges: npt.ArrayLike, span: tuple[float, float], slack: float = SLACK) -> BoolArray:
    """Return whether the middle of the largest cell lies within the span, give or take ``slack`` seconds: (...).

    Of several largest cells the first one counts, unless all are alike: a map that does not vary points nowhere.
    """
    values, borders = _checked(scores, edges, span)
    middles = (borders[:-1] + borders[1:]) / 2
    found = middles[values.argmax(axis=-1)]
    varies = values.max(axis=-1) > values.min(axis=-1)
    return np.asarray(varies & (found >= span[0] - slack) & (found <= span[1] + slack))


def top_hit(
    scores: npt.ArrayLike, edges: npt.ArrayLike, span: tuple[float, float], count: int = 3, width: float = 0.12
) -> BoolArray:
    """Return whether one of the ``count`` largest segments of ``width`` seconds overlaps the span by half of the shorter: (...)."""
    values, borders = _checked(scores, edges, span)
    cuts = np.append(np.arange(borders[0], borders[-1] - 1e-9, width), borders[-1])
    positive = np.maximum(values, 0.0)
    segments = np.stack([(positive * overlap(borders, part)).sum(axis=-1) for part in pairwise(cuts)], axis=-1)
    shared = np.minimum(cuts[1:], span[1]) - np.maximum(cuts[:-1], span[0])
    inside = shared >= 0.5 * np.minimum(np.diff(cuts), span[1] - span[0]) - 1e-9
    best = np.argsort(-segments, axis=-1, kind="stable")[..., :count]
    return np.asarray((inside[best] & (np.take_along_axis(segments, best, -1) > 0)).any(axis=-1))


def top_window(scores: npt.ArrayLike, edges: npt.ArrayLike, span: tuple[float, float], width: float = 0.12) -> BoolArray:
    """Return whether the window with the most relevance overlaps the span by half of the shorter, (...).

    The window may begin at any 10 ms; what speaks against the decision is taken off what speaks for it. False where no window has
    relevance above 0, or all have the same.
    """
    values, borders = _checked(scores, edges, span)
    starts = np.arange(borders[0], max(borders[-1] - width, borders[0]) + 1e-9, STEP)
    stops = np.minimum(starts + width, borders[-1])
    run = np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(values, axis=-1)], axis=-1)
    flat = run.reshape(-1, run.shape[-1])
    sums = np.array([np.interp(stops, borders, row) - np.interp(starts, borders, row) for row in flat])
    best = sums.argmax(axis=1)
    shared = np.minimum(stops[best], span[1]) - np.maximum(starts[best], span[0])
    hit = shared >= 0.5 * np.minimum(stops[best] - starts[best], span[1] - span[0]) - 1e-9
    points = (sums.max(axis=1) > 0) & (np.ptp(sums, axis=1) > 1e-9 * np.abs(sums).max(axis=1))
    return np.asarray((hit & points).reshape(values.shape[:-1]))


def mass(scores: npt.ArrayLike, edges: npt.ArrayLike, span: tuple[float, float]) -> Float64Array:
    """Return the share of the positive relevance that lies in the span, (...) from 0 to 1."""
    values, borders = _checked(scores, edges, span)
    positive = np.maximum(values, 0.0)
    total = positive.sum(axis=-1)
    inside = (positive * overlap(borders, span)).sum(axis=-1)
    return np.asarray(np.divide(inside, total, out=np.full(total.shape, np.nan), where=total > 0))


def lift(scores: npt.ArrayLike, edges: npt.ArrayLike, span: tuple[float, float]) -> Float64Array:
    """Return the mass over the span's share of the sound, (...): 1 for a map that is the same everywhere."""
    _, borders = _checked(scores, edges, span)
    part = min(span[1], borders[-1]) - max(span[0], borders[0])
    return np.asarray(mass(scores, edges, span) * (borders[-1] - borders[0]) / part)


def roc_auc(scores: npt.ArrayLike, edges: npt.ArrayLike, span: tuple[float, float]) -> Float64Array:
    """Return the chance that a moment in the span has more relevance than one outside of it, ties counting half: (...).

    Moments and not cells are drawn: a cell weighs as much as it is long. NaN where the span covers the whole sound.
    """
    values, borders = _checked(scores, edges, span)
    inside = overlap(borders, span) * np.diff(borders)
    outside = np.diff(borders) - inside
    if inside.sum() <= 0 or outside.sum() <= 1e-12:
        return np.full(values.shape[:-1], np.nan)
    flat = values.reshape(-1, values.shape[-1])
    return np.array([_area(row, inside, outside) for row in flat]).reshape(values.shape[:-1])


def distance(scores: npt.ArrayLike, edges: npt.ArrayLike, span: tuple[float, float]) -> Float64Array:
    """Return how far the centre of the positive relevance lies from the middle of the span, (...) seconds, not negative."""
    values, borders = _checked(scores, edges, span)
    positive, middles = np.maximum(values, 0.0), (borders[:-1] + borders[1:]) / 2
    total = positive.sum(axis=-1)
    centre = np.divide((positive * middles).sum(axis=-1), total, out=np.full(total.shape, np.nan), where=total > 0)
    return np.asarray(np.abs(centre - (span[0] + span[1]) / 2))


def overlap(edges: npt.ArrayLike, span: tuple[float, float]) -> Float64Array:
    """Return which share of each cell lies in a span of seconds, (K,) from 0 to 1."""
    borders = np.asarray(edges, np.float64)
    shared = np.minimum(borders[1:], span[1]) - np.maximum(borders[:-1], span[0])
    return np.asarray(np.clip(shared, 0.0, None) / np.diff(borders))


def _area(row: Float64Array, inside: Float64Array, outside: Float64Array) -> float:
    """Return the area under the curve of weighted cells."""
    order = np.argsort(row, kind="stable")
    ranked, wins, losses = row[order], inside[order], outside[order]
    first = np.concatenate([[True], ranked[1:] != ranked[:-1]])
    group = np.cumsum(first) - 1
    won, lost = np.bincount(group, wins), np.bincount(group, losses)
    below = np.concatenate([[0.0], np.cumsum(lost)[:-1]])
    return float((won * (below + lost / 2)).sum() / (inside.sum() * outside.sum()))


def _checked(scores: npt.ArrayLike, edges: npt.ArrayLike, span: tuple[float, float]) -> tuple[Float64Array, Float64Array]:
    """Return scores and edges as float64.

    Raises:
        ValueError: when they do not fit together, or the span holds nothing of the grid.
    """
    values, borders = np.asarray(scores, np.float64), np.asarray(edges, np.float64)
    if borders.ndim != 1 or values.shape[-1:] != (len(borders) - 1,):
        raise ValueError(
            f"scores must be (..., {max(len(borders) - 1, 0)}) for {len(borders)} edges in seconds, got {values.shape}"
        )
    if not (np.diff(borders) > 0).all():
        raise ValueError("edges must rise; are they in seconds, in order?")
    if not max(span[0], borders[0]) < min(span[1], borders[-1]):
        raise ValueError(f"the span {span} s holds nothing of a map from {borders[0]:g} to {borders[-1]:g} s")
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite; leave out cells that were never asked about")
    return values, borders
